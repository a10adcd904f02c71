"""Rules for key object selections, and which images one selects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydicom.dataset import Dataset

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.dataset_rules import walk
from oncopixel_pacs.report.parsed_object import ParsedItem
from oncopixel_pacs.report.report_rules import evidence_uids


def selected_uids(dataset: ParsedItem) -> set[str]:
    """SOP Instance UIDs of all that is selected, presentation states included."""
    return {
        str(part.ReferencedSOPInstanceUID)
        for item in dataset.ContentSequence
        for part in walk(item)
        if "ReferencedSOPInstanceUID" in part
    }


def rejection_problems(dataset: ParsedItem) -> Iterator[str]:
    """Check template, title, notice and evidence of a rejection note."""
    yield from _document_problems(dataset, codes.REJECTED.value, "Rejected for Quality Reasons")
    if not selected_uids(dataset):
        yield "it rejects nothing"


def key_object_problems(dataset: ParsedItem, sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check template, title, notice, evidence, and that an image is selected.

    Parameters
    ----------
    sources
        Headers of the images by SOP Instance UID.
    """
    yield from _document_problems(dataset, codes.OF_INTEREST.value, "Of Interest")
    if not selected_uids(dataset) & sources.keys():
        yield "it selects no image"


def _document_problems(dataset: ParsedItem, title: str, meaning: str) -> Iterator[str]:
    if dataset.ContentTemplateSequence[0].TemplateIdentifier != "2010":
        yield "its root template is not TID 2010"
    if dataset.ConceptNameCodeSequence[0].CodeValue != title:
        yield f"its title is not {meaning}"
    if not any(RESEARCH_NOTICE in str(item.get("TextValue")) for item in walk(dataset)):
        yield "it does not say that it is for research use only"
    for uid in sorted(selected_uids(dataset) ^ evidence_uids(dataset)):
        yield f"{uid} is either selected or evidence, not both"
    for item in dataset.ContentSequence:
        if item.ValueType in ("IMAGE", "COMPOSITE") and "ConceptNameCodeSequence" in item:
            yield "a selected object has a purpose of reference, which TID 2010 forbids"
