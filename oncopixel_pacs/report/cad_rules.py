"""Rules for CAD reports (TID 4000), and their agreement with the other results.

Template validators are slow and seldom installed, and no attribute validator sees these
faults; so what TID 4000 to 4017 ask of the items that we write is checked here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.domain import Laterality
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.cad_template import ONCE, RELATIONS
from oncopixel_pacs.report.content_items import Relation
from oncopixel_pacs.report.dataset_rules import walk
from oncopixel_pacs.report.parsed_object import ParsedItem
from oncopixel_pacs.report.report_rules import (
    HEADER,
    child,
    children,
    evidence_problems,
    groups,
    named,
    shape_problems,
)
from oncopixel_pacs.report.segmentation_rules import marked_findings

_FEATURES = (codes.SINGLE_IMAGE_FINDING, codes.COMPOSITE_FEATURE)
# By number of findings (some, none) within the images that were analysed (all, some, none).
_OUTCOMES = {
    ("all", True): codes.ALL_SUCCEEDED_FINDINGS,
    ("all", False): codes.ALL_SUCCEEDED_NO_FINDINGS,
    ("some", True): codes.SOME_SUCCEEDED_FINDINGS,
    ("some", False): codes.SOME_SUCCEEDED_NO_FINDINGS,
    ("none", False): codes.NONE_SUCCEEDED,
}
_SIDES = {
    code.value: side.value
    for table in (codes.SIDES, codes.SIDED_BREASTS)
    for side, code in table.items()
}
_DETECTED = {
    "all": codes.SUCCEEDED,
    "some": codes.PARTIALLY_SUCCEEDED,
    "none": codes.FAILED,
}


@dataclass(frozen=True, slots=True)
class _Told:
    """One finding as a report tells it; the probability in percent, as written."""

    tracking_id: str
    tracking_uid: str
    source_uid: str
    percent: float = field(compare=False, default=0.0)


def cad_problems(dataset: ParsedItem, sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Template, notice, evidence, references by position, coordinates, sides and summaries.

    Parameters
    ----------
    sources
        Headers of the images by SOP Instance UID.
    """
    if dataset.ContentTemplateSequence[0].TemplateIdentifier != "4000":
        yield "its root template is not TID 4000"
    summary = child(dataset, codes.CAD_SUMMARY)
    description = summary and child(summary, codes.IMPRESSION_DESCRIPTION)
    if description is None or not description.TextValue.startswith(RESEARCH_NOTICE):
        yield "it does not say that it is for research use only"
    yield from evidence_problems(dataset)
    yield from _item_problems(dataset)
    yield from _pointer_problems(dataset)
    yield from _graphic_problems(dataset, sources)
    yield from _library_problems(dataset, sources)
    yield from _summary_problems(dataset)


def cad_disagreements(
    cad: ParsedItem, segmentations: Iterable[ParsedItem], reports: Iterable[ParsedItem]
) -> Iterator[str]:
    """Compare findings, probabilities, sides and views with those of the other results."""
    told = _told_by_cad(cad)
    for segmentation in segmentations:
        source = segmentation.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]
        yield from _differences(
            {item for item in told if item.source_uid == source.ReferencedSOPInstanceUID},
            {
                _Told(item.tracking_id, item.tracking_uid, item.source_uid)
                for item in marked_findings(segmentation)
            },
            "segmentation",
        )
    for report in reports:
        reported = _told_by_report(report)
        yield from _differences(told, reported, "report")
        percents = {item.tracking_uid: item.percent for item in reported}
        for item in told:
            if abs(percents.get(item.tracking_uid, item.percent) - item.percent) > 0.005:
                yield f"finding {item.tracking_id} has another probability than in the report"
        known = shown_images(report)
        for uid, shown in shown_images(cad).items():
            if known.get(uid, shown) != shown:
                yield "an image has another side or view than in the report"


