"""Rules for measurement reports, and what a report says of its findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.dataset_rules import Item, walk
from oncopixel_pacs.report.parsed_object import ParsedItem
from oncopixel_pacs.report.segmentation_rules import Marked

_EVIDENCE = ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
HEADER = frozenset({*_EVIDENCE, "PredecessorDocumentsSequence", "ReferencedStudySequence"})
"""Sequences of a report that are no part of its content tree."""


def report_problems(dataset: ParsedItem, sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Template, notice, evidence, coordinates and references of a report.

    Parameters
    ----------
    sources
        Headers of the images by SOP Instance UID.
    """
    if dataset.ContentTemplateSequence[0].TemplateIdentifier != "1500":
        yield "its root template is not TID 1500"
    if not any(item.get("TextValue") == RESEARCH_NOTICE for item in walk(dataset)):
        yield "it does not say that it is for research use only"
    told = outcome_of(dataset)
    if (told == codes.NONE_SUCCEEDED.value) == bool(groups(dataset)):
        yield (
            "it holds measurement groups, though nothing was analysed"
            if groups(dataset)
            else "it holds no measurement group"
        )
    yield from evidence_problems(dataset)
    for item in walk(dataset, skip=HEADER):
        if item.get("ValueType") == "SCOORD":
            reference = item.ContentSequence[0].ReferencedSOPSequence[0]
            yield from shape_problems(item, sources.get(str(reference.ReferencedSOPInstanceUID)))


def outcome_of(dataset: ParsedItem) -> str:
    """Code value of what came of the study (CID 6047), empty when it is not said."""
    summaries = [item for item in content(dataset) if named(item, codes.CAD_SUMMARY)]
    return str(summaries[0].ConceptCodeSequence[0].CodeValue) if len(summaries) == 1 else ""


def evidence_problems(dataset: ParsedItem) -> Iterator[str]:
    """Name references that are no evidence, or name both frame and segment."""
    listed = evidence_uids(dataset)
    for item in walk(dataset, skip=HEADER):
        if "ReferencedSOPInstanceUID" in item:
            if str(item.ReferencedSOPInstanceUID) not in listed:
                yield f"{item.ReferencedSOPInstanceUID} is referred to, but no evidence"
            if "ReferencedFrameNumber" in item and "ReferencedSegmentNumber" in item:
                yield "a reference names both frame and segment"


def evidence_uids(dataset: ParsedItem) -> set[str]:
    """Read the SOP Instance UIDs that a document lists as its evidence."""
    return {
        str(item.ReferencedSOPInstanceUID)
        for keyword in _EVIDENCE
        for part in dataset.get(keyword) or ()
        for item in walk(part)
        if "ReferencedSOPInstanceUID" in item
    }


def reported_findings(dataset: ParsedItem) -> set[Marked]:
    """Read the findings of a report: the groups that refer to a segment."""
    found = set()
    for group in groups(dataset):
        segment = child(group, codes.REFERENCED_SEGMENTATION_FRAME)
        source = child(group, codes.SOURCE_FOR_SEGMENTATION)
        if segment is None or source is None:
            continue
        reference = segment.ReferencedSOPSequence[0]
        found.add(
            Marked(
                tracking_id=_value(child(group, codes.TRACKING_IDENTIFIER), "TextValue"),
                tracking_uid=_value(child(group, codes.TRACKING_UID), "UID"),
                number=_segment_number(reference),
                side=_side(group),
                segmentation_uid=str(reference.ReferencedSOPInstanceUID),
                source_uid=str(source.ReferencedSOPSequence[0].ReferencedSOPInstanceUID),
            )
        )
    return found


def reported_outlines(dataset: ParsedItem) -> dict[str, tuple[float, ...]]:
    """Coordinates of each finding's outline by its tracking UID."""
    found = {}
    for group in groups(dataset):
        region = child(group, codes.IMAGE_REGION)
        if region is not None and child(group, codes.FINDING) is not None:
            uid = _value(child(group, codes.TRACKING_UID), "UID")
            found[uid] = tuple(float(number) for number in region.GraphicData)
    return found


def reported_percents(dataset: ParsedItem) -> dict[str, float]:
    """Probability of each finding in percent by its tracking UID."""
    found = {}
    for group in groups(dataset):
        percent = child(group, codes.PROBABILITY_OF_CANCER)
        if percent is not None and child(group, codes.SOURCE_FOR_SEGMENTATION) is not None:
            uid = _value(child(group, codes.TRACKING_UID), "UID")
            found[uid] = float(percent.MeasuredValueSequence[0].NumericValue)
    return found


def site_problems(dataset: ParsedItem, sides: Mapping[str, str]) -> Iterator[str]:
    """Compare the finding site of each group with the side of its images.

    Parameters
    ----------
    sides
        Code value of the laterality of each image by its SOP Instance UID.
    """
    for group in groups(dataset):
        stated = _side(group)
        for item in walk(group):
            uid = str(item.get("ReferencedSOPInstanceUID", ""))
            if stated and uid in sides and sides[uid] != stated:
                yield "a finding site is on another side than its image"


def shape_problems(item: ParsedItem, source: Dataset | None) -> Iterator[str]:
    """Name coordinates that are no pairs, lie outside their image, or make no closed outline."""
    if source is None:
        yield "coordinates lie on an image that is no source"
        return
    numbers = [float(number) for number in item.GraphicData]
    points = list(zip(numbers[::2], numbers[1::2], strict=False))
    if len(numbers) % 2 or not points:
        yield "coordinates are not pairs"
        return
    if not all(0 <= x <= source.Columns and 0 <= y <= source.Rows for x, y in points):
        yield "coordinates lie outside their image"
    if item.GraphicType == "POINT" and len(points) != 1:
        yield "a point has more than one pair of coordinates"
    if item.GraphicType == "POLYLINE" and (len(points) < 4 or points[0] != points[-1]):
        yield "the outline of a region is not closed"


def groups(dataset: ParsedItem) -> list[ParsedItem]:
    """List the measurement groups of a report."""
    return [item for item in content(dataset) if named(item, codes.MEASUREMENT_GROUP)]


def content(item: ParsedItem) -> Iterator[ParsedItem]:
    """Give a content item, or a document as its root, and all below it, depth first."""
    yield item
    for part in children(item):
        yield from content(part)


def named(item: Dataset | ParsedItem, name: Code) -> bool:
    """Tell whether a content item has this concept name."""
    names = item.get("ConceptNameCodeSequence")
    return bool(names) and names[0].CodeValue == name.value


def children(item: Item) -> list[Item]:
    """List the content items right below an item."""
    return list(item.get("ContentSequence") or ())


def child(item: Item, name: Code) -> Item | None:
    """Find the first content item right below an item with this concept name."""
    return next((part for part in children(item) if named(part, name)), None)


def _segment_number(reference: ParsedItem) -> int:
    """Segment that a reference is to; frame ``k`` of our segmentations is segment ``k``."""
    if "ReferencedSegmentNumber" in reference:
        return int(reference.ReferencedSegmentNumber)
    return int(reference.ReferencedFrameNumber)


def _value(item: ParsedItem | None, keyword: str) -> str:
    return "" if item is None else str(item.get(keyword, ""))


def _side(group: ParsedItem) -> str:
    site = child(group, codes.FINDING_SITE)
    side = None if site is None else child(site, codes.LATERALITY)
    return "" if side is None else str(side.ConceptCodeSequence[0].CodeValue)
