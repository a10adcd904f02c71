"""Headers of the usual kind, read without a parser: little endian, flat, in ASCII.

A header is read while a sender waits, and a parser makes an object of each of its elements,
where nearly all say the same of every image of a unit. Here elements are stepped over; those
that are needed are compared as bytes with what a parser has read before. Whatever is unusual
is left to pydicom: sequences and values of undefined length, an odd VR or order, other
character sets in the names, a header that does not end where it should.
"""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from typing import TypeAlias

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

from oncopixel_pacs.domain import ImageFacts, StudyHeader
from oncopixel_pacs.imaging.header import SAID_BY_MANY, patient_digest
from oncopixel_pacs.imaging.raw_values import MOST_RAW_BYTES, PLAIN

_Elements: TypeAlias = dict[int, bytes]
_Said: TypeAlias = tuple[object, ...]

_EXPLICIT = struct.Struct("<HH2sH")
_IMPLICIT = struct.Struct("<HHI")
_LENGTH = struct.Struct("<I")
#: PS3.5 7.1.2: VRs with a length of 16 and of 32 bits.
_SHORT_VRS = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_16)
_LONG_VRS = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)
_UNDEFINED = 0xFFFFFFFF
_OTHERS = frozenset({str(DeflatedExplicitVRLittleEndian), str(ExplicitVRBigEndian)})
#: What comes before is the command set or the file meta information.
_FIRST_TAG = 0x00080000
_PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_UID = re.compile(rb"([0-9]+(?:\.[0-9]+)*)[ \0]*")
_MOST_UID_CHARACTERS = 64
_NUMBER = re.compile(rb" *([1-9][0-9]{0,8}) *")
#: Kinds of images that are remembered: more than the units of a clinic make in a while.
_MOST_KINDS = 256


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is no keyword of the data dictionary")
    return tag


_CLASS, _INSTANCE, _SERIES, _STUDY = (
    _tag(keyword)
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
)
_INSTANCE_NUMBER = _tag("InstanceNumber")
_SOURCES = _tag("SourceImageSequence")
_SAID_TAGS = tuple(_tag(keyword) for keyword in SAID_BY_MANY)
#: Fields of `StudyHeader` in their order.
_STUDY_TAGS = tuple(
    _tag(keyword)
    for keyword in (
        "PatientName",
        "PatientID",
        "StudyDescription",
        "AccessionNumber",
        "StudyDate",
        "StudyTime",
        "StudyID",
        "ReferringPhysicianName",
    )
)
_NAME_TAGS = frozenset({_tag("PatientName"), _tag("ReferringPhysicianName")})
_WANTED = {
    tag: dictionary_VR(tag).encode()
    for tag in (
        *(_CLASS, _INSTANCE, _SERIES, _STUDY, _INSTANCE_NUMBER, _SOURCES),
        *_SAID_TAGS,
        *_STUDY_TAGS,
    )
}


class PlainHeaders:
    """Reads headers that are like others before; used from any number of threads.

    What is kept of one names neither patient nor image.
    """

    def __init__(self) -> None:
        self._known: dict[_Said, ImageFacts] = {}

    def read(self, content: bytes, transfer_syntax: str) -> tuple[ImageFacts, StudyHeader] | None:
        """Read a header.

        Parameters
        ----------
        content
            Beginning of a data set, at least as far as Pixel Data.
        transfer_syntax
            Of the data set.

        Returns
        -------
        tuple or None
            What pydicom would read; ``None`` when it is to be asked, and `remember` to be told.
        """
        elements = scan(content, transfer_syntax)
        if elements is None:
            return None
        facts = self._known.get(_said(elements, transfer_syntax))
        if facts is None:
            return None
        try:
            study = StudyHeader(*[_text(elements, tag) for tag in _STUDY_TAGS])
            named = replace(
                facts,
                sop_class_uid=_uid(elements, _CLASS),
                sop_instance_uid=_uid(elements, _INSTANCE),
                series_instance_uid=_uid(elements, _SERIES),
                study_instance_uid=_uid(elements, _STUDY),
                instance_number="" if facts.modality == "MG" else _instance_number(elements),
                patient_digest=patient_digest(study.patient_id),
            )
            return named, study
        except _NotPlain:
            return None

    def remember(self, content: bytes, transfer_syntax: str, facts: ImageFacts) -> None:
        """Keep what pydicom read of a header, for those that say the same."""
        elements = scan(content, transfer_syntax)
        if elements is None or sum(map(len, elements.values())) > MOST_RAW_BYTES:
            return
        if len(self._known) >= _MOST_KINDS:
            self._known.clear()
        self._known[_said(elements, transfer_syntax)] = replace(
            facts,
            sop_class_uid="",
            sop_instance_uid="",
            series_instance_uid="",
            study_instance_uid="",
            instance_number="",
            patient_digest="",
        )


