"""Rules for measurement reports, and what a report says of its findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.dataset_rules import walk
from oncopixel_pacs.report.segmentation_rules import Marked

_EVIDENCE = ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
_HEADER = frozenset({*_EVIDENCE, "PredecessorDocumentsSequence", "ReferencedStudySequence"})


def report_problems(dataset: Dataset, sources: Mapping[str, Dataset]) -> Iterator[str]:
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
    if not _groups(dataset):
        yield "it holds no measurement group"
    listed = evidence_uids(dataset)
    for item in walk(dataset, skip=_HEADER):
        if "ReferencedSOPInstanceUID" in item:
            if str(item.ReferencedSOPInstanceUID) not in listed:
                yield f"{item.ReferencedSOPInstanceUID} is referred to, but no evidence"
            if "ReferencedFrameNumber" in item and "ReferencedSegmentNumber" in item:
                yield "a reference names both frame and segment"
        if item.get("ValueType") == "SCOORD":
            yield from _coordinate_problems(item, sources)


def evidence_uids(dataset: Dataset) -> set[str]:
    """Read the SOP Instance UIDs that a document lists as its evidence."""
    return {
        str(item.ReferencedSOPInstanceUID)
        for keyword in _EVIDENCE
        for part in dataset.get(keyword) or ()
        for item in walk(part)
        if "ReferencedSOPInstanceUID" in item
    }


def reported_findings(dataset: Dataset) -> set[Marked]:
    """Read the findings of a report: the groups that refer to a segment."""
    found = set()
    for group in _groups(dataset):
        segment = _child(group, codes.REFERENCED_SEGMENTATION_FRAME)
        source = _child(group, codes.SOURCE_FOR_SEGMENTATION)
        if segment is None or source is None:
            continue
        reference = segment.ReferencedSOPSequence[0]
        found.add(
            Marked(
                tracking_id=_value(_child(group, codes.TRACKING_IDENTIFIER), "TextValue"),
                tracking_uid=_value(_child(group, codes.TRACKING_UID), "UID"),
                number=int(reference.ReferencedFrameNumber),
                side=_side(group),
                segmentation_uid=str(reference.ReferencedSOPInstanceUID),
                source_uid=str(source.ReferencedSOPSequence[0].ReferencedSOPInstanceUID),
            )
        )
    return found


def site_problems(dataset: Dataset, sides: Mapping[str, str]) -> Iterator[str]:
    """Compare the finding site of each group with the side of its images.

    Parameters
    ----------
    sides
        Code value of the laterality of each image by its SOP Instance UID.
    """
    for group in _groups(dataset):
        stated = _side(group)
        for item in walk(group):
            uid = str(item.get("ReferencedSOPInstanceUID", ""))
            if stated and uid in sides and sides[uid] != stated:
                yield "a finding site is on another side than its image"


def _coordinate_problems(item: Dataset, sources: Mapping[str, Dataset]) -> Iterator[str]:
    reference = item.ContentSequence[0].ReferencedSOPSequence[0]
    source = sources.get(str(reference.ReferencedSOPInstanceUID))
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
    if item.GraphicType == "POLYLINE" and (len(points) < 4 or points[0] != points[-1]):
        yield "the outline of a region is not closed"


def _groups(dataset: Dataset) -> list[Dataset]:
    return [item for item in walk(dataset, skip=_HEADER) if _named(item, codes.MEASUREMENT_GROUP)]


def _named(item: Dataset, name: Code) -> bool:
    names = item.get("ConceptNameCodeSequence")
    return bool(names) and names[0].CodeValue == name.value


def _child(item: Dataset, name: Code) -> Dataset | None:
    children = item.get("ContentSequence") or ()
    return next((child for child in children if _named(child, name)), None)


def _value(item: Dataset | None, keyword: str) -> str:
    return "" if item is None else str(item.get(keyword, ""))


def _side(group: Dataset) -> str:
    site = _child(group, codes.FINDING_SITE)
    side = None if site is None else _child(site, codes.LATERALITY)
    return "" if side is None else str(side.ConceptCodeSequence[0].CodeValue)
