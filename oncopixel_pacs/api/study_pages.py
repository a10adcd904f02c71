"""Pages about studies: the list that is searched, and one study with its pictures and results."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Annotated, TypeVar
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from oncopixel_pacs.api.access import AskedBy
from oncopixel_pacs.api.conflicts import Chosen
from oncopixel_pacs.api.destinations import destinations
from oncopixel_pacs.api.pages import Templates
from oncopixel_pacs.api.parts import ApiParts, Key, Parts
from oncopixel_pacs.api.rendering import (
    deliveries_by_object,
    destinations_of,
    seconds_between,
)
from oncopixel_pacs.api.studies import MOST_JOBS, Cursor, complete, ended_job, study_filter
from oncopixel_pacs.api.views import hung_views
from oncopixel_pacs.domain import Job, JobState, StepName, Study, StudyState
from oncopixel_pacs.store.feedback import Feedback, Opinion
from oncopixel_pacs.store.study_filter import StudyFilter

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@dataclass(frozen=True, slots=True)
class Opinions:
    """What readers say of one finding, with their names; `own` is what the one who asks said."""

    own: Opinion | None = None
    accepted: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()


Member = TypeVar("Member", bound=StrEnum)

_ROWS = 50
#: Conflicts that are compared each time that a page is shown.
_CONFLICTS = 20
_FIELDS = (
    "state",
    "job_state",
    "patient_id",
    "accession_number",
    "date_from",
    "date_to",
    "score_from",
    "score_to",
)


def asked(request: Request) -> dict[str, str]:
    """Fields of the search form that are filled in; a form sends the empty ones as well."""
    return {
        name: value for name in _FIELDS if (value := request.query_params.get(name, "").strip())
    }


def wanted_by_form(fields: Annotated[dict[str, str], Depends(asked)]) -> StudyFilter:
    """Read the search form; a field that cannot be understood is not asked."""
    return study_filter(
        state=_choice(StudyState, fields.get("state")),
        job_state=_choice(JobState, fields.get("job_state")),
        patient_id=fields.get("patient_id", "")[:64],
        accession_number=fields.get("accession_number", "")[:16],
        date_from=_date(fields.get("date_from")),
        date_to=_date(fields.get("date_to")),
        score_from=_share(fields.get("score_from")),
        score_to=_share(fields.get("score_to")),
    )


@router.get("/studies")
def show_studies(
    parts: Parts,
    pages: Templates,
    wanted: Annotated[StudyFilter, Depends(wanted_by_form)],
    fields: Annotated[dict[str, str], Depends(asked)],
    cursor: Cursor = None,
) -> HTMLResponse:
    """Studies with their newest job, as searched for."""
    page = parts.briefs.studies(limit=_ROWS, cursor=cursor, wanted=wanted)
    return pages.render(
        "studies.html",
        studies=page.items,
        latest=parts.briefs.latest_jobs([study.study_instance_uid for study in page.items]),
        next_cursor=page.next_cursor,
        cursor=cursor,
        asked=fields,
        query=urlencode(fields),
        study_states=list(StudyState),
        job_states=list(JobState),
        troubled=[item for item in destinations(parts) if item.oldest_problem],
        models_ready=parts.models_ready(),
        now=parts.now(),
    )


@router.get("/studies/{study_instance_uid}")
def show_study(
    parts: Parts, pages: Templates, caller: AskedBy, study_instance_uid: Key
) -> HTMLResponse:
    """One study: its views with findings, every step, its result objects and their deliveries."""
    study = parts.catalogue.study(study_instance_uid)
    jobs = parts.briefs.jobs(study_instance_uid=study_instance_uid, limit=MOST_JOBS).items
    job = parts.ledger.job(jobs[0].id) if jobs else None
    images = job.result.images if job and job.result else ()
    now = parts.now()
    return pages.render(
        "study.html",
        study=study,
        jobs=jobs,
        job=job,
        hung=hung_views(parts, study, jobs),
        timeline=_timeline(study, job),
        held=parts.quarantine.of_job(job.id) if job else (),
        destinations=destinations_of(job) if job else [],
        sent=deliveries_by_object(job) if job else {},
        answers={image.facts.sop_instance_uid: image for image in images},
        viewer=parts.viewer is not None,
        conflicts=parts.conflicts_of(study_instance_uid, _CONFLICTS) if study.conflicts else (),
        opinions=_opinions(parts, study_instance_uid, caller.name),
        now=now,
    )


@router.post("/studies/{study_instance_uid}/complete", response_class=RedirectResponse)
def complete_study(parts: Parts, study_instance_uid: Key) -> RedirectResponse:
    """Declare a study complete, then show it."""
    complete(parts, study_instance_uid)
    return _shown(study_instance_uid)


@router.post("/studies/{study_instance_uid}/read-again", response_class=RedirectResponse)
def read_study_again(parts: Parts, study_instance_uid: Key) -> RedirectResponse:
    """Have the models read a study again, then show it."""
    parts.read_again(ended_job(parts, study_instance_uid).id)
    return _shown(study_instance_uid)


@router.post("/studies/{study_instance_uid}/send-again", response_class=RedirectResponse)
def send_study_again(parts: Parts, study_instance_uid: Key) -> RedirectResponse:
    """Send the results of a study again, then show it."""
    parts.send_again(ended_job(parts, study_instance_uid).id)
    return _shown(study_instance_uid)


@router.post("/studies/{study_instance_uid}/conflicts/take", response_class=RedirectResponse)
def take_conflicts(parts: Parts, study_instance_uid: Key, chosen: Chosen = ()) -> RedirectResponse:
    """Put what came later in place of what is held, then show the study."""
    parts.take_conflicts(study_instance_uid, chosen)
    return _shown(study_instance_uid)


@router.post("/studies/{study_instance_uid}/conflicts/dismiss", response_class=RedirectResponse)
def dismiss_conflicts(
    parts: Parts, study_instance_uid: Key, chosen: Chosen = ()
) -> RedirectResponse:
    """Keep what is held, then show the study."""
    parts.dismiss_conflicts(study_instance_uid, chosen)
    return _shown(study_instance_uid)


def _opinions(parts: ApiParts, study_instance_uid: str, reader: str) -> dict[str, Opinions]:
    """Gather what readers say of each finding, by its tracking UID."""
    said: dict[str, list[Feedback]] = {}
    for item in parts.feedback.of_study(study_instance_uid):
        said.setdefault(item.tracking_uid, []).append(item)
    return {
        uid: Opinions(
            own=next((item.opinion for item in items if item.reader == reader), None),
            accepted=tuple(i.reader for i in items if i.opinion is Opinion.ACCEPT),
            rejected=tuple(i.reader for i in items if i.opinion is Opinion.REJECT),
        )
        for uid, items in said.items()
    }


def _shown(study_instance_uid: str) -> RedirectResponse:
    return RedirectResponse(f"/studies/{study_instance_uid}", status_code=303)


def _timeline(study: Study, job: Job | None) -> list[dict[str, object]]:
    """List what happened to the newest revision, in order; what is to come has no time."""
    done = study.state is not StudyState.RECEIVING
    entries: list[dict[str, object]] = [
        {
            "name": "receive",
            "state": "done" if done else "receiving",
            "at": study.first_received_at,
            "seconds": seconds_between(study.first_received_at, study.last_received_at),
            "attempts": None,
            "said": study.waiting_for and f"Waits for {study.waiting_for}",
            "detail": {},
        }
    ]
    steps = {step.name: step for step in job.steps} if job and done else {}
    for name in StepName:
        step = steps.get(name)
        entries.append(
            {
                "name": str(name),
                "state": str(step.state) if step else "to come",
                "at": step.started_at if step else None,
                "seconds": seconds_between(step.started_at, step.finished_at) if step else None,
                "attempts": step.attempts if step else None,
                "said": step.error if step else "",
                "detail": dict(step.detail) if step else {},
            }
        )
    return entries


def _choice(kind: type[Member], text: str | None) -> Member | None:
    try:
        return kind(text) if text else None
    except ValueError:
        return None


def _date(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        return None


def _share(text: str | None) -> float | None:
    """Percents of the form as a probability."""
    try:
        value = float(text) / 100 if text else None
    except ValueError:
        return None
    return value if value is not None and 0 <= value <= 1 else None
