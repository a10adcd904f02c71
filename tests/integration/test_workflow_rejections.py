"""Images that a unit or an archive takes back (IHE IOCM) count no more, nor does what was said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from api_builders import make_parts, serving
from conftest import Store
from mammogram_builder import SCREENING, STUDY_UID, View2D, write_mammogram
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage
from rejection_builder import EXPIRED, OF_INTEREST, QUALITY, WORKLIST, rejection_note, write_note
from workflow_builder import (
    PretendedModel,
    PretendedPacs,
    Works,
    accept,
    folder_destination,
    install,
    put_off,
    refuse,
    running,
    until,
    utc_now,
)

from oncopixel_pacs.deliver import Outcome, OutgoingObject
from oncopixel_pacs.domain import Job, JobState, Laterality, ObjectKind, Reason, StudyState, View
from oncopixel_pacs.receive.intake import Intake
from oncopixel_pacs.report.rejection_note import rejected_uids
from oncopixel_pacs.store.search import Criteria, Search

RIGHT_CC, LEFT_CC = SCREENING[:2]
#: Key images, what an archive let go of for its age, and what is no image of the study.
OTHER_SELECTIONS = (
    (RIGHT_CC.sop_uid, OF_INTEREST),
    (RIGHT_CC.sop_uid, EXPIRED),
    ("2.25.99", QUALITY),
)


@contextmanager
def read_once(store: Store, source: Path, out: Path) -> Iterator[tuple[Works, Job]]:
    """Run the workflow, which has read one image and sent what it says of it."""
    works = Works(store, PretendedModel(), (folder_destination(out),))
    with running(works):
        works.receive(source, RIGHT_CC, PatientID="P-1")
        yield works, works.finished(works.settle().id)


def take(works: Works, folder: Path, note: Dataset) -> None:
    intake = Intake(works.store.files, works.store.catalogue, utc_now)
    intake.accept_file(write_note(folder, note), "PACS")


def displaced_implant(folder: Path) -> Path:
    """Write a right CC view that pushes an implant out of the way (Eklund)."""
    path = write_mammogram(folder, View2D(5, Laterality.RIGHT, View.CC))
    image, modifier = dcmread(path), Dataset()
    modifier.CodeValue, modifier.CodingSchemeDesignator = "399209000", "SCT"
    modifier.CodeMeaning = "Implant Displaced"
    image.ViewCodeSequence[0].ViewModifierCodeSequence = [modifier]
    image.save_as(path)
    return path


def takes_no_note(item: OutgoingObject) -> Outcome:
    """Take everything else."""
    return (refuse if item.sop_class_uid == KeyObjectSelectionDocumentStorage else accept)(item)


def of_kind(job: Job, kind: ObjectKind) -> set[str]:
    return {item.sop_instance_uid for item in job.objects if item.kind is kind}


def note_of(folder: Path, job: Job) -> Dataset:
    """Read the rejection note of a job, as the destination has it."""
    (uid,) = of_kind(job, ObjectKind.REJECTION)
    (note,) = (item for item in map(dcmread, folder.rglob("*.dcm")) if item.SOPInstanceUID == uid)
    return note


def part10_of(store: Store, job: Job) -> Dataset:
    """Read the rejection note of a job, as it was made."""
    (note,) = (item for item in job.objects if item.kind is ObjectKind.REJECTION)
    return dcmread(store.files.absolute(note.path))


def retracted(folder: Path, job: Job) -> set[str]:
    """Read what the rejection note of a job takes back, as the destination has it."""
    return set(rejected_uids(note_of(folder, job)))


def results_in(search: Search) -> set[str]:
    """Find by QIDO-RS what viewers show of our results."""
    return {item.sop_instance_uid for item in search.objects(Criteria()) if item.is_result}


def test_a_rejected_image_is_read_no_more_and_its_results_are_taken_back(
    store: Store, tmp_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    with read_once(store, source, out) as (works, first):
        # The side was wrong: the unit sends the image again as one of the other breast.
        works.receive(source, LEFT_CC)
        take(works, source, rejection_note([RIGHT_CC.sop_uid]))
        second = works.finished(works.settle().id)
    assert second.state is JobState.DONE
    assert second.result is not None
    assert {item.facts.name: item.reason for item in second.result.images} == {
        "R CC": Reason.REJECTED,
        "L CC": None,
    }
    assert retracted(out, second) == {item.sop_instance_uid for item in first.objects}
    # Viewers hang what they find below a study; one that is open may still fetch the other.
    search = Search(store.database)
    below = search.objects(Criteria(study_instance_uids=[STUDY_UID]))
    assert {item.sop_instance_uid for item in below if item.modality == "MG"} == {LEFT_CC.sop_uid}
    assert search.objects(Criteria(study_instance_uids=[STUDY_UID]), len(below)) == below
    assert len(search.objects(Criteria([STUDY_UID], sop_instance_uids=[RIGHT_CC.sop_uid]))) == 1


def test_viewers_find_no_result_of_a_rejected_image_where_no_destination_is_told(
    store: Store, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    works = Works(store, PretendedModel())
    search = Search(store.database)
    with running(works):
        works.receive(source, RIGHT_CC)
        first = works.finished(works.settle().id)
        assert results_in(search) == {item.sop_instance_uid for item in first.objects}
        take(works, source, rejection_note([RIGHT_CC.sop_uid]))
        second = works.finished(works.settle().id)
    assert second.state is JobState.NOT_ANALYSED
    assert Reason.REJECTED.sentence in second.error
    assert results_in(search) == set()


def test_a_study_of_which_every_image_is_rejected_keeps_no_result(
    store: Store, tmp_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    with read_once(store, source, out) as (works, first):
        for number, (uid, title) in enumerate(OTHER_SELECTIONS, start=2):
            take(works, source, rejection_note([uid], title, number=number))
            assert works.settler.settle_complete() == []
        study = store.catalogue.study(first.study_instance_uid)
        assert (study.state, study.revision, study.waiting_for) == (StudyState.SETTLED, 1, "")
        assert len(study.images) == 1
        take(works, source, rejection_note([RIGHT_CC.sop_uid], WORKLIST))
        second = works.finished(works.settle().id)
    assert second.state is JobState.NOT_ANALYSED
    assert Reason.REJECTED.sentence in second.error
    assert retracted(out, second) == {item.sop_instance_uid for item in first.objects}


def test_what_was_said_of_a_breast_is_taken_back_once_a_later_view_displaces_its_implant(
    store: Store, tmp_path: Path
) -> None:
    """Units that leave out Breast Implant Present send the whole views first."""
    source, out = tmp_path / "in", tmp_path / "out"
    with read_once(store, source, out) as (works, first):
        assert first.state is JobState.DONE
        intake = Intake(store.files, store.catalogue, utc_now)
        intake.accept_file(displaced_implant(source), "MAMMO1")
        second = works.finished(works.settle().id)
    assert second.state is JobState.NOT_ANALYSED
    assert second.result is not None
    assert [item.reason for item in second.result.images] == [
        Reason.BREAST_IMPLANT,
        Reason.VIEW_MODIFIER,
    ]
    assert retracted(out, second) == {item.sop_instance_uid for item in first.objects}


def test_what_holds_again_after_it_was_taken_back_comes_under_new_uids(
    store: Store, tmp_path: Path
) -> None:
    """Archives hide for good what a note took back, and what comes again under its UIDs."""
    source, out = tmp_path / "in", tmp_path / "out"
    with read_once(store, source, out) as (works, first):
        displaced = displaced_implant(source)
        Intake(store.files, store.catalogue, utc_now).accept_file(displaced, "MAMMO1")
        second = works.finished(works.settle().id)
        # The view was of another patient.
        take(works, source, rejection_note([str(dcmread(displaced).SOPInstanceUID)]))
        third = works.finished(works.settle().id)
        works.receive(source, LEFT_CC)
        fourth = works.finished(works.settle().id)
    back = {item.sop_instance_uid for item in first.objects}
    assert retracted(out, second) == back
    assert len(of_kind(third, ObjectKind.SEG)) == 1
    assert not back & {item.sop_instance_uid for item in third.objects}
    assert {item.sop_instance_uid for item in third.objects} <= {
        str(dcmread(path).SOPInstanceUID) for path in out.rglob("*.dcm")
    }
    # From then on it stays as it is.
    assert of_kind(third, ObjectKind.SEG) < of_kind(fourth, ObjectKind.SEG)


@pytest.mark.parametrize("note_first", [False, True])
def test_a_study_is_named_by_the_images_that_count(
    store: Store, tmp_path: Path, note_first: bool
) -> None:
    """The wrong patient was chosen at the unit; images of the right one have UIDs of their own."""
    source, works = tmp_path / "in", Works(store, PretendedModel())
    source.mkdir()
    note = rejection_note([RIGHT_CC.sop_uid], WORKLIST)
    if note_first:
        take(works, source, note)
    works.receive(source, RIGHT_CC, PatientID="P-1", PatientName="Wrong^Anna")
    if not note_first:
        take(works, source, note)
    corrected = {"SOPInstanceUID": "2.25.77", "PatientID": "P-2", "AccessionNumber": "A-2"}
    works.receive(source, RIGHT_CC, **corrected, PatientName="Right^Berta")
    with running(works):
        job = works.finished(works.settle().id)
    assert job.state is JobState.DONE
    header = store.catalogue.study(job.study_instance_uid).header
    assert (header.patient_id, header.patient_name) == ("P-2", "Right^Berta")
    with serving(make_parts(store)) as client:
        (found,) = client.get("/dicom-web/studies?PatientID=P-2").json()
        assert client.get("/dicom-web/studies?PatientID=P-1").status_code == 204
    assert found["00100020"]["Value"] == ["P-2"]
    assert found["00080050"]["Value"] == ["A-2"]


def test_results_of_the_wrong_patient_are_taken_back_under_that_patient(
    store: Store, tmp_path: Path
) -> None:
    """That is where an archive has them."""
    source, out = tmp_path / "in", tmp_path / "out"
    works = Works(store, PretendedModel(), (folder_destination(out),))
    with running(works):
        wrong = {"PatientID": "P-1", "PatientName": "Müller^Anna"}
        works.receive(source, RIGHT_CC, SpecificCharacterSet="ISO_IR 100", **wrong)
        first = works.finished(works.settle().id)
        take(works, source, rejection_note([RIGHT_CC.sop_uid], WORKLIST))
        works.receive(source, RIGHT_CC, SOPInstanceUID="2.25.77", PatientID="P-2")
        second = works.finished(works.settle().id)
    assert second.state is JobState.DONE
    note = note_of(out, second)
    assert set(rejected_uids(note)) == {item.sop_instance_uid for item in first.objects}
    assert (note.PatientID, note.PatientName) == ("P-1", "Müller^Anna")
    (report,) = (item for item in second.objects if item.kind is ObjectKind.SR)
    # It replaces the report of nobody: the other one is of the other patient.
    assert "PredecessorDocumentsSequence" not in dcmread(store.files.absolute(report.path))


def test_what_was_said_of_one_patient_is_taken_back_once_images_of_another_come(
    store: Store, tmp_path: Path
) -> None:
    """Nobody knows then whose images the first ones are."""
    source, out = tmp_path / "in", tmp_path / "out"
    with read_once(store, source, out) as (works, first):
        works.receive(source, LEFT_CC, SOPInstanceUID="2.25.1", PatientID="P-2")
        second = works.finished(works.settle().id)
    assert second.state is JobState.NOT_ANALYSED
    assert Reason.SEVERAL_PATIENTS.sentence in second.error
    note = note_of(out, second)
    assert set(rejected_uids(note)) == {item.sop_instance_uid for item in first.objects}
    assert note.PatientID == "P-1"
    said = " ".join(str(item.get("TextValue")) for item in note.ContentSequence)
    assert Reason.SEVERAL_PATIENTS.sentence in said


def test_a_note_that_an_archive_refused_is_made_up_for_by_the_next_one(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many archives take no key objects until somebody allows them."""
    pacs = install(monkeypatch, PretendedPacs(takes_no_note))
    works, jobs = Works(store, PretendedModel(), (folder_destination(tmp_path / "out"),)), []
    with running(works):
        for view in SCREENING[:3]:
            works.receive(tmp_path / "in", view)
            jobs.append(works.finished(works.settle().id))
        assert [job.state for job in jobs] == [JobState.DONE, JobState.FAILED, JobState.FAILED]
        pacs.answer = accept
        works.retry(jobs[-1].id)
        assert works.finished(jobs[-1].id).state is JobState.DONE
        # What was taken back once is not taken back again.
        works.receive(tmp_path / "in", SCREENING[3])
        jobs.append(works.finished(works.settle().id))
    reports = [of_kind(job, ObjectKind.SR) for job in jobs]
    taken = [set(rejected_uids(part10_of(store, job))) for job in jobs[1:]]
    assert taken == [reports[0], reports[0] | reports[1], reports[2]]


