"""The CAD report: what it says, in each of its forms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import MammographyCADSRStorage

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.domain import ImageResult, ObjectKind, Reason, StudyResult
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.cad_rules import child, children, named
from oncopixel_pacs.report.dataset_rules import walk
from oncopixel_pacs.report.mammography_cad import build_cad_report, correlated
from oncopixel_pacs.report.segmentation import ObjectUids
from oncopixel_pacs.report.source_header import read_source
from oncopixel_pacs.report.validation import check
from tests.report_builders import CLASSIFIER, FOUR_VIEWS, PROVENANCE, Case, case, without

CAD, SR = ObjectKind.CAD_SR, ObjectKind.SR
RIGHT_CC, LEFT_CC, RIGHT_MLO, LEFT_MLO = FOUR_VIEWS


def cad_of(study: Case) -> Dataset:
    return study.one(CAD).dataset


def items(dataset: Dataset, name) -> list[Dataset]:
    return [item for item in walk(dataset) if named(item, name)]


def value(item: Dataset | None) -> str:
    assert item is not None
    return str(item.ConceptCodeSequence[0].CodeMeaning)


def description(dataset: Dataset) -> list[str]:
    (item,) = items(dataset, codes.IMPRESSION_DESCRIPTION)
    return str(item.TextValue).split("\r\n")


def target(dataset: Dataset, pointer: Dataset) -> Dataset:
    found = dataset
    for position in pointer.ReferencedContentItemIdentifier[1:]:
        found = found.ContentSequence[position - 1]
    return found


def names_of_images(study: Case, dataset: Dataset, parent: Dataset) -> Iterator[str]:
    names = {item.facts.sop_instance_uid: item.facts.name for item in study.result.images}
    for item in walk(parent):
        if "ReferencedContentItemIdentifier" in item:
            image = target(dataset, item)
            yield names[image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID]


def test_a_document_of_its_own_series_with_provenance(tmp_path: Path) -> None:
    study = case(tmp_path, {RIGHT_CC: 1})
    built = study.one(CAD)
    dataset = built.dataset
    assert dataset.SOPClassUID == MammographyCADSRStorage == "1.2.840.10008.5.1.4.1.1.88.50"
    assert dataset.ContentTemplateSequence[0].TemplateIdentifier == "4000"
    assert dataset.SeriesDescription == "AI CAD - RESEARCH USE ONLY"
    assert dataset.SeriesInstanceUID not in {
        item.series_instance_uid for item in study.build(wanted=()) if item.kind is not CAD
    }
    assert [item.ManufacturerModelName for item in dataset.ContributingEquipmentSequence] == [
        "breast-classifier",
        "lesion-segmenter",
    ]
    assert study.one(CAD).part10 == built.part10


def test_it_is_built_only_when_wanted(tmp_path: Path) -> None:
    study = case(tmp_path, {RIGHT_CC: 1})
    assert [item.kind for item in study.build()] == [ObjectKind.SEG, SR]
    assert [item.kind for item in study.build(wanted=(CAD,))] == [ObjectKind.SEG, SR, CAD]


def test_what_is_stored_is_taken_and_not_built_again(tmp_path: Path) -> None:
    study = case(tmp_path, {RIGHT_CC: 1})
    stored = {item.sop_instance_uid: item.part10 for item in study.build(wanted=(CAD,))}
    later = replace(PROVENANCE, created_at=PROVENANCE.created_at.replace(year=2027))
    again = study.build(later, stored.get, (CAD,))
    assert {item.sop_instance_uid: item.part10 for item in again} == stored


def test_it_names_the_cad_report_that_it_replaces(tmp_path: Path) -> None:
    study = case(tmp_path, {RIGHT_CC: 1})
    earlier = study.build(wanted=(CAD,))[1:]
    replaced = [item.dataset for item in earlier]
    later = study.build(wanted=(CAD,), predecessors=replaced)[1:]
    for before, after in zip(earlier, later, strict=True):
        assert after.sop_instance_uid != before.sop_instance_uid
        assert after.series_instance_uid == before.series_instance_uid
        (replaced,) = after.dataset.PredecessorDocumentsSequence
        (series,) = replaced.ReferencedSeriesSequence
        (reference,) = series.ReferencedSOPSequence
        assert reference.ReferencedSOPInstanceUID == before.sop_instance_uid
    check([*study.build()[:1], *later], study.paths)


def test_a_finding_has_place_probability_tracking_and_algorithm(tmp_path: Path) -> None:
    study = case(tmp_path, {RIGHT_CC: 2})
    dataset = cad_of(study)
    first, second = items(dataset, codes.SINGLE_IMAGE_FINDING)
    ((image, expected), _) = study.result.findings
    assert value(first) == "Mammography breast density"
    assert value(child(first, codes.RENDERING_INTENT)).startswith("Presentation Required")
    assert child(first, codes.TRACKING_IDENTIFIER).TextValue == expected.tracking_id
    assert expected.tracking_uid == child(first, codes.TRACKING_UID).UID
    percent = child(first, codes.PROBABILITY_OF_CANCER).MeasuredValueSequence[0]
    assert float(percent.NumericValue) == pytest.approx(100 * expected.probability)
    assert child(first, codes.ALGORITHM_NAME).TextValue == "lesion-segmenter"
    centre, outline = child(first, codes.CENTER), child(first, codes.OUTLINE)
    row, column = expected.centre
    assert (centre.GraphicType, list(centre.GraphicData)) == ("POINT", [column + 0.5, row + 0.5])
    assert outline.GraphicType == "POLYLINE"
    assert list(outline.GraphicData[:2]) == list(outline.GraphicData[-2:]) == [10.5, 8.5]
    for graphic in (centre, outline):
        (pointer,) = graphic.ContentSequence
        assert pointer.RelationshipType == "SELECTED FROM"
        entry = target(dataset, pointer)
        assert entry.ValueType == "IMAGE"
        reference = entry.ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == image.facts.sop_instance_uid
    assert child(second, codes.TRACKING_IDENTIFIER).TextValue == "R CC 2"


def test_certainty_is_unknown_and_left_out(tmp_path: Path) -> None:
    dataset = cad_of(case(tmp_path, {RIGHT_CC: 1, RIGHT_MLO: 1}))
    stated = {
        item.ConceptNameCodeSequence[0].CodeValue
        for item in walk(dataset)
        if item.get("ValueType") == "NUM"
    }
    assert stated.isdisjoint({"111012", "111011"})


def test_the_library_tells_side_view_orientation_and_pixel_size(tmp_path: Path) -> None:
    dataset = cad_of(case(tmp_path, {LEFT_MLO: 0}))
    (entry,) = child(dataset, codes.IMAGE_LIBRARY).ContentSequence
    assert value(child(entry, codes.IMAGE_LATERALITY)) == "Left breast"
    assert value(child(entry, codes.IMAGE_VIEW)) == "medio-lateral oblique"
    assert child(entry, codes.PATIENT_ORIENTATION_COLUMN).TextValue == "FR"
    spacing = child(entry, codes.HORIZONTAL_PIXEL_SPACING).MeasuredValueSequence[0]
    assert float(spacing.NumericValue) == 0.1


# --- the four forms ---------------------------------------------------------------------------


def summaries(dataset: Dataset) -> tuple[str, str, str]:
    return tuple(
        value(child(dataset, name))
        for name in (codes.CAD_SUMMARY, codes.SUMMARY_OF_DETECTIONS, codes.SUMMARY_OF_ANALYSES)
    )


def test_findings(tmp_path: Path) -> None:
    study = case(tmp_path, {RIGHT_CC: 1, LEFT_CC: 0})
    dataset = cad_of(study)
    assert summaries(dataset) == (
        "All algorithms succeeded; with findings",
        "Succeeded",
        "Not Attempted",
    )
    (succeeded,) = items(dataset, codes.SUCCESSFUL_DETECTIONS)
    assert sorted(names_of_images(study, dataset, succeeded)) == ["L CC", "R CC"]
    assert description(dataset)[0] == RESEARCH_NOTICE
    assert any("lesion candidate of unknown type" in line for line in description(dataset))


def test_no_finding(tmp_path: Path) -> None:
    dataset = cad_of(case(tmp_path, dict.fromkeys(FOUR_VIEWS, 0)))
    assert summaries(dataset) == (
        "All algorithms succeeded; without findings",
        "Succeeded",
        "Not Attempted",
    )
    assert items(dataset, codes.INDIVIDUAL_IMPRESSION) == []
    assert "Image R CC: no lesion candidate was found." in description(dataset)


@pytest.mark.parametrize(("count", "outcome"), [(1, "with findings"), (0, "without findings")])
def test_partial(tmp_path: Path, count: int, outcome: str) -> None:
    study = without(case(tmp_path, {RIGHT_CC: count, LEFT_CC: 0}), "L CC", Reason.BREAST_IMPLANT)
    dataset = cad_of(study)
    assert summaries(dataset) == (
        f"Not all algorithms succeeded; {outcome}",
        "Partially Succeeded",
        "Not Attempted",
    )
    (succeeded,) = items(dataset, codes.SUCCESSFUL_DETECTIONS)
    (failed,) = items(dataset, codes.FAILED_DETECTIONS)
    assert list(names_of_images(study, dataset, succeeded)) == ["R CC"]
    assert list(names_of_images(study, dataset, failed)) == ["L CC"]
    assert any("breast-implant. The breast has an implant." in t for t in description(dataset))


def test_failed(tmp_path: Path) -> None:
    study = without(case(tmp_path, {RIGHT_CC: 0}), "R CC", Reason.NO_BREAST)
    assert [item.kind for item in study.build(wanted=(CAD,))] == [CAD]
    dataset = cad_of(study)
    assert summaries(dataset) == (
        "No algorithms succeeded; without findings",
        "Failed",
        "Not Attempted",
    )
    (failed,) = items(dataset, codes.FAILED_DETECTIONS)
    assert list(names_of_images(study, dataset, failed)) == ["R CC"]
    assert any("No breast was found in the image." in line for line in description(dataset))


# --- CC and MLO -------------------------------------------------------------------------------


def paired(result: StudyResult) -> list[tuple[str, str]]:
    return [
        (first.tracking_id, second.tracking_id) for (_, first), (_, second) in correlated(result)
    ]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((1, 0, 1, 0), [("R CC 1", "R MLO 1")]),
        ((1, 1, 1, 1), [("R CC 1", "R MLO 1"), ("L CC 1", "L MLO 1")]),
        ((1, 0, 2, 0), []),
        ((2, 0, 1, 0), []),
        ((1, 0, 0, 0), []),
        ((1, 0, 0, 1), []),
        ((0, 0, 0, 0), []),
    ],
)
def test_two_findings_are_one_where_each_is_the_only_one_of_its_view(
    tmp_path: Path, counts: tuple[int, ...], expected: list[tuple[str, str]]
) -> None:
    assert paired(case(tmp_path, dict(zip(FOUR_VIEWS, counts, strict=True))).result) == expected


def test_a_second_image_of_the_same_view_leaves_a_choice(tmp_path: Path) -> None:
    result = case(tmp_path, {RIGHT_CC: 1, RIGHT_MLO: 1}).result
    repeated = replace(
        next(item for item in result.images if item.facts.name == "R CC"),
        findings=(),
    )
    facts = replace(repeated.facts, sop_instance_uid="2.25.9")
    assert paired(result) == [("R CC 1", "R MLO 1")]
    twice = replace(result, images=(*result.images, replace(repeated, facts=facts)))
    assert paired(twice) == []


def test_a_composite_feature_holds_both_findings_and_no_number(tmp_path: Path) -> None:
    study = case(tmp_path, {RIGHT_CC: 1, RIGHT_MLO: 1, LEFT_CC: 1})
    dataset = cad_of(study)
    (composite,) = items(dataset, codes.COMPOSITE_FEATURE)
    assert value(child(composite, codes.COMPOSITE_TYPE)) == (
        "Target content items are related spatially"
    )
    assert value(child(composite, codes.SCOPE_OF_FEATURE)) == "Feature detected on multiple images"
    inside = [i for i in children(composite) if named(i, codes.SINGLE_IMAGE_FINDING)]
    assert [child(i, codes.TRACKING_IDENTIFIER).TextValue for i in inside] == ["R CC 1", "R MLO 1"]
    assert {i.RelationshipType for i in inside} == {"INFERRED FROM"}
    assert child(composite, codes.PROBABILITY_OF_CANCER) is None
    assert child(composite, codes.ALGORITHM_NAME).TextValue == "OncoPixel PACS view matching"
    assert len(items(dataset, codes.INDIVIDUAL_IMPRESSION)) == 2
    assert len(items(dataset, codes.SINGLE_IMAGE_FINDING)) == 3
    (analyses,) = items(dataset, codes.SUCCESSFUL_ANALYSES)
    assert sorted(names_of_images(study, dataset, analyses)) == ["R CC", "R MLO"]
    assert any("R CC 1 and R MLO 1 are given as one" in line for line in description(dataset))


# --- what it cannot be made from --------------------------------------------------------------


def test_without_a_segmenter_there_is_none(tmp_path: Path) -> None:
    study = case(tmp_path, {RIGHT_CC: 0})
    only_classifier = replace(PROVENANCE, algorithms=(CLASSIFIER,))
    assert [item.kind for item in study.build(only_classifier, wanted=(CAD,))] == [SR]
    header = {uid: read_source(path) for uid, path in study.paths.items()}
    uids = ObjectUids("2.25.1", "2.25.2", 1)
    with pytest.raises(ResultRejected, match="model that segments"):
        build_cad_report(header, study.result, only_classifier, uids)


def test_an_image_that_has_no_usable_header_is_named_in_words(tmp_path: Path) -> None:
    study = case(tmp_path, {RIGHT_CC: 0, LEFT_CC: 0})
    lost = without(study, "L CC", Reason.NO_PIXEL_DATA)
    uid = next(i.facts.sop_instance_uid for i in lost.result.images if not i.analysed)
    lost.paths[uid].write_bytes(b"no DICOM")
    dataset = cad_of(lost)
    assert len(child(dataset, codes.IMAGE_LIBRARY).ContentSequence) == 1
    assert any(f"Image L CC ({uid}) was not analysed" in line for line in description(dataset))


def test_nothing_readable_gives_nothing(tmp_path: Path) -> None:
    study = without(case(tmp_path, {RIGHT_CC: 0}), "R CC", Reason.NO_PIXEL_DATA)
    for path in study.paths.values():
        path.write_bytes(b"no DICOM")
    assert study.build(wanted=(CAD,)) == ()
    with pytest.raises(ResultRejected, match="No header"):
        build_cad_report({}, study.result, PROVENANCE, ObjectUids("2.25.1", "2.25.2", 1))


def test_the_header_of_an_analysed_image_is_needed(tmp_path: Path) -> None:
    result = case(tmp_path, {RIGHT_CC: 0}).result
    assert isinstance(result.images[0], ImageResult)
    with pytest.raises(ResultRejected, match="header of image R CC is missing"):
        build_cad_report({}, result, PROVENANCE, ObjectUids("2.25.1", "2.25.2", 1))
