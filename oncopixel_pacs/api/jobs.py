"""Routes about jobs."""

from __future__ import annotations

from typing import Annotated, Any, cast

from anyio import to_thread
from fastapi import APIRouter, HTTPException, Query, Request, Response

from oncopixel_pacs.api.entity_tags import TAGGED, tagged
from oncopixel_pacs.api.idempotency import TAKES_KEY
from oncopixel_pacs.api.overlays import OverlayShelf, analysed_image, tag_of
from oncopixel_pacs.api.parts import ApiParts, Key, Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.rendering import RETRYABLE
from oncopixel_pacs.api.schemas import JobAnswer, JobList, JobSummary
from oncopixel_pacs.api.studies import Cursor, Limit
from oncopixel_pacs.domain import Job, JobState

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])

States = Annotated[
    list[JobState] | None, Query(description="Only these states; may be given repeatedly.")
]
_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The view with its findings outlined and the research notice burnt in.",
        "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
    },
    304: {"description": "The picture has not changed since the one with this ETag."},
}


@router.get("", summary="List jobs, the newest first", responses=documented(404))
def list_jobs(
    parts: Parts,
    limit: Limit = 50,
    cursor: Cursor = None,
    state: States = None,
    study_instance_uid: Annotated[
        str | None, Query(max_length=64, description="Only jobs of this study.")
    ] = None,
) -> JobList:
    """Jobs with their state, what they wait for and what went wrong."""
    page = parts.briefs.jobs(
        limit=limit, cursor=cursor, study_instance_uid=study_instance_uid, states=state or ()
    )
    return JobList(
        items=tuple(JobSummary.line(job) for job in page.items), next_cursor=page.next_cursor
    )


@router.get(
    "/{job_id}", summary="Show one job", responses=tagged(documented(404)), dependencies=TAGGED
)
def show_job(parts: Parts, job_id: Key) -> JobAnswer:
    """One job: steps with times and attempts, findings, result objects and deliveries."""
    return JobAnswer.of(parts.ledger.job(job_id))


@router.post(
    "/{job_id}/retry",
    summary="Queue a job again that ended without success",
    status_code=202,
    responses=documented(403, 404, 409, 503),
    dependencies=TAKES_KEY,
)
def retry_job(parts: Parts, job_id: Key) -> JobAnswer:
    """Queue a job again; results that exist are sent, not computed again.

    Send `X-Requested-With` with any value, or a bearer token: no page of another site can.
    """
    return JobAnswer.of(retry(parts, job_id))


@router.post(
    "/{job_id}/cancel",
    summary="Give up a job that failed",
    responses=documented(403, 404, 409, 503),
    dependencies=TAKES_KEY,
)
def cancel_job(parts: Parts, job_id: Key) -> JobAnswer:
    """Have nobody wait for a failed job any more: no alarm, and retention may delete its study.

    A retry takes it back. Send `X-Requested-With` as for a retry.
    """
    return JobAnswer.of(parts.cancel(job_id))


@router.get(
    "/{job_id}/images/{sop_instance_uid}/overlay.png",
    summary="Picture of an analysed image with its findings",
    response_class=Response,
    responses={**documented(404), **_PICTURE},
)
async def show_overlay(request: Request, job_id: Key, sop_instance_uid: Key) -> Response:
    """Draw one view in presentation grey with its findings outlined, 1024 pixels high."""
    parts = cast(ApiParts, request.app.state.parts)
    shelf = cast(OverlayShelf, request.app.state.overlays)
    job, image = await to_thread.run_sync(analysed_image, parts, job_id, sop_instance_uid)
    tag = tag_of(job, image)
    # A browser may keep the picture for itself, and asks each time whether it still holds.
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    picture = await shelf.picture(tag, job, image)
    return Response(picture, media_type="image/png", headers=headers)


def retry(parts: ApiParts, job_id: str) -> Job:
    """Queue a job again.

    Raises
    ------
    NotFound
        When there is no such job.
    HTTPException
        409 when the job has not ended, or ended well.
    """
    job = parts.ledger.job(job_id)
    if job.state not in RETRYABLE:
        raise HTTPException(
            409, f"Job {job_id} is {job.state}; only a job that ended without success is retried."
        )
    return parts.retry(job_id)
