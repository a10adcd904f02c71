"""Routes about studies."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query
from pydantic import BeforeValidator, WithJsonSchema

from oncopixel_pacs.api.entity_tags import TAGGED, tagged
from oncopixel_pacs.api.idempotency import TAKES_KEY
from oncopixel_pacs.api.parts import ApiParts, Key, Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.study_schemas import StudyAnswer, StudyList, StudySummary
from oncopixel_pacs.domain import JobState, StudyState
from oncopixel_pacs.domain.briefs import JobBrief
from oncopixel_pacs.store.study_filter import StudyFilter

_DAY = {"type": "string", "format": "date"}
router = APIRouter(prefix="/api/v1/studies", tags=["studies"])

Limit = Annotated[int, Query(ge=1, le=200, description="How many at most.")]
Cursor = Annotated[
    str | None, Query(max_length=400, description="`next_cursor` of the list before.")
]
#: Not a number of seconds, which pydantic would read as a date, too.
Day = Annotated[date, BeforeValidator(date.fromisoformat), WithJsonSchema(_DAY)]
#: Jobs that the page of one study shows.
MOST_JOBS = 200


def study_filter(
    state: Annotated[StudyState | None, Query(description="Only this state.")] = None,
    job_state: Annotated[
        JobState | None, Query(description="Only with the job of the last revision in this state.")
    ] = None,
    patient_id: Annotated[
        str, Query(max_length=64, description="How Patient ID (0010,0020) begins.")
    ] = "",
    accession_number: Annotated[
        str, Query(max_length=16, description="How Accession Number (0008,0050) begins.")
    ] = "",
    date_from: Annotated[Day | None, Query(description="First Study Date.")] = None,
    date_to: Annotated[Day | None, Query(description="Last Study Date.")] = None,
    score_from: Annotated[float | None, Query(ge=0, le=1, description="Least score.")] = None,
    score_to: Annotated[float | None, Query(ge=0, le=1, description="Greatest score.")] = None,
) -> StudyFilter:
    """Read from the query which studies are wanted."""
    return StudyFilter(
        state=state,
        job_state=job_state,
        # PostgreSQL takes no NUL in a text, and no header here holds one.
        patient_id=patient_id.replace("\0", ""),
        accession_number=accession_number.replace("\0", ""),
        date_from=f"{date_from:%Y%m%d}" if date_from else "",
        date_to=f"{date_to:%Y%m%d}" if date_to else "",
        score_from=score_from,
        score_to=score_to,
    )


Wanted = Annotated[StudyFilter, Depends(study_filter)]


@router.get("", summary="List studies, the newest first", responses=documented(404))
def list_studies(
    parts: Parts, wanted: Wanted, limit: Limit = 50, cursor: Cursor = None
) -> StudyList:
    """Studies with what they wait for and the state of their newest job."""
    page = parts.briefs.studies(limit=limit, cursor=cursor, wanted=wanted)
    latest = parts.briefs.latest_jobs([study.study_instance_uid for study in page.items])
    return StudyList(
        items=tuple(
            StudySummary.of(study, latest.get(study.study_instance_uid)) for study in page.items
        ),
        next_cursor=page.next_cursor,
    )


@router.get(
    "/{study_instance_uid}",
    summary="Show one study with its images and jobs",
    responses=tagged(documented(404)),
    dependencies=TAGGED,
)
def show_study(parts: Parts, study_instance_uid: Key) -> StudyAnswer:
    """One study: its images as received, and the jobs of its revisions."""
    study = parts.catalogue.study(study_instance_uid)
    jobs = parts.briefs.jobs(study_instance_uid=study_instance_uid, limit=MOST_JOBS)
    return StudyAnswer.with_jobs(study, jobs.items)


@router.post(
    "/{study_instance_uid}/complete",
    summary="Analyse a study without waiting for more images",
    status_code=202,
    responses=documented(403, 404, 409, 503),
    dependencies=TAKES_KEY,
)
def complete_study(parts: Parts, study_instance_uid: Key) -> StudyAnswer:
    """Declare a study complete; it settles at once. A later image makes a new revision.

    Send `X-Requested-With` with any value, or a bearer token: no page of another site can.
    """
    complete(parts, study_instance_uid)
    return show_study(parts, study_instance_uid)


@router.post(
    "/{study_instance_uid}/read-again",
    summary="Have the models read a study again",
    status_code=202,
    responses=documented(403, 404, 409, 503),
    dependencies=TAKES_KEY,
)
def read_again(parts: Parts, study_instance_uid: Key) -> StudyAnswer:
    """Queue the last revision again, from its images on. The same answer is not sent twice.

    Send `X-Requested-With` with any value, or a bearer token: no page of another site can.
    """
    parts.read_again(ended_job(parts, study_instance_uid).id)
    return show_study(parts, study_instance_uid)


@router.post(
    "/{study_instance_uid}/send-again",
    summary="Send the results of a study again",
    status_code=202,
    responses=documented(403, 404, 409, 503),
    dependencies=TAKES_KEY,
)
def send_again(parts: Parts, study_instance_uid: Key) -> StudyAnswer:
    """Send the same bytes to every destination again, also where they were accepted.

    Send `X-Requested-With` with any value, or a bearer token: no page of another site can.
    """
    parts.send_again(ended_job(parts, study_instance_uid).id)
    return show_study(parts, study_instance_uid)


def ended_job(parts: ApiParts, study_instance_uid: str) -> JobBrief:
    """Newest job of a study, which has ended.

    Raises
    ------
    NotFound
        When there is no such study.
    HTTPException
        409 when it has no job yet, or the job is at work.
    """
    parts.catalogue.study(study_instance_uid)
    job = parts.briefs.latest_jobs([study_instance_uid]).get(study_instance_uid)
    if job is None or not job.state.final:
        raise HTTPException(409, f"Study {study_instance_uid} is still being worked on; wait.")
    return job


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
