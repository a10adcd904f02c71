"""Pages for people: what the API says, without a script, and loading nothing from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from oncopixel_pacs.api.jobs import States, retry
from oncopixel_pacs.api.parts import Key, Parts
from oncopixel_pacs.api.rendering import (
    RETRYABLE,
    Pages,
    deliveries_by_object,
    destinations_of,
    seconds_between,
)
from oncopixel_pacs.api.schemas import overlay_path
from oncopixel_pacs.api.studies import Cursor
from oncopixel_pacs.domain import Job, JobState
from oncopixel_pacs.domain.briefs import JobBrief
from oncopixel_pacs.imaging.hanging import hanging_order

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

#: Seconds between reloads, while something moves and while nothing does.
_BUSY_SECONDS = 5
_IDLE_SECONDS = 30
_ROWS = 50


def pages_of(request: Request) -> Pages:
    """Return the templates of the application."""
    return cast(Pages, request.app.state.pages)


Templates = Annotated[Pages, Depends(pages_of)]


@router.get("/jobs")
def show_jobs(
    parts: Parts, pages: Templates, cursor: Cursor = None, state: States = None
) -> HTMLResponse:
    """Jobs, the newest first."""
    page = parts.briefs.jobs(limit=_ROWS, cursor=cursor, states=state or ())
    return pages.render(
        "jobs.html",
        jobs=page.items,
        next_cursor=page.next_cursor,
        cursor=cursor,
        states=state or [],
        every_state=list(JobState),
        refresh=_refresh(page.items, otherwise=_IDLE_SECONDS),
        now=parts.now(),
    )


@router.get("/jobs/{job_id}")
def show_job(parts: Parts, pages: Templates, job_id: Key) -> HTMLResponse:
    """One job: state, steps, findings, pictures, result objects and deliveries."""
    now = parts.now()
    job = parts.ledger.job(job_id)
    study = parts.catalogue.study(job.study_instance_uid)
    images = job.result.images if job.result else ()
    return pages.render(
        "job.html",
        job=job,
        study=study,
        held=parts.quarantine.of_job(job_id),
        shadows=parts.shadows.of_job(job_id),
        retryable=job.state in RETRYABLE,
        seconds=seconds_between(job.created_at, job.finished_at),
        step_seconds={
            step.name: seconds_between(step.started_at, step.finished_at or now)
            for step in job.steps
        },
        destinations=destinations_of(job),
        sent=deliveries_by_object(job),
        images=sorted(images, key=lambda image: hanging_order(image.facts)),
        overlays={
            image.facts.sop_instance_uid: overlay_path(job.id, image.facts.sop_instance_uid)
            for image in images
        },
        refresh=_refresh([job]),
        now=now,
    )


@router.post("/jobs/{job_id}/retry", response_class=RedirectResponse)
def retry_job(parts: Parts, job_id: Key) -> RedirectResponse:
    """Queue a job again, then show it."""
    job = retry(parts, job_id)
    return RedirectResponse(f"/jobs/{job.id}", status_code=303)


@router.post("/jobs/{job_id}/cancel", response_class=RedirectResponse)
def cancel_job(parts: Parts, job_id: Key) -> RedirectResponse:
    """Give a failed job up, then show it."""
    job = parts.cancel(job_id)
    return RedirectResponse(f"/jobs/{job.id}", status_code=303)


@router.get("/docs")
def show_docs(request: Request, pages: Templates) -> HTMLResponse:
    """Read the OpenAPI description aloud, without a script from elsewhere."""
    description = request.app.openapi()
    return pages.render("docs.html", info=description["info"], routes=_routes(description))


def _refresh(jobs: Iterable[Job | JobBrief], otherwise: int | None = None) -> int | None:
    """Seconds until the page loads itself again; `otherwise` when every job has ended."""
    return otherwise if all(job.state.final for job in jobs) else _BUSY_SECONDS


def _routes(description: dict[str, Any]) -> list[dict[str, Any]]:
    """Operations of an OpenAPI description, flat, with their example as text."""
    shapes = description["components"]["schemas"]
    return [
        {
            "method": method.upper(),
            "path": path,
            "summary": operation["summary"],
            "description": operation.get("description", ""),
            "parameters": operation.get("parameters", []),
            "answers": {
                status: answer["description"] for status, answer in operation["responses"].items()
            },
            "example": _example(operation, shapes),
        }
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
    ]


def _example(operation: dict[str, Any], shapes: dict[str, Any]) -> str:
    good = next(answer for status, answer in operation["responses"].items() if status[0] == "2")
    schema = good["content"].get("application/json", {}).get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2]
    return json.dumps(shapes[name]["examples"][0], indent=2) if name else ""
