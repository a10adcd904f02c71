"""From one study result to the objects that are stored and sent."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread

from oncopixel_pacs.domain import (
    Laterality,
    ModelTask,
    ObjectKind,
    Reason,
    SegmentationForm,
    Skip,
    View,
)
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report.dataset_rules import walk
from oncopixel_pacs.report.provenance import IMPLEMENTATION_CLASS_UID
from tests.report_builders import (
    CLASSIFIER,
    FOUR_VIEWS,
    PROVENANCE,
    SEGMENTER,
    case,
    mammogram,
    save,
    without,
)

FINDINGS = dict(zip(FOUR_VIEWS, (0, 1, 2, 3), strict=True))


def test_one_segmentation_for_each_image_with_findings_and_one_report(tmp_path: Path) -> None:
    built = case(tmp_path, FINDINGS).build()
    assert [item.kind for item in built] == [ObjectKind.SEG] * 3 + [ObjectKind.SR]
    assert len({item.series_instance_uid for item in built}) == 4
    assert {item.series_description for item in built} == {
        "AI SEG L CC - RESEARCH USE ONLY",
        "AI SEG R MLO - RESEARCH USE ONLY",
        "AI SEG L MLO - RESEARCH USE ONLY",
        "AI REPORT - RESEARCH USE ONLY",
    }


def test_building_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    study = case(tmp_path, FINDINGS)
    assert [item.part10 for item in study.build()] == [item.part10 for item in study.build()]


def test_bytes_are_part_10_with_our_implementation(tmp_path: Path) -> None:
    for item in case(tmp_path, FINDINGS).build():
        assert item.part10[128:132] == b"DICM"
        dataset = dcmread(io.BytesIO(item.part10))
        assert dataset.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
        assert dataset.SOPInstanceUID == item.sop_instance_uid
        assert dataset.SOPClassUID == item.sop_class_uid
        assert dataset.SeriesInstanceUID == item.series_instance_uid


def test_what_is_stored_is_taken_and_not_built_again(tmp_path: Path) -> None:
    study = case(tmp_path, FINDINGS)
    stored = {item.sop_instance_uid: item.part10 for item in study.build()}
    later = replace(PROVENANCE, created_at=PROVENANCE.created_at.replace(year=2027))
    again = study.build(later, stored.get)
    assert {item.sop_instance_uid: item.part10 for item in again} == stored
    rebuilt = study.build(later)
    assert [item.sop_instance_uid for item in rebuilt] == list(stored)
    assert all(item.part10 != stored[item.sop_instance_uid] for item in rebuilt)


@pytest.mark.parametrize(
    "changed",
    [
        replace(PROVENANCE, algorithms=(CLASSIFIER, replace(SEGMENTER, threshold=0.6))),
        replace(PROVENANCE, software_version="0.2.0"),
        replace(PROVENANCE, device="NVIDIA H200"),
    ],
)
def test_other_models_software_or_device_make_other_objects(tmp_path: Path, changed) -> None:
    study = case(tmp_path, FINDINGS)
    before = {item.sop_instance_uid for item in study.build()}
    assert before.isdisjoint(item.sop_instance_uid for item in study.build(changed))


def test_a_late_image_leaves_the_other_segmentations_and_makes_a_new_report(
    tmp_path: Path,
) -> None:
    first = case(tmp_path, dict(list(FINDINGS.items())[:3])).build()
    second = case(tmp_path, FINDINGS).build()
    uids = [
        {i.sop_instance_uid for i in built if i.kind is ObjectKind.SEG} for built in (first, second)
    ]
    assert uids[0] < uids[1]
    assert first[-1].sop_instance_uid != second[-1].sop_instance_uid
    assert first[-1].series_instance_uid == second[-1].series_instance_uid


def test_a_late_image_that_is_not_analysed_makes_a_new_report_too(tmp_path: Path) -> None:
    first = case(tmp_path, {FOUR_VIEWS[0]: 1})
    second = without(
        case(tmp_path, {FOUR_VIEWS[0]: 1, FOUR_VIEWS[1]: 0}), "L CC", Reason.PARTIAL_VIEW
    )
    assert first.build()[0].part10 == second.build()[0].part10
    assert first.build()[1].sop_instance_uid != second.build()[1].sop_instance_uid


def test_predecessors_make_another_report(tmp_path: Path) -> None:
    study = case(tmp_path, {FOUR_VIEWS[0]: 1})
    first = study.build()[-1]
    later = study.build(predecessors=(first.dataset,))[-1]
    assert later.sop_instance_uid != first.sop_instance_uid
    assert "PredecessorDocumentsSequence" in later.dataset


def test_nothing_analysed_gives_the_documents_that_say_so(tmp_path: Path) -> None:
    study = without(case(tmp_path, {FOUR_VIEWS[0]: 0}), "R CC", Reason.NO_BREAST)
    documents = [ObjectKind.SR, ObjectKind.CAD_SR, ObjectKind.PDF]
    assert [item.kind for item in study.build(wanted=EVERYTHING)] == documents
    assert study.build(wanted=(ObjectKind.SC,)) == ()


def test_an_image_that_the_segmenter_did_not_read_is_not_reported_as_without_findings(
    tmp_path: Path,
) -> None:
    study = case(tmp_path, {FOUR_VIEWS[0]: 1, FOUR_VIEWS[1]: 0})
    assert [item.kind for item in study.build()] == [ObjectKind.SEG, ObjectKind.SR]
    skip = Skip("segmenter", ModelTask.SEGMENT, Reason.MODEL_LATERALITY)
    left = next(item for item in study.result.images if item.facts.laterality is Laterality.LEFT)
    images = [
        replace(item, skipped=(skip,)) if item is left else item for item in study.result.images
    ]
    skipping = replace(study, result=replace(study.result, images=tuple(images)))
    built = skipping.build()
    assert [item.kind for item in built] == [ObjectKind.SEG, ObjectKind.SR]
    assert Reason.MODEL_LATERALITY.sentence.encode() in built[-1].part10


def test_repairs_of_the_source_are_told(tmp_path: Path) -> None:
    def drop_sex(dataset) -> None:
        del dataset.PatientSex

    for item in case(tmp_path, {FOUR_VIEWS[0]: 1}, change=drop_sex).build():
        assert item.repairs == ("Patient's Sex is missing and was written empty.",)


def test_a_missing_or_swapped_source_file_is_refused(tmp_path: Path) -> None:
    study = case(tmp_path, {FOUR_VIEWS[0]: 1})
    (uid,) = study.paths
    with pytest.raises(ResultRejected, match="is missing"):
        replace(study, paths={}).build()
    other = save(mammogram(Laterality.LEFT, View.MLO), tmp_path)
    with pytest.raises(ResultRejected, match="holds another image"):
        replace(study, paths={uid: other}).build()


EVERYTHING = tuple(kind for kind in ObjectKind if kind is not ObjectKind.REJECTION)
EVERY_FORM = tuple(SegmentationForm)
TWO_VIEWS = {FOUR_VIEWS[1]: 1, FOUR_VIEWS[2]: 0}


def test_only_what_is_wanted_is_built_besides_segmentations_and_report(tmp_path: Path) -> None:
    study = case(tmp_path, TWO_VIEWS)
    always = [ObjectKind.SEG, ObjectKind.SR]
    assert [item.kind for item in study.build(wanted=())] == always
    for kind, count in (
        (ObjectKind.SC, 2),
        (ObjectKind.GSPS, 2),
        (ObjectKind.KOS, 1),
        (ObjectKind.PDF, 1),
    ):
        assert [item.kind for item in study.build(wanted=(kind,))] == always + [kind] * count


def test_whatever_is_wanted_building_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    study = case(tmp_path, TWO_VIEWS)
    first, second = (study.build(wanted=EVERYTHING, forms=EVERY_FORM) for _ in range(2))
    assert {item.kind for item in first} == set(EVERYTHING)
    assert {item.form for item in first} == {None, *EVERY_FORM}
    assert [item.part10 for item in first] == [item.part10 for item in second]


def test_whatever_is_stored_is_not_built_again(tmp_path: Path) -> None:
    study = case(tmp_path, TWO_VIEWS)
    stored = {
        item.sop_instance_uid: item.part10
        for item in study.build(wanted=EVERYTHING, forms=EVERY_FORM)
    }
    later = replace(PROVENANCE, created_at=PROVENANCE.created_at.replace(year=2027))
    again = study.build(later, stored.get, EVERYTHING, EVERY_FORM)
    assert {item.sop_instance_uid: item.part10 for item in again} == stored


def test_other_models_make_other_objects_of_every_kind(tmp_path: Path) -> None:
    study = case(tmp_path, TWO_VIEWS)
    changed = replace(PROVENANCE, algorithms=(CLASSIFIER, replace(SEGMENTER, threshold=0.6)))
    before = {item.sop_instance_uid for item in study.build(wanted=EVERYTHING)}
    after = {item.sop_instance_uid for item in study.build(changed, wanted=EVERYTHING)}
    assert before.isdisjoint(after)


def test_series_sort_behind_the_images_and_no_two_share_a_number(tmp_path: Path) -> None:
    built = case(tmp_path, FINDINGS).build(wanted=EVERYTHING, forms=EVERY_FORM)
    numbers = [int(item.dataset.SeriesNumber) for item in built]
    assert min(numbers) > 90_000
    assert len(set(numbers)) == len(numbers) == len({item.series_instance_uid for item in built})


def test_forms_have_segmentations_and_a_report_of_their_own(tmp_path: Path) -> None:
    built = case(tmp_path, TWO_VIEWS).build(wanted=EVERYTHING, forms=EVERY_FORM)
    of_form = {
        form: [item.kind for item in built if item.form is form] for form in SegmentationForm
    }
    SEG, SR, KOS = ObjectKind.SEG, ObjectKind.SR, ObjectKind.KOS
    assert of_form[SegmentationForm.BINARY] == [SEG, SR, KOS]
    assert of_form[SegmentationForm.LABELMAP] == [SEG, SR, KOS]
    # The map of an image without findings is a result too.
    assert of_form[SegmentationForm.FRACTIONAL] == [SEG, SEG, SR, KOS]
    assert len({item.sop_instance_uid for item in built}) == len(built)
    for report in (item for item in built if item.kind is SR):
        named = {
            str(item.ReferencedSOPInstanceUID)
            for item in walk(report.dataset)
            if "ReferencedSOPInstanceUID" in item
        }
        for item in built:
            if item.kind is SEG:
                assert (item.sop_instance_uid in named) == (item.form is report.form)
