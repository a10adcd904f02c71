"""What tells two contents of one SOP instance apart, for a person who has to choose."""

from __future__ import annotations

import warnings
from pathlib import Path

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from oncopixel_pacs.digests import dataset_digest
from oncopixel_pacs.domain.conflicts import Difference
from oncopixel_pacs.errors import UnreadableImage
from oncopixel_pacs.imaging.frames import DAMAGED, StoredObject, read_object

_UNREADABLE: tuple[type[Exception], ...] = (*DAMAGED, UnreadableImage)
_MOST_CHARACTERS = 80


def differences(held: Path, other: Path) -> tuple[Difference, ...]:
    """Compare two Part 10 files attribute by attribute, in the order of their tags.

    Long values are cut; of sequences and of values in bytes only their size is told, and so is of
    the pixels. The transfer syntax is one of what is compared.

    Returns
    -------
    tuple of Difference
        One that is named ``(file)`` where a file cannot be read.

    Raises
    ------
    OSError
        When a file is not there.
    """
    try:
        one, two = read_object(held), read_object(other)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # their texts quote values of the header
            return (
                *_of_encodings(one, two),
                *_of_headers(one.header, two.header),
                *_of_pixels(one, two),
            )
    except _UNREADABLE as exc:
        return (Difference("(file)", None, f"cannot be read ({type(exc).__name__})"),)


def _of_encodings(one: StoredObject, two: StoredObject) -> tuple[Difference, ...]:
    first, second = one.transfer_syntax, two.transfer_syntax
    return () if first == second else (Difference("TransferSyntaxUID", first.name, second.name),)


def _of_headers(one: Dataset, two: Dataset) -> tuple[Difference, ...]:
    return tuple(
        Difference(_name(one, two, tag), _text(one, tag), _text(two, tag))
        for tag in sorted({*one.keys(), *two.keys()})
        if tag.element and one.get(tag) != two.get(tag)  # no length of a group
    )


def _of_pixels(one: StoredObject, two: StoredObject) -> tuple[Difference, ...]:
    if one.transfer_syntax != two.transfer_syntax:
        return ()  # their bytes say nothing
    first, second = _stored(one), _stored(two)
    if first == second:
        return ()
    sizes = tuple(f"{size} bytes" for size, _ in (first, second))
    if sizes[0] == sizes[1]:
        sizes = sizes[0], f"{sizes[1]}, others"
    return (Difference("PixelData", *sizes),)


def _stored(image: StoredObject) -> tuple[int, str]:
    """Size and digest of what follows the header."""
    if not image.tag:
        return 0, ""
    return image.path.stat().st_size - image.offset, dataset_digest(image.path, image.offset)


def _name(one: Dataset, two: Dataset, tag: int) -> str:
    element: DataElement = one[tag] if tag in one else two[tag]
    return element.keyword or str(element.tag)


def _text(header: Dataset, tag: int) -> str | None:
    if tag not in header:
        return None
    element = header[tag]
    if element.VR == "SQ":
        items = len(element.value)
        return f"{items} item{'' if items == 1 else 's'}"
    if isinstance(element.value, bytes):
        return f"{len(element.value)} bytes"
    text = str(element.value)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"
