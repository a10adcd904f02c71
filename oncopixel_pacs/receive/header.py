"""Reads the header of a Part 10 file: never the pixels, never more than its share of memory."""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian
from pynetdicom.dsutils import split_dataset

from oncopixel_pacs.errors import CannotUnderstand
from oncopixel_pacs.imaging.raw_values import plain_text
from oncopixel_pacs.receive.spool import Received

#: Pixel Data and its float and double forms (7FE0,0008-0010).
PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
UNDEFINED_LENGTH = 0xFFFFFFFF
MAX_HEADER_BYTES = 64 << 20

#: PS3.5 9.1. Zeros that lead a component are against it but stored all the same: such UIDs
#: exist in the field, and nothing here depends on the difference.
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")

#: What pydicom raises on data sets that are not DICOM, or not any more.
PARSE_ERRORS: tuple[type[Exception], ...] = (
    AssertionError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the pixels.

    Attributes
    ----------
    dataset
        Every element before Pixel Data, with the file meta information.
    offset
        Position of the first byte of the data set in the file.
    has_pixel_data
        Whether Pixel Data follows; its length is not checked.
    """

    dataset: Dataset
    transfer_syntax_uid: str
    offset: int
    has_pixel_data: bool

    def uid(self, keyword: str) -> str:
        """Return a UID of the header.

        Raises
        ------
        CannotUnderstand
            When it is missing or not a UID.
        """
        try:
            plain = plain_text(self.dataset, keyword)
            value = str(self.dataset.get(keyword) or "") if plain is None else plain
        except PARSE_ERRORS as exc:
            raise CannotUnderstand(f"{keyword} cannot be read; check it at the sender.") from exc
        if not value:
            raise CannotUnderstand(f"{keyword} is missing; the sender must fill it in.")
        if not is_uid(value):
            raise CannotUnderstand(f"{keyword} is not a UID (PS3.5 9.1); correct it at the sender.")
        return value


def is_uid(value: str) -> bool:
    """Whether a text is a UID of at most 64 characters."""
    return len(value) <= 64 and _UID.fullmatch(value) is not None


def read_header(path: Path) -> Header:
    """Read the header of a Part 10 file.

    Raises
    ------
    CannotUnderstand
        When it is not a Part 10 file, cannot be parsed, is deflated, or ends in its header.
    OSError
        When it cannot be read.
    """
    try:
        meta, offset = split_dataset(path)
        syntax = UID(str(meta.TransferSyntaxUID))
        if syntax == DeflatedExplicitVRLittleEndian:
            raise CannotUnderstand("Deflated data sets are not taken; send it uncompressed.")
        with path.open("rb") as stream:
            stream.seek(offset)
            dataset, at_pixels = _read_until_pixels(stream, syntax, path.stat().st_size)
    except OSError as exc:
        if exc.errno is not None:
            raise
        raise _unparsable() from exc  # pydicom's own has no number
    except PARSE_ERRORS as exc:
        raise _unparsable() from exc
    dataset.file_meta = FileMetaDataset(meta)
    return Header(dataset, str(syntax), offset, at_pixels)


def read_received_header(received: Received, transfer_syntax: str) -> Header:
    """Read the header of an object that has just arrived, as a rule without the disk.

    Raises
    ------
    CannotUnderstand
        When it cannot be parsed, is deflated, or ends in its header.
    OSError
        When it cannot be read.
    """
    syntax = UID(transfer_syntax)
    if syntax != DeflatedExplicitVRLittleEndian:
        with suppress(OSError, *PARSE_ERRORS):
            dataset = _read_beginning(received.beginning, syntax)
            if dataset is not None:
                dataset.file_meta = _file_meta(transfer_syntax)
                return Header(dataset, transfer_syntax, received.offset, True)
    return read_header(received.path)


def _read_beginning(beginning: bytes, syntax: UID) -> Dataset | None:
    """Read until Pixel Data; ``None`` when it does not come: this may be half a header."""
    found = False

    def stop(tag: int, _vr: str | None, _length: int) -> bool:
        nonlocal found
        found = tag in PIXEL_TAGS
        return found

    stream = BytesIO(beginning)
    dataset = read_dataset(stream, syntax.is_implicit_VR, syntax.is_little_endian, stop_when=stop)
    return dataset if found else None


@lru_cache(maxsize=64)
def _file_meta(transfer_syntax: str) -> FileMetaDataset:
    """File Meta Information of objects in a transfer syntax, as far as it is read here."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(transfer_syntax)
    return meta


def _unparsable() -> CannotUnderstand:
    return CannotUnderstand("The data set cannot be parsed; check the object at the sender.")


def _read_until_pixels(stream: BinaryIO, syntax: UID, size: int) -> tuple[Dataset, bool]:
    begin = stream.tell()
    announced: set[int] = set()
    at_pixels = False
    last_end = begin

    def stop(tag: int, _vr: str | None, length: int) -> bool:
        nonlocal at_pixels, last_end
        if tag in PIXEL_TAGS:
            at_pixels = True
            return True
        last_end = 0 if length == UNDEFINED_LENGTH else stream.tell() + length
        end = last_end or stream.tell()
        if end > size:
            raise CannotUnderstand("The data set ends inside its header; send it again.")
        if end - begin > MAX_HEADER_BYTES:
            raise CannotUnderstand(f"The header is longer than {MAX_HEADER_BYTES >> 20} MiB.")
        announced.add(int(tag))
        return False

    dataset = read_dataset(stream, syntax.is_implicit_VR, syntax.is_little_endian, stop_when=stop)
    # The parser drops in silence a sequence of undefined length that never ends, and the
    # first bytes of an element.
    torn = not at_pixels and last_end and last_end < size
    if torn or len(announced) != len(dataset):
        raise CannotUnderstand("The data set ends inside its header; send it again.")
    return dataset, at_pixels
