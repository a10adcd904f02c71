"""WADO-RS: pictures of images, as a person sees them (PS3.18 10.4.1.3)."""

from __future__ import annotations

import io
import re
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import Response
from pydantic import WithJsonSchema

from oncopixel_pacs.api.dicomweb import addresses
from oncopixel_pacs.api.dicomweb.addresses import FRAMES, INSTANCE, PREFIX, SERIES, STUDY, Uid
from oncopixel_pacs.api.dicomweb.frames import OneFrame, read_frame_numbers
from oncopixel_pacs.api.dicomweb.media_types import form_of_picture
from oncopixel_pacs.api.parts import ApiParts, Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.imaging.rendered import Window, render
from oncopixel_pacs.store.search import HeldObject

JPEG, PNG = "image/jpeg", "image/png"
_THUMBNAIL = (128, 128)
_FUNCTIONS = {"LINEAR": "LINEAR", "LINEAR-EXACT": "LINEAR_EXACT", "SIGMOID": "SIGMOID"}
_NUMBER = r"[-+]?\d{1,7}(?:\.\d{1,6})?"

router = APIRouter(prefix=PREFIX, tags=["DICOMweb"])

_SIDES = {"type": "string", "pattern": r"^[1-9][0-9]{0,4},[1-9][0-9]{0,4}$"}
_WINDOWS = {
    "type": "string",
    "pattern": r"^-?[0-9]{1,5}(\.[0-9]{1,3})?,[1-9][0-9]{0,4}(,(linear|linear-exact|sigmoid))?$",
}
Viewport = Annotated[
    Annotated[str, WithJsonSchema(_SIDES)] | None,
    Query(description="`width,height` that the picture must fit in.", max_length=40),
]
WindowText = Annotated[
    Annotated[str, WithJsonSchema(_WINDOWS)] | None,
    Query(description="`centre,width,function`; linear, linear-exact, sigmoid.", max_length=60),
]
Quality = Annotated[int, Query(ge=1, le=100, description="Of a JPEG.")]
_PICTURE: dict[str, Any] = {
    "response_class": Response,
    "responses": {
        200: {"description": "The picture.", "content": {JPEG: {}, PNG: {}}},
        **documented(400, 404, 406),
    },
}


@router.get(f"{INSTANCE}/rendered", summary="Draw an image", **_PICTURE)
def draw_instance(
    request: Request,
    parts: Parts,
    study_instance_uid: Uid,
    series_instance_uid: Uid,
    sop_instance_uid: Uid,
    viewport: Viewport = None,
    window: WindowText = None,
    quality: Quality = 90,
) -> Response:
    """First frame of an image with its own or another window, as JPEG or PNG."""
    found = addresses.find(parts, study_instance_uid, series_instance_uid, sop_instance_uid)
    return _picture(request, parts, found[0], "1", _size(viewport), _window(window), quality)


@router.get(f"{FRAMES}/rendered", summary="Draw a frame", **_PICTURE)
def draw_frame(
    request: Request,
    parts: Parts,
    study_instance_uid: Uid,
    series_instance_uid: Uid,
    sop_instance_uid: Uid,
    frames: OneFrame,
    viewport: Viewport = None,
    window: WindowText = None,
    quality: Quality = 90,
) -> Response:
    """One frame of an image with its own or another window, as JPEG or PNG."""
    if "," in frames:
        raise HTTPException(406, "One frame makes a picture; ask for each of them.")
    found = addresses.find(parts, study_instance_uid, series_instance_uid, sop_instance_uid)
    return _picture(request, parts, found[0], frames, _size(viewport), _window(window), quality)


@router.get(f"{STUDY}/thumbnail", summary="Draw a study small", **_PICTURE)
def study_thumbnail(
    request: Request, parts: Parts, study_instance_uid: Uid, viewport: Viewport = None
) -> Response:
    """First image of a study, 128 pixels at the longer side when no `viewport` is given."""
    found = addresses.find(parts, study_instance_uid)
    return _thumbnail(request, parts, found, viewport)


@router.get(f"{SERIES}/thumbnail", summary="Draw a series small", **_PICTURE)
def series_thumbnail(
    request: Request,
    parts: Parts,
    study_instance_uid: Uid,
    series_instance_uid: Uid,
    viewport: Viewport = None,
) -> Response:
    """First image of a series, 128 pixels at the longer side when no `viewport` is given."""
    found = addresses.find(parts, study_instance_uid, series_instance_uid)
    return _thumbnail(request, parts, found, viewport)


@router.get(f"{INSTANCE}/thumbnail", summary="Draw an image small", **_PICTURE)
def instance_thumbnail(
    request: Request,
    parts: Parts,
    study_instance_uid: Uid,
    series_instance_uid: Uid,
    sop_instance_uid: Uid,
    viewport: Viewport = None,
) -> Response:
    """First frame of an image, 128 pixels at the longer side when no `viewport` is given."""
    found = addresses.find(parts, study_instance_uid, series_instance_uid, sop_instance_uid)
    return _thumbnail(request, parts, found, viewport)


def _thumbnail(
    request: Request, parts: ApiParts, found: tuple[HeldObject, ...], viewport: str | None
) -> Response:
    return _picture(request, parts, found[0], "1", _size(viewport) or _THUMBNAIL, None, 85)


def _picture(
    request: Request,
    parts: ApiParts,
    item: HeldObject,
    frame: str,
    size: tuple[int, int] | None,
    window: Window | None,
    quality: int,
) -> Response:
    media_type = form_of_picture(request, (JPEG, PNG))
    stored = addresses.open_object(parts, item)
    if not stored.frames:
        raise HTTPException(406, "This instance has no pixels that could be drawn.")
    (number,) = read_frame_numbers(stored, frame)
    image = render(stored, number - 1, parts.decoder, window=window, size=size)
    out = io.BytesIO()
    if media_type == JPEG:
        image.save(out, "JPEG", quality=quality)
    else:
        image.save(out, "PNG", compress_level=1)
    return Response(out.getvalue(), media_type=media_type)


def _size(viewport: str | None) -> tuple[int, int] | None:
    """Width and height of PS3.18 8.3.5.1.3; what it says of a part of the image is not done."""
    if viewport is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,4}),([1-9]\d{0,4})", viewport)
    if found is None:
        raise HTTPException(400, "viewport is width,height in pixels.")
    return int(found[1]), int(found[2])


def _window(text: str | None) -> Window | None:
    """Centre, width and function of PS3.18 8.3.5.1.4."""
    if text is None:
        return None
    found = re.fullmatch(rf"({_NUMBER}),({_NUMBER})(?:,([a-zA-Z-]+))?", text)
    function = _FUNCTIONS.get((found[3] or "linear").upper()) if found else None
    if found is None or function is None or float(found[2]) <= 0:
        raise HTTPException(400, "window is centre,width,function such as 2048,4096,linear.")
    return Window(float(found[1]), float(found[2]), function)
