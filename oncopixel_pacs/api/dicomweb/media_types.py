"""What a client accepts (RFC 9110 12.5.1, PS3.18 8.7), and which of our answers fits."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from fastapi import HTTPException, Request
from pydicom.uid import UID, ExplicitVRLittleEndian

DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
OCTETS = "application/octet-stream"
MULTIPART = "multipart/related"
ANY_SYNTAX = "*"

#: Media type of a frame as it is stored, by transfer syntax (PS3.18 Table 8.7.3-5).
COMPRESSED: dict[str, str] = {
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.4.201": "image/jphc",
    "1.2.840.10008.1.2.4.202": "image/jphc",
    "1.2.840.10008.1.2.4.203": "image/jphc",
    "1.2.840.10008.1.2.5": "image/dicom-rle",
}
_PART = re.compile(r'(?:[^,"]|"[^"]*")+')
_PARAMETER = re.compile(r';\s*([^\s=;]+)\s*=\s*("[^"]*"|[^;]*)')


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One range of an Accept header.

    Attributes
    ----------
    name
        Such as ``multipart/related``, in small letters.
    part
        What the parts of a multipart answer are to be; empty when it does not say.
    transfer_syntax
        Empty when it does not say.
    """

    name: str
    part: str
    transfer_syntax: str
    quality: float

    def covers(self, name: str) -> bool:
        """Whether a media type is inside this range."""
        kind, _, _ = name.partition("/")
        return self.name in (name, f"{kind}/*", "*/*")

    def covers_part(self, name: str) -> bool:
        """Whether parts of this type may stand in a multipart answer."""
        return self.name == "*/*" or (
            self.covers(MULTIPART) and self.part in ("", "*/*", f"{name.partition('/')[0]}/*", name)
        )


@dataclass(frozen=True, slots=True)
class Form:
    """How pixels or objects are to be given: in parts or bare, and in which transfer syntaxes."""

    multipart: bool
    part: str
    transfer_syntaxes: Collection[str]

    def takes(self, transfer_syntax: str) -> bool:
        """Whether the client reads this transfer syntax."""
        return bool({ANY_SYNTAX, transfer_syntax} & set(self.transfer_syntaxes))

    @property
    def takes_explicit(self) -> bool:
        """Whether the client reads Explicit VR Little Endian, which we can turn anything into."""
        return self.takes(ExplicitVRLittleEndian)


def accepted(request: Request) -> tuple[MediaRange, ...]:
    """Ranges of the query parameter ``accept`` or of the header, the most wanted first."""
    text = request.query_params.get("accept") or ",".join(request.headers.getlist("accept"))
    ranges = [_range(part) for part in _PART.findall(text) if part.strip()]
    wanted = [item for item in ranges if item.quality > 0] if ranges else [_range("*/*")]
    return tuple(sorted(wanted, key=lambda item: -item.quality))


def require_json(request: Request) -> None:
    """Refuse with 406 when the client takes no DICOM JSON."""
    names = (DICOM_JSON, "application/json")
    if not any(item.covers(name) for item in accepted(request) for name in names):
        raise HTTPException(406, f"This is given as {DICOM_JSON} alone.")


def form_of_objects(request: Request, *, single: bool) -> Form:
    """Choose how whole objects are given; bare only where there is one of them.

    Raises
    ------
    HTTPException
        406 when nothing that we give is accepted.
    """
    ranges = accepted(request)
    for item in ranges:
        if item.covers_part(DICOM):
            return Form(True, DICOM, _syntaxes(ranges, DICOM, multipart=True))
        if single and item.covers(DICOM):
            return Form(False, DICOM, _syntaxes(ranges, DICOM, multipart=False))
    bare = " or application/dicom" if single else ""
    raise HTTPException(406, f'Accept multipart/related; type="application/dicom"{bare}.')


def form_of_frames(request: Request, stored: str, *, single: bool) -> Form:
    """Choose how frames are given: compressed as stored, or as octets.

    Raises
    ------
    HTTPException
        406 when nothing that we give is accepted.
    """
    ranges = accepted(request)
    compressed = COMPRESSED.get(stored, "")
    for item in ranges:
        asks_for_stored = item.transfer_syntax in ("", stored, ANY_SYNTAX)
        if item.covers_part(OCTETS):
            return Form(True, OCTETS, _syntaxes(ranges, OCTETS, multipart=True))
        if item.part == compressed != "" and item.covers(MULTIPART) and asks_for_stored:
            return Form(True, compressed, (stored,))
        if single and item.covers(OCTETS):
            return Form(False, OCTETS, _syntaxes(ranges, OCTETS, multipart=False))
        if single and compressed and item.name == compressed and asks_for_stored:
            return Form(False, compressed, (stored,))
    raise HTTPException(406, f'Accept multipart/related; type="{OCTETS}"; transfer-syntax=*.')


def form_of_picture(request: Request, offered: Sequence[str]) -> str:
    """Choose the media type of a rendered picture.

    Raises
    ------
    HTTPException
        406 when none that we draw is accepted.
    """
    for item in accepted(request):
        for name in offered:
            if item.covers(name):
                return name
    raise HTTPException(406, f"Pictures are given as {' or '.join(offered)}.")


def not_in_that_syntax(stored: str) -> HTTPException:
    """406 for a transfer syntax that we do not make."""
    return HTTPException(
        406,
        f"It is stored in {UID(stored).name} ({stored}) and is given so, or in Explicit VR "
        "Little Endian; accept transfer-syntax=*.",
    )


def _syntaxes(ranges: Sequence[MediaRange], part: str, *, multipart: bool) -> frozenset[str]:
    """Transfer syntaxes of every range that asks for the same form."""

    def ask(item: MediaRange) -> bool:
        return item.covers_part(part) if multipart else item.covers(part)

    # Without a word it is the default one (PS3.18 8.7.3.5.2).
    return frozenset(
        item.transfer_syntax or str(ExplicitVRLittleEndian) for item in ranges if ask(item)
    )


def _range(text: str) -> MediaRange:
    name, _, _ = text.partition(";")
    parameters = dict(_parameters(text))
    try:
        quality = float(parameters.get("q", 1))
    except ValueError:
        quality = 1.0
    return MediaRange(
        name.strip().lower(),
        parameters.get("type", "").lower(),
        parameters.get("transfer-syntax", ""),
        quality,
    )


def _parameters(text: str) -> Iterator[tuple[str, str]]:
    for name, value in _PARAMETER.findall(text):
        yield name.lower(), value.strip().strip('"').strip()