def test_a_note_follows_what_it_takes_back(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive that was away got the older report after its note, and showed it as valid."""
    taken, away = [], {"first report": True}

    def answer(item: OutgoingObject) -> Outcome:
        if away["first report"] and item.sop_instance_uid in report:
            return put_off(item)
        taken.append(item.sop_instance_uid)
        return accept(item)

    install(monkeypatch, PretendedPacs(put_off))
    works = Works(store, PretendedModel(), (folder_destination(tmp_path / "out"),))
    with running(works):
        works.receive(tmp_path / "in", RIGHT_CC)
        first = works.settle()
        until(lambda: of_kind(works.job(first.id), ObjectKind.SR))
        report = of_kind(works.job(first.id), ObjectKind.SR)
        install(monkeypatch, PretendedPacs(answer))
        works.receive(tmp_path / "in", LEFT_CC)
        second = works.settle()
        until(lambda: of_kind(works.job(second.id), ObjectKind.SR) & set(taken))
        until(lambda: works.outbox.waiting_jobs() == {first.id, second.id})
        away["first report"] = False
        jobs = [works.finished(first.id), works.finished(second.id)]
    assert {job.state for job in jobs} == {JobState.DONE}
    assert {taken[-2]} == report
    assert {taken[-1]} == of_kind(jobs[1], ObjectKind.REJECTION)


def test_a_note_that_an_archive_is_not_to_get_any_more_is_left_out_of_a_retry(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs = install(monkeypatch, PretendedPacs(takes_no_note))
    place = folder_destination(tmp_path / "out")
    works = Works(store, PretendedModel(), (place,))
    with running(works):
        for view in SCREENING[:2]:
            works.receive(tmp_path / "in", view)
            job = works.finished(works.settle().id)
    assert job.state is JobState.FAILED
    works.destinations = (place.model_copy(update={"retract": False}),)
    sent = len(pacs.received)
    with running(works):
        works.retry(job.id)
        assert works.finished(job.id).state is JobState.DONE
    assert len(pacs.received) == sent
    assert works.outbox.oldest_problem("pacs") is None
