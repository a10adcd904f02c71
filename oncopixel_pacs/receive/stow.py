"""STOW-RS: images sent by HTTP (PS3.18 10.5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, HTTPException, Path, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from pydicom.dataset import Dataset
from starlette.requests import ClientDisconnect

from oncopixel_pacs.domain.least_rate import LeastRate
from oncopixel_pacs.receive.intake import Intake
from oncopixel_pacs.receive.multipart_related import (
    MULTIPART_RELATED,
    MalformedBody,
    RelatedParser,
    media_type_of,
)
from oncopixel_pacs.receive.stow_parts import (
    PartOutcome,
    StowLimits,
    StowParts,
    TooManyParts,
    UnsupportedPart,
)
from oncopixel_pacs.store.free_space import FreeSpace

log = structlog.get_logger()

#: Statuses of problems that storing may answer with.
STOW_PROBLEMS = (400, 408, 413, 415, 503)
DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
#: Bytes of a body that are parsed and written at a time.
_CHUNK_BYTES = 1 << 20
_SECONDS_TO_COME_AGAIN = "30"

Uid = Annotated[str, Path(pattern=r"^[0-9]+(\.[0-9]+)*$", max_length=64)]


@dataclass(frozen=True, slots=True)
class StowService:
    """What storing needs.

    Attributes
    ----------
    sop_classes
        Storage SOP classes that are taken.
    service_url
        Our DICOMweb root as the sender of a request knows it.
    """

    intake: Intake
    space: FreeSpace
    sop_classes: frozenset[str]
    service_url: Callable[[Request], str]
    limits: StowLimits = field(default_factory=StowLimits)


class DicomJson(JSONResponse):
    """An answer in DICOM JSON."""

    media_type = DICOM_JSON


def stow_router(service: StowService, problems: Mapping[int | str, Any]) -> APIRouter:
    """Make the routes that store.

    Parameters
    ----------
    problems
        Answers other than those of storing, as OpenAPI describes them.
    """
    router = APIRouter(prefix="/dicom-web", tags=["DICOMweb"])
    slots = asyncio.Semaphore(service.limits.requests)
    body = {"schema": {"type": "string", "format": "binary"}}
    described: dict[str, Any] = {
        "response_class": DicomJson,
        "responses": {
            200: {"description": "Every object is safe here.", "content": {DICOM_JSON: {}}},
            202: {"description": "Some objects are, others failed.", "content": {DICOM_JSON: {}}},
            **problems,
            409: {"description": "No object was taken.", "content": {DICOM_JSON: {}}},
        },
        "openapi_extra": {"requestBody": {"required": True, "content": {MULTIPART_RELATED: body}}},
    }

    @router.post("/studies", summary="Store images", **described)
    async def store(request: Request) -> Response:
        """Take images of any study, as ``multipart/related; type="application/dicom"``.

        The answer lists each object: stored ones are synced to disk and recorded.
        """
        return await _store(request, service, slots, "")

    @router.post("/studies/{study_instance_uid}", summary="Store images of a study", **described)
    async def store_in_study(request: Request, study_instance_uid: Uid) -> Response:
        """Take images of one study; those of another fail."""
        return await _store(request, service, slots, study_instance_uid)

    return router


async def _store(
    request: Request, service: StowService, slots: asyncio.Semaphore, study: str
) -> Response:
    boundary = _boundary(request)
    _require_small(request, service.limits)
    await run_in_threadpool(service.space.require)
    if slots.locked():
        raise HTTPException(
            503,
            "Too many objects are being received; send again later.",
            headers={"Retry-After": _SECONDS_TO_COME_AGAIN},
        )
    address = request.client.host if request.client else ""
    async with slots:
        parts = StowParts(
            service.intake,
            service.space,
            service.limits,
            service.sop_classes,
            study,
            f"STOW-RS {address}".strip(),
        )
        try:
            await _receive(request, boundary, parts, service.limits)
        except ClientDisconnect:
            log.warning("stow.disconnected", address=address, complete=len(parts.outcomes))
            return Response(status_code=400)  # nobody reads it
        finally:
            parts.discard()
    return _answer(parts.outcomes, service.service_url(request))


async def _receive(request: Request, boundary: bytes, parts: StowParts, limits: StowLimits) -> None:
    """Parse a body to its end; the objects before an error stay."""
    try:
        parser = RelatedParser(boundary, parts)
        async for chunk in _chunks(request, limits):
            await run_in_threadpool(parser.feed, chunk)
        parser.close()
    except MalformedBody as exc:
        raise HTTPException(400, f"The body is malformed: {exc}. {_kept(parts)}") from exc
    except UnsupportedPart as exc:
        raise HTTPException(415, f"Each part must be {DICOM}. {_kept(parts)}") from exc
    except TooManyParts as exc:
        raise HTTPException(
            413, f"A request may hold {limits.parts} objects; send the others apart. {_kept(parts)}"
        ) from exc
    except _TooLong as exc:
        raise _too_long(limits, _kept(parts)) from exc
    except TimeoutError as exc:
        raise HTTPException(
            408,
            f"Nothing, or next to nothing, came for {limits.idle_seconds:.0f} seconds. "
            f"{_kept(parts)}",
        ) from exc
    if not parts.outcomes:
        raise HTTPException(400, "The body holds no object.")


class _TooLong(Exception):
    pass


async def _chunks(request: Request, limits: StowLimits) -> AsyncIterator[bytes]:
    """Pieces of the body, large enough that handing each to a thread costs little."""
    stream = request.stream()
    rate = LeastRate(limits.idle_seconds)
    gathered = bytearray()
    total = 0
    while True:
        coming = asyncio.wait_for(anext(stream, None), limits.idle_seconds)
        chunk = await rate.piece(coming)
        total += len(chunk or b"")
        if total > limits.total_bytes:
            raise _TooLong
        gathered += chunk or b""
        if len(gathered) >= _CHUNK_BYTES or (chunk is None and gathered):
            yield bytes(gathered)
            gathered.clear()
        if chunk is None:
            return


def _boundary(request: Request) -> bytes:
    name, parameters = media_type_of(request.headers.get("content-type", ""))
    kind = parameters.get("type", DICOM.encode()).decode("latin-1").lower()
    if name != MULTIPART_RELATED or kind != DICOM:
        raise HTTPException(415, f'Send {MULTIPART_RELATED}; type="{DICOM}"; boundary=….')
    boundary = parameters.get("boundary", b"")
    if not boundary:
        raise HTTPException(400, "Content-Type names no boundary.")
    return boundary


def _require_small(request: Request, limits: StowLimits) -> None:
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > limits.total_bytes:
        raise _too_long(limits, "")


def _too_long(limits: StowLimits, kept: str) -> HTTPException:
    most = f"{limits.total_bytes >> 20} MiB"
    return HTTPException(413, f"A request may be {most} long; send less at a time. {kept}".strip())


def _kept(parts: StowParts) -> str:
    """Say in words what of an unfinished request is stored."""
    stored = sum(1 for item in parts.outcomes if not item.failure)
    return f"{stored} objects before were stored." if stored != 1 else "1 object before was stored."


def _answer(outcomes: Sequence[PartOutcome], root: str) -> Response:
    """Outcome of each object (PS3.18 10.5.3 and Table 10.5.3-1)."""
    stored = [item for item in outcomes if not item.failure]
    known = [item for item in outcomes if item.failure and item.sop_instance_uid]
    unknown = [item for item in outcomes if item.failure and not item.sop_instance_uid]
    answer = Dataset()
    studies = {item.study_instance_uid for item in stored}
    if len(studies) == 1:
        answer.RetrieveURL = f"{root}/studies/{studies.pop()}"
    if stored:
        answer.ReferencedSOPSequence = [_stored_item(item, root) for item in stored]
    if known:
        answer.FailedSOPSequence = [_failed_item(item) for item in known]
    if unknown:
        answer.OtherFailuresSequence = [_failed_item(item) for item in unknown]
    failed = len(known) + len(unknown)
    status = 200 if not failed else 202 if stored else 409
    return DicomJson(answer.to_json_dict(), status)


def _stored_item(item: PartOutcome, root: str) -> Dataset:
    found = _reference(item)
    found.RetrieveURL = (
        f"{root}/studies/{item.study_instance_uid}/series/{item.series_instance_uid}"
        f"/instances/{item.sop_instance_uid}"
    )
    return found


def _failed_item(item: PartOutcome) -> Dataset:
    found = _reference(item) if item.sop_instance_uid else Dataset()
    found.FailureReason = item.failure
    found.ErrorComment = item.comment[:64]
    return found


def _reference(item: PartOutcome) -> Dataset:
    found = Dataset()
    found.ReferencedSOPClassUID = item.sop_class_uid
    found.ReferencedSOPInstanceUID = item.sop_instance_uid
    return found
