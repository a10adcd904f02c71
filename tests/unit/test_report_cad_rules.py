"""The gate for CAD reports: each defect is put in on purpose and must be found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from oncopixel_pacs.domain import ObjectKind, Reason
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.dataset_rules import walk
from oncopixel_pacs.report.report_rules import child, named
from oncopixel_pacs.report.result_objects import BuiltObject
from oncopixel_pacs.report.validation import check
from tests.report_builders import FOUR_VIEWS, Case, case, without
from tests.report_mutations import of_code, rename_patient
from tests.unit.test_report_validation import mutated

CAD = ObjectKind.CAD_SR
RIGHT_CC, LEFT_CC, RIGHT_MLO, LEFT_MLO = FOUR_VIEWS
Mutation = Callable[[Dataset], None]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Make a pair on the right, one finding on the left, one image not analysed."""
    folder = tmp_path_factory.mktemp("cad")
    made = case(folder, {RIGHT_CC: 1, RIGHT_MLO: 1, LEFT_CC: 1, LEFT_MLO: 0})
    return without(made, "L MLO", Reason.PARTIAL_VIEW)


@pytest.fixture(scope="module")
def built(study: Case) -> tuple[BuiltObject, ...]:
    return study.build(wanted=(CAD,))


def finding(dataset: Dataset) -> Dataset:
    return of_code(dataset, codes.SINGLE_IMAGE_FINDING.value)


def drop(dataset: Dataset, parent: Dataset, code_value: str) -> None:
    parent.ContentSequence = [
        item
        for item in parent.ContentSequence
        if item.get("ConceptNameCodeSequence") is None
        or item.ConceptNameCodeSequence[0].CodeValue != code_value
    ]


def dropping(code_value: str) -> Mutation:
    return lambda dataset: drop(dataset, finding(dataset), code_value)


def pointing(*identifier: int) -> Mutation:
    def mutate(dataset: Dataset) -> None:
        centre = child(finding(dataset), codes.CENTER)
        centre.ContentSequence[0].ReferencedContentItemIdentifier = list(identifier)

    return mutate


def setting(code_value: str, number: str) -> Mutation:
    def mutate(dataset: Dataset) -> None:
        of_code(dataset, code_value).MeasuredValueSequence[0].NumericValue = number

    return mutate


def coding(code_value: str, value: str) -> Mutation:
    def mutate(dataset: Dataset) -> None:
        of_code(dataset, code_value).ConceptCodeSequence[0].CodeValue = value

    return mutate


def drawing(code_value: str, points: list[float]) -> Mutation:
    def mutate(dataset: Dataset) -> None:
        of_code(dataset, code_value).GraphicData = points

    return mutate


def relating(code_value: str, relation: str) -> Mutation:
    def mutate(dataset: Dataset) -> None:
        of_code(dataset, code_value).RelationshipType = relation

    return mutate


def open_outline(dataset: Dataset) -> None:
    outline = of_code(dataset, "111041")
    outline.GraphicData = list(outline.GraphicData[:-2])


def no_analyses(dataset: Dataset) -> None:
    drop(dataset, dataset, "111065")


def no_template(dataset: Dataset) -> None:
    del dataset.ContentTemplateSequence


def other_template(dataset: Dataset) -> None:
    dataset.ContentTemplateSequence[0].TemplateIdentifier = "1500"


def no_meaning(dataset: Dataset) -> None:
    del finding(dataset).ConceptCodeSequence[0].CodeMeaning


def zero_width_space(dataset: Dataset) -> None:
    name = of_code(dataset, "111034").ConceptNameCodeSequence[0]
    dataset.SpecificCharacterSet = "ISO_IR 192"
    name.CodeMeaning = "Individual Impression/\u200bRecommendation"


def no_evidence(dataset: Dataset) -> None:
    del dataset.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[1]


def no_evidence_at_all(dataset: Dataset) -> None:
    del dataset.CurrentRequestedProcedureEvidenceSequence


def no_notice(dataset: Dataset) -> None:
    of_code(dataset, "111033").TextValue = "All well."


def half_a_pair(dataset: Dataset) -> None:
    composite = of_code(dataset, "111015")
    composite.ContentSequence = list(composite.ContentSequence[:-1])


def forget_the_failed(dataset: Dataset) -> None:
    drop(dataset, of_code(dataset, "111064"), "111025")


def analysed_though_failed(dataset: Dataset) -> None:
    """Exchange the names of the lists of detections."""
    first, second = of_code(dataset, "111063"), of_code(dataset, "111025")
    names = first.ConceptNameCodeSequence, second.ConceptNameCodeSequence
    second.ConceptNameCodeSequence, first.ConceptNameCodeSequence = names


def other_tracking(dataset: Dataset) -> None:
    of_code(dataset, "112040").UID = "2.25.5"


def other_name(dataset: Dataset) -> None:
    of_code(dataset, "112039").TextValue = "R CC 7"


def one_finding_less(dataset: Dataset) -> None:
    summary = of_code(dataset, "111017")
    summary.ContentSequence = list(summary.ContentSequence[:-1])