def _item_problems(dataset: ParsedItem) -> Iterator[str]:
    for item in _content(dataset):
        for name in ONCE.get(_name(item), ()):
            count = sum(named(part, name) for part in children(item))
            if count != 1:
                yield f"{_meaning(item)} has {count} items {name.meaning}"
        for part in children(item):
            allowed = RELATIONS.get(_name(part))
            if named(part, codes.SINGLE_IMAGE_FINDING):
                inside = named(item, codes.COMPOSITE_FEATURE)
                allowed = (Relation.INFERRED_FROM if inside else Relation.CONTAINS,)
            if allowed and part.get("RelationshipType") not in allowed:
                yield f"{_meaning(part)} has the relation {part.get('RelationshipType')}"
        if any(named(item, name) for name in _FEATURES) and not _is(item, codes.CAD_LESION):
            yield f"{_meaning(item)} is no {codes.CAD_LESION.meaning}"
        if named(item, codes.COMPOSITE_FEATURE) and len(_findings_in(item)) != 2:
            yield "a composite feature is not inferred from two findings"
        if named(item, codes.PROBABILITY_OF_CANCER) and not 0 <= _percent(item) <= 100:
            yield "a probability is not within 0 and 100 %"


def _pointer_problems(dataset: ParsedItem) -> Iterator[str]:
    for item in _content(dataset):
        if "ReferencedContentItemIdentifier" not in item:
            continue
        target = _target(dataset, item)
        if target is None or target.get("ValueType") != "IMAGE":
            yield "a reference by position leads to no image"


def _graphic_problems(dataset: ParsedItem, sources: Mapping[str, Dataset]) -> Iterator[str]:
    for finding in _findings_in(dataset):
        graphics = [part for part in children(finding) if part.get("ValueType") == "SCOORD"]
        uids = {_selected(dataset, part) for part in graphics}
        if len(uids) != 1:
            yield "centre and outline of a finding lie on different images"
        for part in graphics:
            yield from shape_problems(part, sources.get(_selected(dataset, part)))
            expected = "POINT" if named(part, codes.CENTER) else "POLYLINE"
            if expected != part.GraphicType:
                yield f"{_meaning(part)} is no {expected}"
        centre, outline = child(finding, codes.CENTER), child(finding, codes.OUTLINE)
        if centre is not None and outline is not None and not _within(centre, outline):
            yield "the centre of a finding lies outside its outline"


def _library_problems(dataset: ParsedItem, sources: Mapping[str, Dataset]) -> Iterator[str]:
    for entry in _library(dataset):
        side = _SIDES.get(_value(child(entry, codes.IMAGE_LATERALITY)))
        source = sources.get(_uid(entry), Dataset())
        stated = source.get("ImageLaterality")
        if side and stated in tuple(Laterality) and side != stated:
            yield "an image is on another side than its header says"


def _summary_problems(dataset: ParsedItem) -> Iterator[str]:
    """Each image is in one list of detections, and the summaries say what the lists say."""
    images = {_uid(entry) for entry in _library(dataset)}
    succeeded = _detected(dataset, codes.SUCCESSFUL_DETECTIONS)
    failed = _detected(dataset, codes.FAILED_DETECTIONS)
    if sorted(succeeded + failed) != sorted(images):
        yield "not every image is in exactly one list of detections"
    amount = "none" if not succeeded else "some" if failed else "all"
    found = _told_by_cad(dataset)
    if not {item.source_uid for item in found} <= set(succeeded):
        yield "a finding is on an image that was not analysed"
    outcome, detected = _OUTCOMES.get((amount, bool(found))), _DETECTED[amount]
    stated = child(dataset, codes.CAD_SUMMARY)
    if stated is not None and (outcome is None or not _is(stated, outcome)):
        yield "its summary is not what it holds"
    stated = child(dataset, codes.SUMMARY_OF_DETECTIONS)
    if stated is not None and not _is(stated, detected):
        yield "its summary of detections is not what it holds"
    matched = any(named(item, codes.COMPOSITE_FEATURE) for item in _content(dataset))
    stated = child(dataset, codes.SUMMARY_OF_ANALYSES)
    if stated is not None and not _is(stated, codes.SUCCEEDED if matched else codes.NOT_ATTEMPTED):
        yield "its summary of analyses is not what it holds"


def _differences(told: set[_Told], others: set[_Told], name: str) -> Iterator[str]:
    for item in sorted(told - others, key=lambda item: item.tracking_id):
        yield f"finding {item.tracking_id} of the CAD report is not so in the {name}"
    for item in sorted(others - told, key=lambda item: item.tracking_id):
        yield f"finding {item.tracking_id} of the {name} is not so in the CAD report"


def _told_by_cad(dataset: ParsedItem) -> set[_Told]:
    told = set()
    for finding in _findings_in(dataset):
        centre = child(finding, codes.CENTER)
        source = "" if centre is None else _selected(dataset, centre)
        told.add(_told(finding, source))
    return told


