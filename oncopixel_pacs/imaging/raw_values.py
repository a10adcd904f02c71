"""Values of elements that pydicom has read and not parsed yet, where no parser is needed.

A header is read while a sender waits, and most of what is read is a word or a UID in ASCII. To
parse an element costs more than ten times as much as to look at its bytes. Whatever is not
plain here is left to pydicom: other character sets, several values, an odd VR.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, TypeAlias

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

_TEXTS = frozenset({"AE", "AS", "CS", "DA", "LO", "LT", "SH", "ST", "TM", "UI", "UT"})
#: ASCII that is the same in every character set of DICOM: no backslash, which separates values
#: or is a currency sign, no tilde, and no escape sequence.
PLAIN = re.compile(rb"[ -\[\]-}]*[ \0]*")
#: Longer ones are rarely the same in two images, and would take memory.
MOST_RAW_BYTES = 8192
_DIGITS = re.compile(rb" *[0-9]{1,9}[ \0]*")

RawElements: TypeAlias = tuple[object, ...]


def raw_elements(dataset: Dataset, keywords: tuple[str, ...]) -> RawElements | None:
    """Elements as their bytes: what is equal for two data sets reads equal in both.

    Returns
    -------
    tuple or None
        ``None`` when one of them was parsed already, or they are long.
    """
    held: list[object] = []
    size = 0
    for tag in _tags(keywords):
        element: Any = dataset.get_item(tag, keep_deferred=True)
        if element is None:
            held.append(None)
            continue
        if not isinstance(element, RawDataElement) or not isinstance(element.value, bytes):
            return None
        size += len(element.value)
        held += (element.VR, element.value, element.is_implicit_VR, element.is_little_endian)
    return tuple(held) if size <= MOST_RAW_BYTES else None


def is_absent(dataset: Dataset, keyword: str) -> bool:
    """Whether a data set lacks an element."""
    element: Any = dataset.get_item(_tag_and_vr(keyword)[0], keep_deferred=True)
    return element is None


def plain_text(dataset: Dataset, keyword: str) -> str | None:
    """Text of one value in plain ASCII, without the padding behind it.

    Returns
    -------
    str or None
        Empty when the element is absent or empty; ``None`` when it takes a parser to tell.
    """
    tag, vr = _tag_and_vr(keyword)
    element: Any = dataset.get_item(tag, keep_deferred=True)
    if element is None:
        return ""
    value = _raw_value(element, vr)
    if value is None or vr not in _TEXTS or PLAIN.fullmatch(value) is None:
        return None
    return value.decode("ascii").rstrip(" \0")


def plain_texts(dataset: Dataset, keyword: str) -> list[str] | None:
    """Values in plain ASCII, without padding; ``None`` when it takes a parser to tell."""
    tag, vr = _tag_and_vr(keyword)
    element: Any = dataset.get_item(tag, keep_deferred=True)
    value = _raw_value(element, vr)
    if not value or vr not in ("CS", "DS") or not all(map(PLAIN.fullmatch, value.split(b"\\"))):
        return None
    return [text.rstrip(" \0") for text in value.decode("ascii").split("\\")]


def plain_number(dataset: Dataset, keyword: str) -> int | None:
    """Value of one US or IS that is not negative; ``None`` when it takes a parser to tell."""
    tag, vr = _tag_and_vr(keyword)
    element: Any = dataset.get_item(tag, keep_deferred=True)
    value = _raw_value(element, vr)
    if value is None or not isinstance(element, RawDataElement):
        return None
    if vr == "US" and len(value) == 2:
        return int.from_bytes(value, "little" if element.is_little_endian else "big")
    if vr == "IS" and _DIGITS.fullmatch(value):
        return int(value.strip(b" \0"))
    return None


def _raw_value(element: object, vr: str) -> bytes | None:
    if not isinstance(element, RawDataElement) or element.VR not in (vr, None):
        return None
    return element.value if isinstance(element.value, bytes) else None


@cache
def _tags(keywords: tuple[str, ...]) -> tuple[BaseTag, ...]:
    return tuple(_tag_and_vr(keyword)[0] for keyword in keywords)


@cache
def _tag_and_vr(keyword: str) -> tuple[BaseTag, str]:
    number = tag_for_keyword(keyword)
    if number is None:
        raise ValueError(f"{keyword} is no keyword of the data dictionary")
    return Tag(number), dictionary_VR(number)
