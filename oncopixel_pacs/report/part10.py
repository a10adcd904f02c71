"""Result objects as Part 10 bytes: those of pydicom, in a fifth of its time.

A report has hundreds of small items, and pydicom asks of each whether it came from a file, in
which encoding and with which ambiguities. What we build came from no file. Values of the usual
kinds are encoded here; everything else, be it an element or a whole object, pydicom writes.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from pydicom import dcmwrite
from pydicom.charset import convert_encodings, encode_string
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.multival import MultiValue
from pydicom.uid import ExplicitVRLittleEndian

_CHARACTER_SET = 0x00080005
_FIRST_GROUP = 0x0008
_ITEM = b"\xfe\xff\x00\xe0"
_LONGEST_SHORT = 0xFFFF
_ASCII = "".join(map(chr, range(0x20, 0x7F)))
_NUMBERS: Mapping[str, str] = MappingProxyType(
    {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}
)
#: Of these VRs the value is text; those of the first kind are in the character set of the object.
_IN_CHARACTER_SET = frozenset({"LO", "SH", "ST", "LT", "UT", "UC"})
_PLAIN_TEXT = frozenset({"AE", "AS", "CS", "DA", "DT", "TM", "UR"})
#: VRs whose length takes four bytes, behind two that are reserved (PS3.5 7.1.2).
_LONG = frozenset({"OB", "OW", "SQ", "UT", "UC", "UR"})


class _Unusual(Exception):  # noqa: N818 - no error: pydicom writes it
    """An object that is not of the kind that is encoded here."""


def encode(dataset: Dataset, meta: FileMetaDataset) -> bytes:
    """Write a data set as a Part 10 file, byte for byte as pydicom does.

    Parameters
    ----------
    meta
        File Meta Information with the transfer syntax; pixel data is in that already.
    """
    if meta.TransferSyntaxUID == ExplicitVRLittleEndian:
        try:
            body = _dataset(dataset, None)
        except _Unusual:
            return _as_pydicom(dataset, meta)
        # Of a file that has nothing but its head.
        return _as_pydicom(Dataset(), meta) + body
    return _as_pydicom(dataset, meta)


def _as_pydicom(dataset: Dataset, meta: FileMetaDataset) -> bytes:
    buffer = io.BytesIO()
    file = FileDataset(buffer, dataset, preamble=b"\0" * 128, file_meta=meta)
    dcmwrite(buffer, file, enforce_file_format=True)
    return buffer.getvalue()


def _dataset(dataset: Dataset, character_set: Any) -> bytes:
    parts = []
    elements = sorted(dataset.items(), key=lambda pair: int(pair[0]))
    for tag, element in elements:
        if not isinstance(element, DataElement):
            raise _Unusual  # as it was read from a file
        number = int(tag)
        if number >> 16 < _FIRST_GROUP or not number & 0xFFFF:
            raise _Unusual  # neither commands nor lengths of groups belong here
        if number == _CHARACTER_SET:
            character_set = element.value
        parts.append(_element(number, element, character_set))
    return b"".join(parts)


def _element(tag: int, element: DataElement, character_set: Any) -> bytes:
    vr = str(element.VR)
    if element.is_undefined_length:
        raise _Unusual
    if vr == "SQ":
        value = _sequence(element, character_set)
    else:
        encoded = _value(vr, element.value, character_set)
        if encoded is None:
            return _by_pydicom(element, character_set)
        value = encoded
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    if vr in _LONG:
        return head + struct.pack("<HI", 0, len(value)) + value
    if len(value) > _LONGEST_SHORT:
        return _by_pydicom(element, character_set)
    return head + struct.pack("<H", len(value)) + value


def _sequence(element: DataElement, character_set: Any) -> bytes:
    parts = []
    for item in element.value:
        if getattr(item, "is_undefined_length_sequence_item", False):
            raise _Unusual
        body = _dataset(item, character_set)
        parts += [_ITEM, struct.pack("<I", len(body)), body]
    return b"".join(parts)


def _value(vr: str, value: Any, character_set: Any) -> bytes | None:
    """Encode a value of the usual kinds; ``None`` for all others."""
    if value is None:
        return b""
    if vr in _NUMBERS:
        return _numbers(_NUMBERS[vr], value)
    if vr in ("OB", "OW"):
        return value + b"\0" * (len(value) % 2) if isinstance(value, bytes) else None
    text = _text(value, _of_number if vr in ("DS", "IS") else _of_text)
    if text is None or not text.isascii():
        return None
    if vr in _IN_CHARACTER_SET and not _keeps_ascii(character_set):
        return None
    if vr == "UI":
        return _padded(text, "\0")
    usual = vr in _IN_CHARACTER_SET or vr in _PLAIN_TEXT or vr in ("DS", "IS")
    return _padded(text, " ") if usual else None


def _padded(text: str, with_this: str) -> bytes:
    return (text + with_this if len(text) % 2 else text).encode("ascii")


def _text(value: Any, write: Callable[[Any], str | None]) -> str | None:
    if not isinstance(value, MultiValue | list | tuple):
        return write(value)
    parts = [write(item) for item in value]
    return None if None in parts else "\\".join(part for part in parts if part is not None)


def _of_text(value: Any) -> str | None:
    return str(value) if isinstance(value, str) else None


def _of_number(value: Any) -> str | None:
    if isinstance(value, str) and not value:
        return ""
    written: str | None = getattr(value, "original_string", None)
    return str(value) if written is None else written


def _numbers(code: str, value: Any) -> bytes | None:
    if isinstance(value, int | float):
        return struct.pack(f"<{code}", value)
    if isinstance(value, MultiValue | list):
        return struct.pack(f"<{len(value)}{code}", *value)
    return None


def _keeps_ascii(character_set: Any) -> bool:
    """Whether ASCII is written as such in a character set."""
    key = tuple(character_set) if isinstance(character_set, MultiValue | list) else character_set
    known = _KEEPS_ASCII.get(key)
    if known is None:
        terms = list(key) if isinstance(key, tuple) else key
        encoded = encode_string(_ASCII, convert_encodings(terms or "ISO_IR 6"))
        known = _KEEPS_ASCII[key] = encoded == _ASCII.encode()
    return known


#: By Specific Character Set (0008,0005); the terms of the standard are few.
_KEEPS_ASCII: dict[Any, bool] = {}


def _by_pydicom(element: DataElement, character_set: Any) -> bytes:
    if len(str(element.VR)) != 2:
        raise _Unusual  # ambiguous: the other elements decide
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_data_element(buffer, element, character_set)
    return bytes(buffer.getvalue())