def _told_by_report(dataset: ParsedItem) -> set[_Told]:
    told = set()
    for group in groups(dataset):
        source = child(group, codes.SOURCE_FOR_SEGMENTATION)
        if source is not None:
            told.add(_told(group, _uid(source)))
    return told


def _told(item: ParsedItem, source: str) -> _Told:
    name, uid = child(item, codes.TRACKING_IDENTIFIER), child(item, codes.TRACKING_UID)
    percent = child(item, codes.PROBABILITY_OF_CANCER)
    return _Told(
        tracking_id="" if name is None else str(name.TextValue),
        tracking_uid="" if uid is None else str(uid.UID),
        source_uid=source,
        percent=0.0 if percent is None else _percent(percent),
    )


def cad_outlines(dataset: ParsedItem) -> dict[str, tuple[float, ...]]:
    """Coordinates of each finding's outline by its tracking UID."""
    found = {}
    for finding in _findings_in(dataset):
        uid, outline = child(finding, codes.TRACKING_UID), child(finding, codes.OUTLINE)
        if uid is not None and outline is not None:
            found[str(uid.UID)] = tuple(float(number) for number in outline.GraphicData)
    return found


def shown_images(dataset: ParsedItem) -> dict[str, tuple[str, str]]:
    """Side and code value of the view of each image in the library of a report."""
    library = child(dataset, codes.IMAGE_LIBRARY)
    return {
        _uid(item): (
            _SIDES.get(_value(child(item, codes.IMAGE_LATERALITY)), ""),
            _value(child(item, codes.IMAGE_VIEW)),
        )
        for item in ([] if library is None else walk(library))
        if item.get("ValueType") == "IMAGE"
    }


def _content(dataset: ParsedItem) -> Iterator[ParsedItem]:
    return (item for item in walk(dataset, skip=HEADER) if item is dataset or _is_content(item))


def _is_content(item: ParsedItem) -> bool:
    return "ValueType" in item or "ReferencedContentItemIdentifier" in item


def _library(dataset: ParsedItem) -> list[ParsedItem]:
    library = child(dataset, codes.IMAGE_LIBRARY)
    return [] if library is None else children(library)


def _findings_in(dataset: ParsedItem) -> list[ParsedItem]:
    return [item for item in _content(dataset) if named(item, codes.SINGLE_IMAGE_FINDING)]


def _detected(dataset: ParsedItem, name: Code) -> list[str]:
    """SOP Instance UIDs in one list of detections."""
    return [
        _uid(target)
        for item in _content(dataset)
        if named(item, name)
        for part in walk(item)
        if "ReferencedContentItemIdentifier" in part
        and (target := _target(dataset, part)) is not None
    ]


def _selected(dataset: ParsedItem, graphic: ParsedItem) -> str:
    """SOP Instance UID of the image that a graphic lies on."""
    target = _target(dataset, graphic.ContentSequence[0])
    return "" if target is None else _uid(target)


def _target(dataset: ParsedItem, pointer: ParsedItem) -> ParsedItem | None:
    """Follow Referenced Content Item Identifier (0040,DB73) from the root."""
    value = pointer.ReferencedContentItemIdentifier
    positions = [int(number) for number in (value if not isinstance(value, int) else [value])]
    item = dataset
    for position in positions[1:]:
        below = children(item)
        if not 1 <= position <= len(below):
            return None
        item = below[position - 1]
    return item if positions[:1] == [1] else None


def _uid(item: ParsedItem) -> str:
    references = item.get("ReferencedSOPSequence")
    return str(references[0].ReferencedSOPInstanceUID) if references else ""


def _within(centre: ParsedItem, outline: ParsedItem) -> bool:
    """Whether a point lies in the box around an outline."""
    x, y = (float(number) for number in centre.GraphicData[:2])
    numbers = [float(number) for number in outline.GraphicData]
    columns, rows = numbers[::2], numbers[1::2]
    return min(columns) <= x <= max(columns) and min(rows) <= y <= max(rows)


def _percent(item: ParsedItem) -> float:
    return float(item.MeasuredValueSequence[0].NumericValue)


def _value(item: ParsedItem | None) -> str:
    return "" if item is None else str(item.ConceptCodeSequence[0].CodeValue)


def _is(item: ParsedItem, value: Code) -> bool:
    return _value(item) == value.value


def _name(item: ParsedItem) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].CodeValue) if names else ""


def _meaning(item: ParsedItem) -> str:
    return str(item.ConceptNameCodeSequence[0].get("CodeMeaning", "an item"))