def scan(content: bytes, transfer_syntax: str) -> _Elements | None:
    """Find the elements that are needed, as bytes; ``None`` unless all before Pixel Data is flat.

    A sequence of defined length is flat: it is stepped over as a whole. One of the images that
    an image was made from is not: it names them.
    """
    try:
        if transfer_syntax == ImplicitVRLittleEndian:
            found = _scan_implicit(content)
        elif transfer_syntax in _OTHERS:
            return None
        else:
            found = _scan_explicit(content)
    except struct.error:  # what was received so far ends before Pixel Data
        return None
    return None if found is None or _SOURCES in found else found


def _scan_explicit(content: bytes) -> _Elements | None:
    found: _Elements = {}
    position, last = 0, _FIRST_TAG
    while True:
        group, element, vr, length = _EXPLICIT.unpack_from(content, position)
        tag = group << 16 | element
        if tag <= last:
            return None
        position += 8
        if vr in _LONG_VRS:
            (length,) = _LENGTH.unpack_from(content, position)
            position += 4
        elif vr not in _SHORT_VRS:
            return None
        if tag in _PIXEL_TAGS:
            return found
        if length == _UNDEFINED:
            return None
        if tag in _WANTED:
            if vr != _WANTED[tag]:
                return None
            found[tag] = content[position : position + length]
        last = tag
        position += length


def _scan_implicit(content: bytes) -> _Elements | None:
    found: _Elements = {}
    position, last = 0, _FIRST_TAG
    if content[4:6].isalpha():  # explicit, whatever was negotiated
        return None
    while True:
        group, element, length = _IMPLICIT.unpack_from(content, position)
        tag = group << 16 | element
        if tag <= last:
            return None
        position += 8
        if tag in _PIXEL_TAGS:
            return found
        if length == _UNDEFINED:
            return None
        if tag in _WANTED:
            found[tag] = content[position : position + length]
        last = tag
        position += length


def _said(elements: _Elements, transfer_syntax: str) -> _Said:
    return (transfer_syntax, *map(elements.get, _SAID_TAGS))


class _NotPlain(Exception):
    """A value that takes a parser."""


def _uid(elements: _Elements, tag: int) -> str:
    match = _UID.fullmatch(elements.get(tag, b""))
    if match is None or len(match[1]) > _MOST_UID_CHARACTERS:
        raise _NotPlain
    return match[1].decode()


def _instance_number(elements: _Elements) -> str:
    value = elements.get(_INSTANCE_NUMBER)
    if not value:
        return ""
    match = _NUMBER.fullmatch(value)
    if match is None:
        raise _NotPlain
    return match[1].decode()


def _text(elements: _Elements, tag: int) -> str:
    value = elements.get(tag)
    if not value:
        return ""
    # A name may be written in more than one script.
    if PLAIN.fullmatch(value) is None or (tag in _NAME_TAGS and b"=" in value):
        raise _NotPlain
    return value.decode("ascii").rstrip(" \0").strip()
