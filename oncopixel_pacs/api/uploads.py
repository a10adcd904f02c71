"""Routes about uploads: images in by HTTP, and what came of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from anyio import CapacityLimiter, WouldBlock, to_thread
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse

from oncopixel_pacs.api.entity_tags import TAGGED, tagged
from oncopixel_pacs.api.idempotency import IdempotencyKey, key_of_caller
from oncopixel_pacs.api.parts import ApiParts, Key, Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.upload_form import Form, received_form
from oncopixel_pacs.api.upload_schemas import UploadAnswer, UploadStudyAnswer, upload_path
from oncopixel_pacs.domain import Job, Laterality, StudyState, View
from oncopixel_pacs.domain.uploads import (
    Description,
    FileOutcome,
    RefusalKind,
    Upload,
    UploadedFile,
    UploadedImage,
)
from oncopixel_pacs.errors import NotFound, OutOfResources, UploadRefused

router = APIRouter(prefix="/api/v1", tags=["uploads"])

_STATUS_OF = {
    RefusalKind.MALFORMED: 400,
    RefusalKind.TOO_LARGE: 413,
    RefusalKind.UNSUPPORTED: 415,
    RefusalKind.UNACCEPTABLE: 422,
    RefusalKind.NO_ROOM: 507,
}
_DESCRIBED = (
    "laterality",
    "view",
    "pixel_spacing_mm",
    "patient_id",
    "patient_name",
    "accession_number",
)
_KNOWN_FIELDS = frozenset({*_DESCRIBED, "complete"})
_LONGEST = {"patient_id": 64, "patient_name": 64, "accession_number": 16}
_VIEWS = (View.CC, View.MLO)


def _per_picture(description: str, type_: str = "string", **more: Any) -> dict[str, Any]:
    """Describe a field that is given once for all files, or once for each in their order."""
    once = {"type": type_, **more}
    return {"description": description, "oneOf": [once, {"type": "array", "items": once}]}


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                            "description": "DICOM, zip of DICOM, PNG, JPEG or TIFF.",
                        },
                        "laterality": _per_picture("Breast of a picture.", enum=["R", "L"]),
                        "view": _per_picture("View of a picture.", enum=["CC", "MLO"]),
                        "pixel_spacing_mm": _per_picture(
                            "Size of a pixel in the breast plane.", "number"
                        ),
                        "patient_id": _per_picture("Pseudonym of the patient.", maxLength=64),
                        "patient_name": _per_picture("None by default.", maxLength=64),
                        "accession_number": _per_picture("Of the order.", maxLength=16),
                        "complete": {
                            "type": "boolean",
                            "default": True,
                            "description": "false when more of the study will follow.",
                        },
                    },
                },
                "example": {
                    "file": ["l-cc.png", "l-mlo.png"],
                    "laterality": ["L", "L"],
                    "view": ["CC", "MLO"],
                    "pixel_spacing_mm": 0.1,
                    "patient_id": "P-0007",
                },
            }
        },
    }
}


@router.post(
    "/images",
    summary="Upload images to be analysed",
    status_code=202,
    response_model=UploadAnswer,
    responses=documented(400, 403, 408, 413, 415, 503, 507),
    openapi_extra=_BODY,
)
async def upload_images(
    request: Request, response: Response, idempotency_key: IdempotencyKey = ""
) -> UploadAnswer:
    """Take DICOM files, archives of them, and pictures; they are analysed without waiting.

    A picture is wrapped as Secondary Capture. What is said of it (`laterality`, `view`,
    `pixel_spacing_mm`, …) is said once for all files, or once for each in their order. Without
    breast, view and pixel size it is kept but not analysed. Uploading the same again does no work
    twice. Send `X-Requested-With` with any value, or a bearer token.
    """
    upload = await take_upload(request, idempotency_key)
    response.headers["Location"] = upload_path(upload.id)
    parts = cast(ApiParts, request.app.state.parts)
    return await to_thread.run_sync(answer_of, parts, upload)


@router.get(
    "/uploads/{upload_id}",
    summary="Show an upload",
    responses=tagged(documented(404)),
    dependencies=TAGGED,
)
def show_upload(parts: Parts, upload_id: Key) -> UploadAnswer:
    """One upload: state, scores, findings with outlines, pictures and DICOM objects."""
    return answer_of(parts, parts.uploads.upload(upload_id))


@router.get(
    "/jobs/{job_id}/objects/{sop_instance_uid}",
    summary="Fetch a result object",
    response_class=FileResponse,
    responses={
        **documented(404),
        200: {
            "description": "The object as a DICOM file (PS3.10), the bytes that are sent.",
            "content": {"application/dicom": {"schema": {"type": "string", "format": "binary"}}},
        },
    },
)
def fetch_object(parts: Parts, job_id: Key, sop_instance_uid: Key) -> FileResponse:
    """One result object of a job as a DICOM file."""
    for item in parts.ledger.job(job_id).objects:
        path = parts.files.absolute(item.path)
        if item.sop_instance_uid == sop_instance_uid and path.is_file():
            name = f"{item.kind}-{sop_instance_uid}.dcm"
            return FileResponse(path, media_type="application/dicom", filename=name)
    raise NotFound(f"Job {job_id} has no result object {sop_instance_uid}.")


async def take_upload(request: Request, key: str = "") -> Upload:
    """Receive the form of a request and take its files in.

    Raises
    ------
    HTTPException
        With one sentence, when the upload is refused.
    """
    parts = cast(ApiParts, request.app.state.parts)
    places = cast(CapacityLimiter, request.app.state.upload_places)
    try:
        places.acquire_on_behalf_of_nowait(request)
    except WouldBlock as exc:
        raise HTTPException(
            503, "Enough uploads are under way; send it again.", headers={"Retry-After": "5"}
        ) from exc
    try:
        await to_thread.run_sync(_require_room, parts)
        async with received_form(request, parts.files.incoming, parts.settings.upload) as form:
            mine = key_of_caller(request, key)
            return await to_thread.run_sync(_take, parts, form, mine)
    finally:
        places.release_on_behalf_of(request)


def answer_of(parts: ApiParts, upload: Upload) -> UploadAnswer:
    """Answer for an upload as it stands now."""
    upload = replace(upload, images=tuple(_as_it_stands(parts, item) for item in upload.images))
    return UploadAnswer.of(upload, tuple(_study(parts, upload, uid) for uid in upload.studies))


def _as_it_stands(parts: ApiParts, image: UploadedImage) -> UploadedImage:
    """Say of an image that was in conflict whether it was taken in the place of the other."""
    if not image.digest or parts.catalogue.digest_of(image.sop_instance_uid) != image.digest:
        return image
    taken = "It was taken in the place of what was held under its SOP Instance UID."
    return replace(image, outcome=FileOutcome.RECEIVED, detail=taken)


def _study(parts: ApiParts, upload: Upload, study_instance_uid: str) -> UploadStudyAnswer:
    wanted = {
        item.sop_instance_uid
        for item in upload.images
        if item.outcome.held and item.study_instance_uid == study_instance_uid
    }
    study = parts.catalogue.study(study_instance_uid)
    # Documents are in no job; once settled, what they say of images is in the newest.
    documents = wanted - {item.facts.sop_instance_uid for item in study.images}
    # So is content that was taken in the place of other; jobs of before read that one.
    taken = any(item.digest for item in upload.images if item.sop_instance_uid in wanted)
    if (documents or taken) and study.state is StudyState.RECEIVING:
        return UploadStudyAnswer.of(study, None)
    jobs = parts.ledger.jobs(study_instance_uid=study_instance_uid, limit=200).items
    # The newest revision that holds them all: a later image makes a better answer.
    job: Job | None = next(
        (job for job in jobs if wanted - documents <= set(job.sop_instance_uids)), None
    )
    return UploadStudyAnswer.of(study, job)


def _require_room(parts: ApiParts) -> None:
    try:
        parts.free_space.require()
    except OutOfResources as exc:
        raise HTTPException(507, str(exc)) from exc


def _take(parts: ApiParts, form: Form, key: str) -> Upload:
    files = [
        UploadedFile(item.name, item.path, item.size_bytes, item.sha256, description)
        for item, description in zip(form.files, _descriptions(form), strict=True)
    ]
    try:
        return parts.take_upload(files, key, _flag(form))
    except UploadRefused as exc:
        raise HTTPException(_STATUS_OF[exc.kind], str(exc)) from exc


def _descriptions(form: Form) -> list[Description]:
    """Say of each file what the fields say: once for all, or once for each in their order."""
    unknown = sorted(form.fields.keys() - _KNOWN_FIELDS)
    if unknown:
        raise HTTPException(
            422, f"There is no field {unknown[0][:40]!r}; {', '.join(sorted(_KNOWN_FIELDS))} are."
        )
    return [
        _description({name: _value(form, name, number) for name in _DESCRIBED})
        for number in range(len(form.files))
    ]


def _value(form: Form, name: str, number: int) -> str:
    values = form.fields.get(name, [])
    if len(values) not in (0, 1, len(form.files)):
        raise HTTPException(
            422, f"{name} came {len(values)} times; give it once, or once for each file."
        )
    return values[number if len(values) > 1 else 0] if values else ""


def _description(said: dict[str, str]) -> Description:
    laterality, view = said["laterality"].upper(), said["view"].upper()
    if laterality not in ("", *Laterality):
        raise HTTPException(422, "laterality is R or L.")
    if view not in ("", *_VIEWS):
        raise HTTPException(422, "view is CC or MLO; other views are not analysed.")
    for name, longest in _LONGEST.items():
        if len(said[name]) > longest or not said[name].isprintable() or "\\" in said[name]:
            raise HTTPException(
                422, f"{name} has at most {longest} printable characters and no backslash."
            )
    return Description(
        laterality=Laterality(laterality) if laterality else None,
        view=View(view) if view else None,
        pixel_spacing_mm=_spacing(said["pixel_spacing_mm"]),
        patient_id=said["patient_id"],
        patient_name=said["patient_name"],
        accession_number=said["accession_number"],
    )


def _spacing(text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.005 <= value <= 5:
        raise HTTPException(422, "pixel_spacing_mm is a number from 0.005 to 5.")
    return round(value, 6)


def _flag(form: Form) -> bool:
    values: Sequence[str] = form.fields.get("complete", ["true"])
    if len(values) != 1 or values[0].lower() not in ("true", "false"):
        raise HTTPException(422, "complete is true or false.")
    return values[0].lower() == "true"
