"""What a PACS is told in every case: nothing analysed, failed, part analysed, superseded."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Store
from mammogram_builder import SCREENING
from pydicom import dcmread
from pydicom.dataset import Dataset
from workflow_builder import (
    PretendedModel,
    PretendedPacs,
    Works,
    accept,
    folder_destination,
    install,
    refuse,
    running,
)

from oncopixel_pacs.domain import Job, JobState, ObjectKind, Reason, SegmentationForm
from oncopixel_pacs.errors import AnalysisFailed
from oncopixel_pacs.report.rejection_note import rejected_uids
from oncopixel_pacs.settings import FolderDestination

REPORTS = (ObjectKind.SEG, ObjectKind.SR, ObjectKind.CAD_SR, ObjectKind.PDF)
BROKEN = AnalysisFailed("No usable answer.", permanent=True)


def destination(path: Path, name: str = "pacs", **profile: object) -> FolderDestination:
    return folder_destination(path, name).model_copy(update=profile)


def sent_to(folder: Path) -> dict[str, Dataset]:
    return {str(d.SOPInstanceUID): d for d in map(dcmread, folder.rglob("*.dcm"))}


def of_kind(job: Job, kind: ObjectKind) -> list[str]:
    return [item.sop_instance_uid for item in job.objects if item.kind is kind]


def evaluations(report: Dataset) -> list[str]:
    """Codes of the qualitative evaluations of a report."""
    return [
        item.ConceptCodeSequence[0].CodeValue
        for item in report.ContentSequence[-1].ContentSequence
        if item.ValueType == "CODE"
    ]


def test_a_study_of_which_nothing_is_read_is_reported_where_that_is_asked_for(
    store: Store, tmp_path: Path
) -> None:
    told = destination(tmp_path / "told", "told", objects=REPORTS, report_not_analysed=True)
    quiet = destination(tmp_path / "quiet", "quiet")
    works = Works(store, PretendedModel(reason=Reason.NO_BREAST), (told, quiet))
    with running(works):
        works.receive(tmp_path / "in")
        job = works.finished(works.settle().id)
    assert job.state is JobState.NOT_ANALYSED
    assert Reason.NO_BREAST.sentence in job.error
    sent = sent_to(tmp_path / "told")
    assert sorted(item.Modality for item in sent.values()) == ["DOC", "SR", "SR"]
    (report,) = (sent[uid] for uid in of_kind(job, ObjectKind.SR))
    assert evaluations(report) == ["111245", "no-breast"]
    assert not (tmp_path / "quiet").exists()


def test_an_analysis_that_fails_for_good_is_reported_where_that_is_asked_for(
    store: Store, tmp_path: Path
) -> None:
    told = destination(tmp_path / "told", objects=REPORTS, report_failed=True)
    works = Works(store, PretendedModel(failures=[BROKEN]), (told,))
    with running(works):
        works.receive(tmp_path / "in")
        failed = works.finished(works.settle().id)
        assert (failed.state, failed.error) == (JobState.FAILED, "No usable answer.")
        sent = sent_to(tmp_path / "told")
        (report,) = (sent[uid] for uid in of_kind(failed, ObjectKind.SR))
        assert evaluations(report) == ["111245", "analysis-failed"]
        words = [str(item.get("TextValue")) for item in report.ContentSequence[-1].ContentSequence]
        assert any(text.endswith("No usable answer.") for text in words)
        # A retry analyses again; the new report replaces the one that said it failed.
        works.retry(failed.id)
        done = works.finished(failed.id)
    assert (done.state, done.error) == (JobState.DONE, "")
    sent = sent_to(tmp_path / "told")
    first, second = of_kind(done, ObjectKind.SR)
    (replaced,) = sent[second].PredecessorDocumentsSequence
    reference = replaced.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == first
    (note,) = of_kind(done, ObjectKind.REJECTION)
    stale = {item.sop_instance_uid for item in failed.objects}
    assert set(rejected_uids(sent[note])) == stale


def test_a_retry_that_fails_again_says_nothing_new(store: Store, tmp_path: Path) -> None:
    told = destination(tmp_path / "told", report_failed=True)
    works = Works(store, PretendedModel(ended=BROKEN), (told,))
    with running(works):
        works.receive(tmp_path / "in")
        first = works.finished(works.settle().id)
        works.retry(first.id)
        second = works.finished(first.id)
    assert second.state is JobState.FAILED
    assert [o.sop_instance_uid for o in second.objects] == [
        o.sop_instance_uid for o in first.objects
    ]
    assert len(works.model.asked) == 2


def test_a_failure_that_cannot_be_told_keeps_its_sentence(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, PretendedPacs(refuse))
    told = destination(tmp_path / "told", report_failed=True)
    works = Works(store, PretendedModel(failures=[BROKEN]), (told,))
    with running(works):
        works.receive(tmp_path / "in")
        job = works.finished(works.settle().id)
    assert job.state is JobState.FAILED
    assert job.error.startswith("No usable answer. Not every result was delivered to pacs")


def test_late_images_retract_what_no_longer_holds_where_it_went(
    store: Store, tmp_path: Path
) -> None:
    kinds = (ObjectKind.SEG, ObjectKind.SR, ObjectKind.PDF)
    places = (
        destination(tmp_path / "full", "full", objects=kinds),
        destination(tmp_path / "report", "report", objects=(ObjectKind.SR,)),
        destination(tmp_path / "keeps", "keeps", retract=False),
    )
    works = Works(store, PretendedModel(), places)
    with running(works):
        works.receive(tmp_path / "in")
        first = works.finished(works.settle().id)
        works.receive(tmp_path / "in", SCREENING[1])
        second = works.finished(works.settle().id)
        works.receive(tmp_path / "in", SCREENING[2])
        third = works.finished(works.settle().id)
    assert [job.state for job in (first, second, third)] == [JobState.DONE] * 3
    (report,), (page,) = of_kind(first, ObjectKind.SR), of_kind(first, ObjectKind.PDF)
    notes = {
        name: {
            uid: set(rejected_uids(item))
            for uid, item in sent_to(tmp_path / name).items()
            if item.ConceptNameCodeSequence[0].CodeValue == "113001"
        }
        if name != "full"
        else {
            uid: set(rejected_uids(item))
            for uid, item in sent_to(tmp_path / name).items()
            if item.Modality == "KO"
        }
        for name in ("full", "report")
    }
    # Segmentations of unchanged images are not retracted, and nothing is retracted twice.
    later_report, later_page = of_kind(second, ObjectKind.SR), of_kind(second, ObjectKind.PDF)
    assert sorted(notes["full"].values(), key=sorted) == sorted(
        [{report, page}, {*later_report, *later_page}], key=sorted
    )
    assert sorted(notes["report"].values(), key=sorted) == sorted(
        [{report}, set(later_report)], key=sorted
    )
    assert not any(item.Modality == "KO" for item in sent_to(tmp_path / "keeps").values())
    retracted = {
        (item.destination, item.sop_instance_uid): item.retracted_by
        for item in works.job(first.id).deliveries
    }
    assert retracted["report", report] in notes["report"]
    assert retracted["keeps", report] == ""


def test_a_late_image_that_cannot_be_analysed_retracts_nothing(
    store: Store, tmp_path: Path
) -> None:
    works = Works(store, PretendedModel(), (destination(tmp_path / "out", report_failed=True),))
    with running(works):
        works.receive(tmp_path / "in")
        works.finished(works.settle().id)
        works.model.ended = BROKEN
        works.receive(tmp_path / "in", SCREENING[1])
        second = works.finished(works.settle().id)
    assert second.state is JobState.FAILED
    assert of_kind(second, ObjectKind.REJECTION) == []
    (report,) = of_kind(second, ObjectKind.SR)
    assert "PredecessorDocumentsSequence" not in sent_to(tmp_path / "out")[report]


def test_each_destination_gets_the_form_of_segmentation_that_it_asks_for(
    store: Store, tmp_path: Path
) -> None:
    places = tuple(
        destination(tmp_path / form, str(form), segmentation=form) for form in SegmentationForm
    )
    works = Works(store, PretendedModel(), places)
    with running(works):
        works.receive(tmp_path / "in")
        job = works.finished(works.settle().id)
    assert job.state is JobState.DONE
    uids = set()
    for form in SegmentationForm:
        sent = sent_to(tmp_path / form)
        (segmentation,) = (item for item in sent.values() if item.Modality == "SEG")
        assert segmentation.SegmentationType == form.name
        (report,) = (item for item in sent.values() if item.Modality == "SR")
        named = {
            str(item.ReferencedSOPInstanceUID)
            for study in report.CurrentRequestedProcedureEvidenceSequence
            for series in study.ReferencedSeriesSequence
            for item in series.ReferencedSOPSequence
        }
        assert str(segmentation.SOPInstanceUID) in named
        uids |= sent.keys()
    assert len(uids) == 2 * len(SegmentationForm)


def test_an_image_without_finding_has_no_segmentation_and_its_report_says_so(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, PretendedPacs(accept))
    works = Works(store, PretendedModel(lesions=False), (destination(tmp_path / "out"),))
    with running(works):
        works.receive(tmp_path / "in")
        job = works.finished(works.settle().id)
    assert [item.kind for item in job.objects] == [ObjectKind.SR]
    report = dcmread(works.store.files.absolute(job.objects[0].path))
    assert evaluations(report) == ["111241"]
