"""WADO-RS: objects, metadata and bulk data (PS3.18 10.4)."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Request
from fastapi.responses import Response, StreamingResponse

from oncopixel_pacs.api.dicomweb import addresses
from oncopixel_pacs.api.dicomweb.addresses import INSTANCE, PREFIX, SERIES, STUDY, Uid
from oncopixel_pacs.api.dicomweb.json_model import attribute, metadata_json, walk
from oncopixel_pacs.api.dicomweb.media_types import (
    DICOM,
    DICOM_JSON,
    MULTIPART,
    OCTETS,
    Form,
    accepted,
    form_of_objects,
    not_in_that_syntax,
    require_json,
)
from oncopixel_pacs.api.dicomweb.multipart import Part, chunks_of, multipart_answer
from oncopixel_pacs.api.parts import ApiParts, Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.errors import NotFound, UnreadableImage
from oncopixel_pacs.imaging.frames import StoredObject
from oncopixel_pacs.imaging.transcode import write_explicit
from oncopixel_pacs.store.search import HeldObject

#: Decoded objects up to this size wait in memory, larger ones on disk.
_SPOOL_BYTES = 32 << 20

router = APIRouter(prefix=PREFIX, tags=["DICOMweb"])

_OBJECTS: dict[str, Any] = {
    "response_class": StreamingResponse,
    "responses": {
        200: {"description": "The objects.", "content": {MULTIPART: {}, DICOM: {}}},
        **documented(404, 406),
    },
}
_METADATA: dict[str, Any] = {
    "response_class": StreamingResponse,
    "responses": {
        200: {"description": "Attributes of each object.", "content": {DICOM_JSON: {}}},
        **documented(404, 406),
    },
}
_BULK: dict[str, Any] = {
    "response_class": StreamingResponse,
    "responses": {
        200: {"description": "The value.", "content": {MULTIPART: {}, OCTETS: {}}},
        **documented(404, 406),
    },
}


@router.get(STUDY, summary="Fetch the objects of a study", **_OBJECTS)
def fetch_study(request: Request, parts: Parts, study_instance_uid: Uid) -> Response:
    """Every object of a study, one after the other."""
    return _objects(request, parts, addresses.find(parts, study_instance_uid))


@router.get(SERIES, summary="Fetch the objects of a series", **_OBJECTS)
def fetch_series(
    request: Request, parts: Parts, study_instance_uid: Uid, series_instance_uid: Uid
) -> Response:
    """Every object of a series, one after the other."""
    found = addresses.find(parts, study_instance_uid, series_instance_uid)
    return _objects(request, parts, found)


@router.get(INSTANCE, summary="Fetch one object", **_OBJECTS)
def fetch_instance(
    request: Request,
    parts: Parts,
    study_instance_uid: Uid,
    series_instance_uid: Uid,
    sop_instance_uid: Uid,
) -> Response:
    """One object, in parts or bare; decoded when its transfer syntax is not accepted."""
    found = addresses.find(parts, study_instance_uid, series_instance_uid, sop_instance_uid)
    return _objects(request, parts, found, single=True)


@router.get(f"{STUDY}/metadata", summary="Show the attributes of a study", **_METADATA)
def study_metadata(request: Request, parts: Parts, study_instance_uid: Uid) -> Response:
    """Attributes of every object of a study but bulk data; images first."""
    return _metadata(request, parts, addresses.find(parts, study_instance_uid))


@router.get(f"{SERIES}/metadata", summary="Show the attributes of a series", **_METADATA)
def series_metadata(
    request: Request, parts: Parts, study_instance_uid: Uid, series_instance_uid: Uid
) -> Response:
    """Attributes of every object of a series but bulk data."""
    found = addresses.find(parts, study_instance_uid, series_instance_uid)
    return _metadata(request, parts, found)


@router.get(f"{INSTANCE}/metadata", summary="Show the attributes of one object", **_METADATA)
def instance_metadata(
    request: Request,
    parts: Parts,
    study_instance_uid: Uid,
    series_instance_uid: Uid,
    sop_instance_uid: Uid,
) -> Response:
    """Attributes of one object but bulk data."""
    found = addresses.find(parts, study_instance_uid, series_instance_uid, sop_instance_uid)
    return _metadata(request, parts, found)


@router.get(f"{INSTANCE}/bulkdata/{{element}}", summary="Fetch one large value", **_BULK)
def bulk_data(
    request: Request,
    parts: Parts,
    study_instance_uid: Uid,
    series_instance_uid: Uid,
    sop_instance_uid: Uid,
    element: Annotated[str, Path(pattern=r"^[0-9A-F]{8}$")],
) -> Response:
    """Value of a binary element at the top of the data set, as ``BulkDataURI`` names it."""
    found = addresses.find(parts, study_instance_uid, series_instance_uid, sop_instance_uid)
    return _bulk(request, parts, found[0], element)


@router.get(
    f"{INSTANCE}/bulkdata/{{element}}/{{below:path}}",
    summary="Fetch one large value inside a sequence",
    **_BULK,
)
def nested_bulk_data(
    request: Request,
    parts: Parts,
    study_instance_uid: Uid,
    series_instance_uid: Uid,
    sop_instance_uid: Uid,
    element: Annotated[str, Path(pattern=r"^[0-9A-F]{8}$")],
    below: Annotated[str, Path(pattern=r"^[0-9]+/[0-9A-F/]+$", max_length=400)],
) -> Response:
    """Value of a binary element inside a sequence, as ``BulkDataURI`` names it."""
    found = addresses.find(parts, study_instance_uid, series_instance_uid, sop_instance_uid)
    return _bulk(request, parts, found[0], f"{element}/{below}")


def _objects(
    request: Request, parts: ApiParts, held: tuple[HeldObject, ...], *, single: bool = False
) -> Response:
    form = form_of_objects(request, single=single)
    root = addresses.service_url(request)
    stored = [addresses.open_object(parts, item) for item in held]
    for item in stored:
        if not (form.takes(str(item.transfer_syntax)) or form.takes_explicit):
            raise not_in_that_syntax(str(item.transfer_syntax))
    if not form.multipart:
        syntax, content = _content(parts, stored[0], form)
        return StreamingResponse(content, media_type=f"{DICOM}; transfer-syntax={syntax}")

    def all_parts() -> Iterator[Part]:
        for item, each in zip(held, stored, strict=True):
            syntax, content = _content(parts, each, form)
            location = addresses.object_url(root, item)
            yield Part(f"{DICOM}; transfer-syntax={syntax}", location, content)

    if single:
        # What cannot be decoded must be found before the answer begins.
        ready = list(all_parts())
        return multipart_answer(ready, DICOM)
    return multipart_answer(all_parts(), DICOM)


def _content(parts: ApiParts, stored: StoredObject, form: Form) -> tuple[str, Iterator[bytes]]:
    """Transfer syntax and bytes of an object in a form that the client reads."""
    if form.takes(str(stored.transfer_syntax)):
        return str(stored.transfer_syntax), chunks_of(stored.path)
    spool = tempfile.SpooledTemporaryFile(_SPOOL_BYTES)  # noqa: SIM115  closed when it is sent
    try:
        write_explicit(stored, spool, parts.decoder)
    except BaseException:
        spool.close()
        raise
    spool.seek(0)

    def chunks() -> Iterator[bytes]:
        with spool:
            while chunk := spool.read(1 << 20):
                yield chunk

    return str(stored.transfer_syntax), chunks()


def _metadata(request: Request, parts: ApiParts, held: tuple[HeldObject, ...]) -> Response:
    require_json(request)
    root = addresses.service_url(request)

    def body() -> Iterator[bytes]:
        yield b"["
        for number, item in enumerate(held):
            yield b"," if number else b""
            yield json.dumps(_attributes(parts, root, item), allow_nan=False).encode()
        yield b"]"

    return StreamingResponse(body(), media_type=DICOM_JSON)


def _attributes(parts: ApiParts, root: str, item: HeldObject) -> dict[str, Any]:
    address = addresses.object_url(root, item)
    try:
        found = metadata_json(addresses.open_object(parts, item), address)
    except (NotFound, UnreadableImage):
        found = {}  # its file is damaged or gone: what we know of it is all there is
    return {
        **found,
        **attribute("SOPClassUID", item.sop_class_uid),
        **attribute("SOPInstanceUID", item.sop_instance_uid),
        **attribute("StudyInstanceUID", item.study_instance_uid),
        **attribute("SeriesInstanceUID", item.series_instance_uid),
        **attribute("Modality", item.modality),
    }


def _bulk(request: Request, parts: ApiParts, item: HeldObject, path: str) -> Response:
    stored = addresses.open_object(parts, item)
    location = f"{addresses.object_url(addresses.service_url(request), item)}/bulkdata/{path}"
    chunks = list(_values(stored, path))
    for wanted in accepted(request):
        if wanted.covers_part(OCTETS):
            parted = [Part(OCTETS, location, chunk) for chunk in chunks]
            return multipart_answer(parted, OCTETS)
        if wanted.covers(OCTETS) and len(chunks) == 1:
            return StreamingResponse(chunks[0], media_type=OCTETS)
    raise HTTPException(406, f'Accept multipart/related; type="{OCTETS}".')


def _values(stored: StoredObject, path: str) -> Iterator[Iterator[bytes]]:
    """Give a value in chunks; compressed pixels are given frame by frame."""
    if stored.tag and path == f"{stored.tag:08X}":
        if stored.transfer_syntax.is_encapsulated:
            yield from (iter((stored.frame(index),)) for index in range(stored.frames))
        else:
            yield chunks_of(stored.path, stored.offset, stored.length)
        return
    value = next((item.value for found, item in walk(stored.header) if found == path), None)
    if value is None:
        raise NotFound("There is no such value in this instance.")
    yield iter((value,))
