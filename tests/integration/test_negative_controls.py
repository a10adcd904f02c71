"""A checker that passes everything is worthless: each fault must be caught by those named.

The table says which checkers catch which fault. That a checker misses one is no failure as long as
another catches it; that one ceases to catch what it caught is.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from oncopixel_pacs.domain import ObjectKind
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report.built_object import BuiltObject
from oncopixel_pacs.report.external_validation import TOOLS, find_validator, validate_with_tools
from oncopixel_pacs.report.validation import check
from tests.golden_checklist import CHECKLIST, ResultSet, content_items, templates, validators
from tests.pixelmed import template_problems, why_unavailable
from tests.report_builders import FOUR_VIEWS, Case, case
from tests.unit.test_report_validation import mutated

SEG, SR, CAD, PR = ObjectKind.SEG, ObjectKind.SR, ObjectKind.CAD_SR, ObjectKind.GSPS
missing = [tool for tool in TOOLS if find_validator(tool) is None]
pytestmark = [
    pytest.mark.dcmtk,
    pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}"),
]
OWN = {name for name, check_it in CHECKLIST.items() if check_it not in (validators, templates)}
PIXELMED, GATE = "PixelMed", "gate"
DCIODVFY, DCENTVFY, DSRDUMP = TOOLS


@dataclass(frozen=True)
class Fault:
    """One mutation of an object of this kind, and who must catch it."""

    name: str
    kind: ObjectKind
    change: Callable[[Dataset], None]
    caught_by: frozenset[str]


def item(dataset: Dataset, code: str = "", value_type: str = "") -> Dataset:
    """Find the first content item with this concept or type."""
    return next(
        child
        for _, child in content_items(dataset)
        if (not code or _code(child) == code) and value_type in ("", child.ValueType)
    )


def _code(child: Dataset) -> str:
    names = child.get("ConceptNameCodeSequence") or [Dataset()]
    return str(names[0].get("CodeValue", ""))


def without(code: str) -> Callable[[Dataset], None]:
    """Drop every content item with this concept."""

    def change(dataset: Dataset) -> None:
        for parent, child in list(content_items(dataset)):
            if _code(child) == code:
                parent.ContentSequence = [i for i in parent.ContentSequence if _code(i) != code]

    return change


def having(find: Callable[[Dataset], Dataset], **values: object) -> Callable[[Dataset], None]:
    """Set attributes of a part; ``None`` deletes one."""

    def change(dataset: Dataset) -> None:
        part = find(dataset)
        for keyword, value in values.items():
            if value is None:
                delattr(part, keyword)
            else:
                setattr(part, keyword, value)

    return change


def root(dataset: Dataset) -> Dataset:
    return dataset


def first_point(dataset: Dataset) -> Dataset:
    return next(i for _, i in content_items(dataset) if i.get("GraphicType") == "POINT")


def first_outline(dataset: Dataset) -> Dataset:
    return next(i for _, i in content_items(dataset) if i.get("GraphicType") == "POLYLINE")


def by_reference(dataset: Dataset) -> Dataset:
    return next(i for _, i in content_items(dataset) if "ReferencedContentItemIdentifier" in i)


def finding(dataset: Dataset) -> Dataset:
    return item(dataset, "111059").ConceptCodeSequence[0]


def open_outline(dataset: Dataset) -> None:
    outline = first_outline(dataset)
    outline.GraphicData = list(outline.GraphicData)[:-2]


def lose_evidence(dataset: Dataset) -> None:
    for study in dataset.CurrentRequestedProcedureEvidenceSequence:
        del study.ReferencedSeriesSequence[-1]


def both_frame_and_segment(dataset: Dataset) -> None:
    reference = next(
        reference
        for _, child in content_items(dataset)
        for reference in child.get("ReferencedSOPSequence") or ()
        if "ReferencedFrameNumber" in reference or "ReferencedSegmentNumber" in reference
    )
    reference.ReferencedFrameNumber, reference.ReferencedSegmentNumber = 1, 1


def too_sure(dataset: Dataset) -> None:
    item(dataset, "111047").MeasuredValueSequence[0].NumericValue = "870"


def other_window(dataset: Dataset) -> None:
    window = dataset.SoftcopyVOILUTSequence[0]
    window.WindowCenter, window.WindowWidth = "500", "300"


def two_windows(dataset: Dataset) -> None:
    window = dataset.SoftcopyVOILUTSequence[0]
    window.WindowCenter, window.WindowWidth = ["2047", "1000"], ["4096", "500"]


def not_ascii(dataset: Dataset) -> None:
    name = item(dataset, value_type="CONTAINER").ConceptNameCodeSequence[0]
    name.CodeMeaning = f"{name.CodeMeaning}\u00e9"


def fault(name: str, kind: ObjectKind, change: Callable[[Dataset], None], *caught_by: str) -> Fault:
    return Fault(name, kind, change, frozenset(caught_by))


POINT_5, POINT_6 = sorted(n for n in OWN if n[:1] in "56")
(POINT_7,), (POINT_8,), (POINT_10,) = (
    [n for n in OWN if n.startswith(start)] for start in ("7", "8", "10")
)
FAULTS = [
    fault(
        "points nowhere",
        CAD,
        having(by_reference, ReferencedContentItemIdentifier=[1, 2, 9]),
        POINT_7,
        PIXELMED,
        GATE,
    ),
    fault(
        "points to no image",
        CAD,
        having(by_reference, ReferencedContentItemIdentifier=[1, 3]),
        POINT_7,
        PIXELMED,
        GATE,
    ),
    fault("no rendering intent", CAD, without("111056"), PIXELMED, GATE),
    fault("finding of no context group", CAD, having(finding, CodeValue="4147007"), PIXELMED, GATE),
    fault("no centre", CAD, without("111010"), PIXELMED, GATE),
    fault("no Summary of Analyses", CAD, without("111065"), PIXELMED, GATE),
    fault("probability of 870 %", CAD, too_sure, PIXELMED, GATE),
    fault(
        "illegal relation",
        CAD,
        having(lambda d: item(d, "111047"), RelationshipType="CONTAINS"),
        PIXELMED,
        DSRDUMP,
        GATE,
    ),
    fault(
        "point of two points",
        CAD,
        having(first_point, GraphicData=[1.0, 2.0, 3.0, 4.0]),
        PIXELMED,
        DCIODVFY,
        GATE,
    ),
    fault("point outside", CAD, having(first_point, GraphicData=[9999.0, 9999.0]), POINT_7, GATE),
    fault("open outline", CAD, open_outline, POINT_7, GATE),
    fault("image not in evidence", CAD, lose_evidence, DCIODVFY, GATE),
    fault("no template", CAD, having(root, ContentTemplateSequence=None), POINT_7, GATE),
    fault("no code meaning", CAD, having(finding, CodeMeaning=None), DCIODVFY, DSRDUMP, GATE),
    fault("meaning not ASCII", CAD, not_ascii, POINT_8, PIXELMED, GATE),
    fault("frame and segment", SR, both_frame_and_segment, POINT_7, DCIODVFY, GATE),
    fault(
        "outline outside",
        SR,
        having(first_outline, GraphicData=[1.0, 1, 9999, 1, 9, 9, 1, 1]),
        POINT_7,
        GATE,
    ),
    fault("another patient", SEG, having(root, PatientID="OTHER"), DCENTVFY, GATE),
    fault("no orientation", SEG, having(root, PatientOrientation=None), POINT_5, GATE),
    fault("orientation mirrored", SEG, having(root, PatientOrientation=["A", "L"]), POINT_5, GATE),
    fault(
        "frame of reference",
        SEG,
        having(root, FrameOfReferenceUID="1.2.3"),
        POINT_5,
        DCIODVFY,
        GATE,
    ),
    fault("no side", PR, having(root, Laterality=None), POINT_6, DCIODVFY, GATE),
    fault(
        "polarity turned", PR, having(root, PresentationLUTShape="INVERSE"), POINT_6, POINT_10, GATE
    ),
    fault("several windows", PR, two_windows, POINT_6, POINT_10, GATE),
    fault("another window", PR, other_window, POINT_10, GATE),
]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Case:
    def ramp(dataset: Dataset) -> None:
        values = range(int(dataset.Rows) * int(dataset.Columns))
        dataset.PixelData = b"".join((v % 4096).to_bytes(2, "little") for v in values)

    return case(tmp_path_factory.mktemp("in"), {FOUR_VIEWS[0]: 1, FOUR_VIEWS[2]: 1}, change=ramp)


@pytest.fixture(scope="module")
def caught(study: Case, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Find out who catches which fault; PixelMed is slow, and looks at what it should catch."""
    folder = tmp_path_factory.mktemp("faults")
    built = study.build(wanted=(CAD, PR))
    by_name: dict[str, set[str]] = {}
    documents: dict[Path, str] = {}
    for number, fault_ in enumerate(FAULTS):
        index = next(n for n, made in enumerate(built) if made.kind is fault_.kind)
        wrong = mutated(built[index], fault_.change)
        path = folder / f"{number}.dcm"
        path.write_bytes(wrong.part10)
        by_name[fault_.name] = _looked_at(path, study, [p for p in built if p is not built[index]])
        try:
            check([*built[:index], wrong, *built[index + 1 :]], study.paths)
        except ResultRejected:
            by_name[fault_.name].add(GATE)
        if fault_.kind is CAD and PIXELMED in fault_.caught_by:
            documents[path] = fault_.name
    if not why_unavailable():
        for path, complaints in template_problems(list(documents)).items():
            by_name[documents[path]] |= {PIXELMED} if complaints else set()
    return by_name


def _looked_at(path: Path, study: Case, others: list[BuiltObject]) -> set[str]:
    siblings = []
    for number, other in enumerate(others):
        sibling = path.with_name(f"{path.stem}-{number}.sibling")
        sibling.write_bytes(other.part10)
        siblings.append(sibling)
    report = validate_with_tools([path, *siblings], study.paths.values())
    found = {problem.partition(":")[0] for problem in report.problems}
    results = ResultSet(path.name, [path], list(study.paths.values()))
    for name in OWN:
        try:
            if list(CHECKLIST[name](results)):
                found.add(name)
        except subprocess.CalledProcessError:  # dcmp2pgm refuses to render it
            found.add(name)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("fault_", FAULTS, ids=lambda fault_: fault_.name)
def test_the_fault_is_caught(caught: dict[str, set[str]], fault_: Fault) -> None:
    looking = fault_.caught_by - ({PIXELMED} if why_unavailable() else set())
    assert looking, "nobody would catch it"
    assert looking <= caught[fault_.name]


def test_every_checker_catches_something() -> None:
    named = {checker for fault_ in FAULTS for checker in fault_.caught_by}
    assert named == OWN | {*TOOLS, PIXELMED, GATE}
