"""Rules that hold for every result object; each rule gives the problems it finds in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from oncopixel_pacs.report import codes
from oncopixel_pacs.report.parsed_object import ParsedItem, ParsedObject
from oncopixel_pacs.report.source_header import TYPE_2

# PS3.5 9.1: no component begins with zero unless it is zero.
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
# What is copied from the source refers to things that we do not hold.
_COPIED = frozenset(
    {"ReferencedStudySequence", "RequestAttributesSequence", "PredecessorDocumentsSequence"}
)

Item = TypeVar("Item", Dataset, ParsedItem)


def decoded(found: ParsedObject) -> NDArray[Any] | None:
    """Decode the pixel data of an object; ``None`` where no decoder can."""
    try:
        return pixel_array(found.dataset)
    except (RuntimeError, ValueError, AttributeError, EOFError):  # of whichever decoder
        return None


def walk(dataset: Item, *, skip: frozenset[str] = frozenset()) -> Iterator[Item]:
    """Give the data set and every item in it, depth first, without sequences in `skip`."""
    # A generator in a generator would hand on each item once for every sequence that it is in.
    ahead = [dataset]
    while ahead:
        item = ahead.pop()
        yield item
        below = [items for keyword, items in _sequences(item) if keyword not in skip]
        ahead += reversed([nested for items in below for nested in items])


def _sequences(dataset: Dataset | ParsedItem) -> Sequence[tuple[str, Sequence[Any]]]:
    """List keyword and items of each sequence by their tags; other elements stay unparsed."""
    if isinstance(dataset, ParsedItem):
        return dataset.sequences
    # None where the file did not say it (Implicit VR).
    possible = [item.tag for item in dataset.values() if item.VR in {"SQ", None}]
    parsed = (dataset[tag] for tag in sorted(possible))
    return [(element.keyword, element.value) for element in parsed if element.VR == "SQ"]


def file_problems(dataset: ParsedObject, source: Dataset, syntax: UID) -> Iterator[str]:
    """File Meta Information, study and patient, and the notice in the series' name.

    Parameters
    ----------
    syntax
        Transfer syntax that this kind of object is written in.
    """
    meta = dataset.dataset.file_meta
    if meta.TransferSyntaxUID != syntax:
        yield f"it is not {syntax.name}"
    if (meta.MediaStorageSOPInstanceUID, meta.MediaStorageSOPClassUID) != (
        dataset.SOPInstanceUID,
        dataset.SOPClassUID,
    ):
        yield "its File Meta Information names another object"
    for keyword in ("StudyInstanceUID", *TYPE_2):
        if keyword not in dataset:
            yield f"{keyword} is missing"
        elif str(dataset.get(keyword) or "") != str(source[keyword].value or ""):
            yield f"{keyword} differs from its source"
    if "RESEARCH USE ONLY" not in str(dataset.get("SeriesDescription", "")):
        yield "Series Description does not say that it is for research use only"


def code_problems(dataset: ParsedItem) -> Iterator[str]:
    """Codes are complete and ASCII, so that every character set can carry them."""
    for item in walk(dataset, skip=_COPIED | {"ProcedureCodeSequence"}):
        if "CodeValue" not in item:
            continue
        for keyword in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning"):
            value = str(item.get(keyword, ""))
            if not value:
                yield f"code {item.CodeValue} has no {keyword}"
            elif not value.isascii():
                yield f"{keyword} of code {item.CodeValue} is not ASCII"


def uid_problems(dataset: ParsedItem, foreign: frozenset[str]) -> Iterator[str]:
    """UIDs are well formed, those of the sources aside, which are theirs to keep."""
    for item in walk(dataset, skip=_COPIED):
        for keyword, values in item.uids:
            for uid in map(str, values):
                if uid not in foreign and (len(uid) > 64 or not _UID.fullmatch(uid)):
                    yield f"{keyword} holds {uid!r}, which is no UID"


def reference_problems(dataset: ParsedItem, known: Mapping[str, str]) -> Iterator[str]:
    """Every referenced object exists, under its SOP class.

    Parameters
    ----------
    known
        SOP Class UID by SOP Instance UID of sources and results.
    """
    for item in walk(dataset, skip=_COPIED):
        if "ReferencedSOPInstanceUID" not in item:
            continue
        uid = str(item.ReferencedSOPInstanceUID)
        if uid not in known:
            yield f"it refers to {uid}, which is neither source nor result"
        elif str(item.get("ReferencedSOPClassUID", "")) != known[uid]:
            yield f"it refers to {uid} under another SOP class"


def uses_private_codes(dataset: Dataset) -> bool:
    """Whether a document names a concept by a code of our own scheme."""
    return any(item.get("CodingSchemeDesignator") == codes.PRIVATE_SCHEME for item in walk(dataset))
