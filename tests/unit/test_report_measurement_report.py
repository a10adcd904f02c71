"""The structured report of one study."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from oncopixel_pacs.domain import Laterality, ObjectKind, Reason, View
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report.codes import REASONS
from oncopixel_pacs.report.measurement_report import build_measurement_report
from oncopixel_pacs.report.segmentation import ObjectUids
from oncopixel_pacs.report.source_header import read_source
from tests.report_builders import (
    COLUMNS,
    FOUR_VIEWS,
    PROVENANCE,
    ROWS,
    SEGMENTER,
    STUDY_UID,
    Case,
    case,
    with_repeats,
    without,
)

NONE = dict.fromkeys(FOUR_VIEWS, 0)
UIDS = ObjectUids("2.25.1", "2.25.2", 901)


def report_of(study: Case) -> Dataset:
    (built,) = (item for item in study.build() if item.kind is ObjectKind.SR)
    return built.dataset


def direct_report(study: Case, **changes: object) -> Dataset:
    headers = {uid: read_source(path) for uid, path in study.paths.items()}
    arguments = {
        "headers": headers,
        "result": study.result,
        "segmentations": {},
        "provenance": PROVENANCE,
        "uids": UIDS,
        **changes,
    }
    return build_measurement_report(**arguments)


def items(dataset: Dataset) -> Iterator[Dataset]:
    for item in dataset.get("ContentSequence", ()):
        yield item
        yield from items(item)


def name_of(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return names[0].CodeMeaning if names else ""


def groups_of(dataset: Dataset) -> list[Dataset]:
    return [item for item in items(dataset) if name_of(item) == "Measurement Group"]


def child(item: Dataset, name: str) -> Dataset | None:
    return next((part for part in item.ContentSequence if name_of(part) == name), None)


def tracking(group: Dataset) -> str:
    return child(group, "Tracking Identifier").TextValue


def values(group: Dataset) -> dict[str, tuple[float, str]]:
    found = {}
    for item in group.ContentSequence:
        if item.ValueType == "NUM":
            (measured,) = item.MeasuredValueSequence
            unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
            found[name_of(item)] = (float(measured.NumericValue), unit)
    return found


def texts(dataset: Dataset) -> list[str]:
    return [item.TextValue for item in items(dataset) if name_of(item) == "Comment"]


def test_each_finding_has_its_measurements_segment_side_and_tracking(tmp_path: Path) -> None:
    study = case(tmp_path, {**NONE, (Laterality.LEFT, View.CC): 2})
    segmentation = next(
        item
        for item in study.build()
        if item.kind is ObjectKind.SEG and "L CC" in item.series_description
    )
    report = report_of(study)
    marked = [g for g in groups_of(report) if child(g, "Referenced Segmentation Frame")]
    assert [tracking(group) for group in marked] == ["L CC 1", "L CC 2"]
    for number, group in enumerate(marked, start=1):
        reference = child(group, "Referenced Segmentation Frame").ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == segmentation.sop_instance_uid
        assert reference.ReferencedFrameNumber == number
        assert "ReferencedSegmentNumber" not in reference
        site = child(group, "Finding Site")
        assert site.ConceptCodeSequence[0].CodeMeaning == "Breast"
        assert child(site, "Laterality").ConceptCodeSequence[0].CodeMeaning == "Left"
        assert values(group) == {
            "Area": (1.44, "mm2"),
            "Long Axis": (1.2, "mm"),
            "Short Axis": (1.2, "mm"),
            "Probability of cancer": (pytest.approx(90 - 10 * number), "%"),
        }
        assert child(group, "Finding").ConceptCodeSequence[0].CodeMeaning == "Lesion"


def test_each_number_of_a_finding_names_the_algorithm(tmp_path: Path) -> None:
    report = report_of(case(tmp_path, {(Laterality.LEFT, View.CC): 1}))
    area = child(groups_of(report)[0], "Area")
    told = {name_of(item): item.TextValue for item in area.ContentSequence}
    assert told["Algorithm Name"] == SEGMENTER.name
    parameters = [i.TextValue for i in area.ContentSequence if name_of(i) == "Algorithm Parameters"]
    assert parameters == [
        "threshold=0.5",
        "operating_point=segment called at probability >= 0.5",
        f"weights_sha256={'a' * 64}",
        f"preprocessing_sha256={'c' * 64}",
        "software=OncoPixel PACS 0.1.0",
        "device=cpu",
    ]


def test_the_outline_of_a_finding_runs_through_pixel_centres(tmp_path: Path) -> None:
    study = case(tmp_path, {(Laterality.LEFT, View.CC): 1})
    outline = groups_of(report_of(study))[1]
    assert tracking(outline) == "L CC 1"
    region = child(outline, "Image Region")
    (image,) = study.result.images
    row, column = image.findings[0].outline[0]
    assert list(region.GraphicData[:2]) == [column + 0.5, row + 0.5]
    assert list(region.GraphicData[:2]) == list(region.GraphicData[-2:])
    source = region.ContentSequence[0].ReferencedSOPSequence[0]
    assert source.ReferencedSOPInstanceUID == image.facts.sop_instance_uid


def test_every_group_can_be_drawn(tmp_path: Path) -> None:
    """Viewers merge groups of one tracking identifier; each needs coordinates."""
    report = report_of(case(tmp_path, {**NONE, FOUR_VIEWS[0]: 2}))
    drawn: dict[str, bool] = {}
    for group in groups_of(report):
        uid = child(group, "Tracking Unique Identifier").UID
        drawn[uid] = drawn.get(uid, False) or child(group, "Image Region") is not None
    assert len(drawn) == 2 + 4 + 2 + 1
    assert all(drawn.values())


def test_scores_of_images_breasts_and_study(tmp_path: Path) -> None:
    report = report_of(case(tmp_path, {**NONE, (Laterality.LEFT, View.MLO): 1}))
    scores = {
        tracking(group): values(group)["Probability of cancer"]
        for group in groups_of(report)
        if child(group, "Image Region") and values(group)
    }
    assert scores == {
        "R CC image": (10, "%"),
        "L CC image": (10, "%"),
        "R MLO image": (10, "%"),
        "L MLO image": (80, "%"),
        "Right breast": (10, "%"),
        "Left breast": (45, "%"),
        "Study": (45, "%"),
    }
    by_name = {tracking(group): group for group in groups_of(report)}
    region = child(by_name["Left breast"], "Image Region")
    assert list(region.GraphicData) == [0, 0, COLUMNS, 0, COLUMNS, ROWS, 0, ROWS, 0, 0]

    def derivation(name: str) -> str:
        score = child(by_name[name], "Probability of cancer")
        return child(score, "Derivation").ConceptCodeSequence[0].CodeMeaning

    assert (derivation("Left breast"), derivation("Study")) == ("Mean", "Maximum")
    assert "Left breast: probability of malignancy 45.0%, the mean of L CC, L MLO." in texts(report)


def test_a_study_without_findings_still_has_a_report(tmp_path: Path) -> None:
    report = report_of(case(tmp_path, NONE))
    assert len(groups_of(report)) == 4 + 2 + 1
    assert "Image R CC: no lesion candidate was found." in texts(report)


def test_images_of_one_view_are_told_apart(tmp_path: Path) -> None:
    """As a repeat, or what was made from a tomosynthesis beside what was acquired."""
    study = with_repeats(tmp_path, 1)
    said = texts(report_of(study))
    for uid in study.paths:
        assert sum(f"({uid}): 1 lesion candidate(s) marked." in text for text in said) == 1


def test_research_use_stands_in_text_and_series_description(tmp_path: Path) -> None:
    report = report_of(case(tmp_path, NONE))
    assert texts(report)[0] == "Research use only. Not for diagnosis."
    assert report.SeriesDescription == "AI REPORT - RESEARCH USE ONLY"
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")


def test_images_that_were_not_analysed_are_named_with_their_reason(tmp_path: Path) -> None:
    study = without(case(tmp_path, {**NONE, FOUR_VIEWS[0]: 1}), "L CC", Reason.BREAST_IMPLANT)
    report = report_of(study)
    (line,) = [text for text in texts(report) if "not analysed" in text]
    assert line.startswith("Image L CC (2.25.")
    assert line.endswith("was not analysed: breast-implant. The breast has an implant.")
    assert len([g for g in groups_of(report) if tracking(g).endswith("image")]) == 3


def test_evidence_is_complete_and_of_the_current_procedure(tmp_path: Path) -> None:
    study = case(tmp_path, {**NONE, FOUR_VIEWS[0]: 1})
    built = study.build()
    report = built[-1].dataset
    (evidence,) = report.CurrentRequestedProcedureEvidenceSequence
    assert evidence.StudyInstanceUID == STUDY_UID
    listed = {
        item.ReferencedSOPInstanceUID
        for series in evidence.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert listed == set(study.paths) | {item.sop_instance_uid for item in built[:-1]}
    (request,) = report.ReferencedRequestSequence
    assert (request.RequestedProcedureID, request.AccessionNumber) == ("RP1", "ACC1")


def test_a_later_report_names_the_one_it_replaces(tmp_path: Path) -> None:
    first = report_of(case(tmp_path, NONE))
    study = case(tmp_path, NONE)
    later = direct_report(study, result=replace(study.result, revision=2), predecessors=(first,))
    (predecessor,) = later.PredecessorDocumentsSequence
    (series,) = predecessor.ReferencedSeriesSequence
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert later.InstanceNumber == 2


def test_evidence_of_another_study_is_pertinent(tmp_path: Path) -> None:
    study = case(tmp_path, {FOUR_VIEWS[0]: 1})
    (segmentation,) = (item for item in study.build() if item.kind is ObjectKind.SEG)
    segmentation.dataset.StudyInstanceUID = "2.25.77"
    (uid,) = study.paths
    report = direct_report(study, segmentations={uid: segmentation.dataset})
    (other,) = report.PertinentOtherEvidenceSequence
    assert other.StudyInstanceUID == "2.25.77"


def test_side_view_and_size_of_each_image_stand_in_the_library(tmp_path: Path) -> None:
    report = report_of(case(tmp_path, {(Laterality.LEFT, View.MLO): 0}))
    (entry,) = (item for item in items(report) if name_of(item) == "Source")
    assert child(entry, "Image Laterality").ConceptCodeSequence[0].CodeMeaning == "Left"
    view = child(entry, "Image View").ConceptCodeSequence[0]
    assert view.CodeMeaning == "medio-lateral oblique"
    assert values(entry)["Horizontal Pixel Spacing"] == (0.1, "mm")
    assert values(entry)["Pixel Data Rows"] == (ROWS, "{pixels}")
    assert child(entry, "Patient Orientation Column").TextValue == "FR"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"headers": {}}, "header of image"),
        ({"segmentations": {}}, "no segmentation"),
        ({"provenance": replace(PROVENANCE, algorithms=())}, "no segmentation|no model"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, changes: dict[str, object], why: str) -> None:
    study = case(tmp_path, {FOUR_VIEWS[0]: 1})
    with pytest.raises(ResultRejected, match=why):
        direct_report(study, **changes)


def test_nothing_analysed_is_said_in_codes_and_words(tmp_path: Path) -> None:
    study = without(case(tmp_path, {FOUR_VIEWS[0]: 0}), "R CC", Reason.NO_BREAST)
    report = study.one(ObjectKind.SR).dataset
    assert groups_of(report) == []
    assert [name_of(item) for item in report.ContentSequence][-1] == "Qualitative Evaluations"
    said = report.ContentSequence[-1].ContentSequence
    outcome, reason, *words = said
    assert outcome.ConceptCodeSequence[0].CodeValue == "111245"
    (why,) = reason.ConceptCodeSequence
    assert (why.CodeValue, why.CodingSchemeDesignator) == ("no-breast", "99ONCOPIXEL")
    (uid,) = study.paths
    (image,) = reason.ContentSequence
    assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == uid
    assert any(Reason.NO_BREAST.sentence in item.TextValue for item in words)
    (scheme,) = report.CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == "99ONCOPIXEL"


def test_why_an_image_was_left_out_of_a_report_is_coded(tmp_path: Path) -> None:
    study = case(tmp_path, dict.fromkeys(FOUR_VIEWS[:2], 1))
    report = without(study, "L CC", Reason.PARTIAL_VIEW).one(ObjectKind.SR).dataset
    codes = [
        item.ConceptCodeSequence[0].CodeValue
        for item in report.ContentSequence[-1].ContentSequence
        if item.ValueType == "CODE"
    ]
    assert codes == ["111244", "partial-view"]


def test_every_reason_has_a_code_that_fits(tmp_path: Path) -> None:
    assert set(REASONS) == set(Reason)
    assert len({code.value for code in REASONS.values()}) == len(Reason)
    assert all(len(code.value) <= 16 and len(code.meaning) <= 64 for code in REASONS.values())


def test_without_any_header_there_is_nothing_to_report(tmp_path: Path) -> None:
    study = without(case(tmp_path, {FOUR_VIEWS[0]: 0}), "R CC", Reason.NO_BREAST)
    with pytest.raises(ResultRejected, match="No header of the study"):
        direct_report(study, headers={})