def as_one(dataset: Dataset) -> None:
    """Draw a polyline where a point belongs."""
    centre = of_code(dataset, "111010")
    centre.GraphicType, centre.GraphicData = (
        "POLYLINE",
        [11.0, 9.0, 12.0, 9.0, 12.0, 10.0, 11.0, 9.0],
    )


MUTATIONS = [
    (pointing(1, 2, 9), "leads to no image"),
    (pointing(1, 3), "leads to no image"),
    (pointing(2, 2, 1), "leads to no image"),
    (pointing(1, 2, 3), "on different images"),
    (dropping("111056"), "Single Image Finding has 0 items Rendering Intent"),
    (dropping("111010"), "Single Image Finding has 0 items Center"),
    (dropping("111041"), "Single Image Finding has 0 items Outline"),
    (dropping("111001"), "Single Image Finding has 0 items Algorithm Name"),
    (dropping("111047"), "Single Image Finding has 0 items Probability"),
    (coding("111059", "4147007"), "Single Image Finding is no"),
    (coding("111015", "129788004"), "Composite Feature is no"),
    (no_analyses, "has 0 items Summary of Analyses"),
    (setting("111047", "870"), "not within 0 and 100"),
    (setting("111047", "12.00"), "finding R CC 1 has another probability than in the report"),
    (relating("111047", "CONTAINS"), "Probability of cancer has the relation CONTAINS"),
    (relating("111059", "CONTAINS"), "Single Image Finding has the relation CONTAINS"),
    (drawing("111010", [11.0, 9.0, 12.0, 9.0]), "more than one pair"),
    (drawing("111010", [9999.0, 9999.0]), "outside their image"),
    (drawing("111010", [60.0, 90.0]), "outside its outline"),
    (drawing("111010", [11.0, 9.0, 12.0]), "not pairs"),
    (as_one, "Center is no POINT"),
    (open_outline, "not closed"),
    (no_template, "lacks what its class requires"),
    (other_template, "not TID 4000"),
    (no_meaning, "has no CodeMeaning"),
    (zero_width_space, "is not ASCII"),
    (no_evidence, "but no evidence"),
    (no_evidence_at_all, "its source is not among the images"),
    (no_notice, "research use only"),
    (half_a_pair, "not inferred from two findings"),
    (forget_the_failed, "exactly one list"),
    (analysed_though_failed, "on an image that was not analysed"),
    (coding("111017", "111242"), "its summary is not what it holds"),
    (coding("111064", "111222"), "summary of detections is not what it holds"),
    (coding("111065", "111225"), "summary of analyses is not what it holds"),
    (coding("111027", "80248007"), "another side"),
    (coding("111031", "399162004"), "another side or view than in the report"),
    (other_tracking, "finding R CC 1 of the segmentation is not so in the CAD report"),
    (other_name, "finding R CC 7 of the CAD report is not so in the report"),
    (one_finding_less, "of the report is not so in the CAD report"),
    (rename_patient, "PatientID differs"),
]


def test_what_is_right_passes(study: Case, built: tuple[BuiltObject, ...], tmp_path: Path) -> None:
    assert [item.kind for item in built].count(CAD) == 1
    check(built, study.paths)
    none = case(tmp_path, dict.fromkeys(FOUR_VIEWS, 0))
    check(none.build(wanted=(CAD,)), none.paths)
    several = case(tmp_path, dict.fromkeys(FOUR_VIEWS, 2))
    check(several.build(wanted=(CAD,)), several.paths)
    failed = without(case(tmp_path, {RIGHT_CC: 0}), "R CC", Reason.NO_BREAST)
    check(failed.build(wanted=(CAD,)), failed.paths)


@pytest.mark.parametrize(("mutation", "why"), MUTATIONS)
def test_each_defect_is_found(
    study: Case, built: tuple[BuiltObject, ...], mutation: Mutation, why: str
) -> None:
    broken = [mutated(item, mutation) if item.kind is CAD else item for item in built]
    with pytest.raises(ResultRejected, match=why):
        check(broken, study.paths)


def test_findings_of_another_result_are_found(study: Case, tmp_path: Path) -> None:
    """Each object is right by itself."""
    other = case(tmp_path, {RIGHT_CC: 2, RIGHT_MLO: 1, LEFT_CC: 1, LEFT_MLO: 0})
    other = without(other, "L MLO", Reason.PARTIAL_VIEW)
    mixed = [*other.build(), study.one(CAD)]
    with pytest.raises(ResultRejected, match="finding R CC 2 of the segmentation is not so in"):
        check(mixed, study.paths)


def test_the_mutations_hit_what_they_mean(study: Case) -> None:
    """The first image of the library is R MLO, as two mutations assume."""
    (first, *_) = [
        item for item in walk(study.one(CAD).dataset) if item.get("ValueType") == "IMAGE"
    ]
    assert named(first.ContentSequence[0], codes.IMAGE_LATERALITY)
    side, view = (item.ConceptCodeSequence[0].CodeValue for item in first.ContentSequence[:2])
    assert (side, view) == ("73056007", "399368009")
