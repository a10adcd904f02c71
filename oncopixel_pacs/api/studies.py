"""Routes about studies."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query

from oncopixel_pacs.api.parts import ApiParts, Key, Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.study_schemas import StudyAnswer, StudyList, StudySummary
from oncopixel_pacs.domain import StudyState

router = APIRouter(prefix="/api/v1/studies", tags=["studies"])

Limit = Annotated[int, Query(ge=1, le=200, description="How many at most.")]
Cursor = Annotated[
    str | None, Query(max_length=400, description="`next_cursor` of the list before.")
]
#: Jobs that the page of one study shows.
MOST_JOBS = 200


@router.get("", summary="List studies, the newest first", responses=documented(404))
def list_studies(
    parts: Parts,
    limit: Limit = 50,
    cursor: Cursor = None,
    state: Annotated[StudyState | None, Query(description="Only this state.")] = None,
) -> StudyList:
    """Studies with what they wait for and the state of their newest job."""
    page = parts.catalogue.studies(limit=limit, cursor=cursor, state=state)
    latest = parts.ledger.latest_jobs([study.study_instance_uid for study in page.items])
    return StudyList(
        items=tuple(
            StudySummary.of(study, latest.get(study.study_instance_uid)) for study in page.items
        ),
        next_cursor=page.next_cursor,
    )


@router.get(
    "/{study_instance_uid}",
    summary="Show one study with its images and jobs",
    responses=documented(404),
)
def show_study(parts: Parts, study_instance_uid: Key) -> StudyAnswer:
    """One study: its images as received, and the jobs of its revisions."""
    study = parts.catalogue.study(study_instance_uid)
    jobs = parts.ledger.jobs(study_instance_uid=study_instance_uid, limit=MOST_JOBS)
    return StudyAnswer.with_jobs(study, jobs.items)


@router.post(
    "/{study_instance_uid}/complete",
    summary="Analyse a study without waiting for more images",
    status_code=202,
    responses=documented(403, 404, 409, 503),
)
def complete_study(parts: Parts, study_instance_uid: Key) -> StudyAnswer:
    """Declare a study complete; it settles at once. A later image makes a new revision.

    Send `X-Requested-With` with any value, or a bearer token: no page of another site can.
    """
    complete(parts, study_instance_uid)
    return show_study(parts, study_instance_uid)


def complete(parts: ApiParts, study_instance_uid: str) -> None:
    """Declare a study complete.

    Raises
    ------
    NotFound
        When nothing of it was received.
    HTTPException
        409 when it is settled already.
    """
    if not parts.catalogue.mark_complete(study_instance_uid, parts.now()):
        raise HTTPException(
            409, f"Study {study_instance_uid} is settled already; it waits for nothing."
        )
