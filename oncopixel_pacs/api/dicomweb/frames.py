"""WADO-RS: frames, as stored or decoded (PS3.18 10.4.1.6)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response
from pydantic import WithJsonSchema
from pydicom.uid import ExplicitVRLittleEndian

from oncopixel_pacs.api.dicomweb import addresses
from oncopixel_pacs.api.dicomweb.addresses import FRAMES, PREFIX, Uid
from oncopixel_pacs.api.dicomweb.media_types import (
    COMPRESSED,
    MULTIPART,
    OCTETS,
    Form,
    form_of_frames,
    not_in_that_syntax,
)
from oncopixel_pacs.api.dicomweb.multipart import Part, multipart_answer
from oncopixel_pacs.api.parts import Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.errors import NotFound
from oncopixel_pacs.imaging.frames import StoredObject

router = APIRouter(prefix=PREFIX, tags=["DICOMweb"])

Frames = Annotated[str, Path(pattern=r"^[1-9][0-9]{0,8}(,[1-9][0-9]{0,8})*$", max_length=20_000)]
#: The same for who can take one; a list of them is answered 406.
OneFrame = Annotated[Frames, WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]{0,8}$"})]
_KINDS = (MULTIPART, OCTETS, *dict.fromkeys(COMPRESSED.values()))
_FRAMES: dict[str, Any] = {
    "response_class": Response,
    "responses": {
        200: {"description": "The frames.", "content": {kind: {} for kind in _KINDS}},
        **documented(404, 406),
    },
}


@router.get(FRAMES, summary="Fetch frames", **_FRAMES)
def fetch_frames(
    request: Request,
    parts: Parts,
    study_instance_uid: Uid,
    series_instance_uid: Uid,
    sop_instance_uid: Uid,
    frames: Frames,
) -> Response:
    """Frames by number, counted from 1 and separated by commas.

    Decoded to Explicit VR Little Endian, or as stored where the client accepts that transfer
    syntax (``*`` accepts any). Single-bit frames each begin at a byte.
    """
    found = addresses.find(parts, study_instance_uid, series_instance_uid, sop_instance_uid)
    stored = addresses.open_object(parts, found[0])
    numbers = read_frame_numbers(stored, frames)
    syntax = str(stored.transfer_syntax)
    form = form_of_frames(request, syntax, single=len(numbers) == 1)
    as_stored = _as_stored(stored, form)
    if not as_stored and not form.takes_explicit:
        raise not_in_that_syntax(syntax)
    if as_stored:
        media_type = f"{form.part}; transfer-syntax={syntax}"
    else:
        media_type = f"{form.part}; transfer-syntax={ExplicitVRLittleEndian}"

    def read(number: int) -> bytes:
        if as_stored:
            return stored.frame(number - 1)
        return stored.explicit_frame(number - 1, parts.decoder)

    # What cannot be decoded is mostly found at the first frame, before the answer begins.
    first = read(numbers[0])
    if not form.multipart:
        return Response(first, media_type=media_type)
    address = f"{addresses.object_url(addresses.service_url(request), found[0])}/frames"

    def all_parts() -> Iterator[Part]:
        yield Part(media_type, f"{address}/{numbers[0]}", (first,))
        for number in numbers[1:]:
            yield Part(media_type, f"{address}/{number}", (read(number),))

    return multipart_answer(all_parts(), form.part)


def read_frame_numbers(stored: StoredObject, frames: str) -> list[int]:
    """Frame numbers of a path.

    Raises
    ------
    NotFound
        When the object has no such frame.
    """
    numbers = [int(number) for number in frames.split(",")]
    if max(numbers) > stored.frames:
        raise NotFound(f"This instance has {stored.frames} frames.")
    return numbers


def _as_stored(stored: StoredObject, form: Form) -> bool:
    """Whether frames are given without decoding; uncompressed ones only if there is no choice."""
    syntax = stored.transfer_syntax
    return form.takes(str(syntax)) and (syntax.is_encapsulated or not form.takes_explicit)
