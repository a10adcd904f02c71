"""Routes about what readers say of findings."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from oncopixel_pacs.api.access import AskedBy
from oncopixel_pacs.api.entity_tags import TAGGED, tagged
from oncopixel_pacs.api.parts import ApiParts, Key, Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.schemas import shape
from oncopixel_pacs.api.studies import Cursor, Limit
from oncopixel_pacs.store.feedback import Feedback, Opinion

router = APIRouter(prefix="/api/v1", tags=["feedback"])

#: How far agreement is told back.
WEEKS = 26
_EXAMPLE: dict[str, Any] = {
    "tracking_uid": "2.25.113584390241904923",
    "reader": "jane",
    "opinion": "accept",
    "at": "2025-03-01T12:00:00Z",
    "job_id": "5d0c6a1f0f7e4a4f9be0d5a1",
    "study_instance_uid": "1.2.826.0.1.3680043.8.498.1",
    "model": "lesions",
    "version": "1.0",
    "probability": 0.87,
}
_WEEK: dict[str, Any] = {
    "week": "2025-02-24T00:00:00Z",
    "model": "lesions",
    "version": "1.0",
    "accepted": 41,
    "rejected": 6,
    "divided": 2,
}


class OpinionRequest(BaseModel):
    """What a reader says of a finding."""

    model_config = shape({"opinion": "accept"})

    opinion: Opinion


class FeedbackAnswer(BaseModel):
    """The word of one reader on one finding."""

    model_config = shape(_EXAMPLE)

    tracking_uid: str
    """Of the finding, as in the result objects."""
    reader: str
    """Empty where the server is open and nobody signs in."""
    opinion: Opinion
    at: datetime
    job_id: str
    study_instance_uid: str
    model: str
    """The model that called the finding, and its version."""
    version: str
    probability: float
    """As the model scored the finding."""


class StudyFeedback(BaseModel):
    """What readers said of the findings of one study, the oldest first."""

    model_config = shape({"items": [_EXAMPLE]})

    items: tuple[FeedbackAnswer, ...]


class FeedbackList(BaseModel):
    """Part of what readers said, the newest first."""

    model_config = shape({"items": [_EXAMPLE], "next_cursor": None})

    items: tuple[FeedbackAnswer, ...]
    next_cursor: str | None = Field(description="Fetches what follows; null at the end.")


class AgreementWeek(BaseModel):
    """Findings of one model version on which readers said something in one week."""

    model_config = shape(_WEEK)

    week: datetime
    """Its Monday."""
    model: str
    version: str
    accepted: int
    """Findings that everyone who said something accepted."""
    rejected: int
    """Findings that everyone who said something rejected."""
    divided: int
    """Findings on which readers differ."""

    @property
    def share(self) -> float:
        """Accepted, of those on which readers are at one; 0 without any."""
        decided = self.accepted + self.rejected
        return self.accepted / decided if decided else 0.0


class Agreement(BaseModel):
    """How far readers agree with the models, by week; the oldest first."""

    model_config = shape({"items": [_WEEK]})

    items: tuple[AgreementWeek, ...]


@router.put(
    "/jobs/{job_id}/findings/{tracking_uid}/feedback",
    summary="Accept or reject a finding",
    responses=documented(400, 404),
)
def say(
    parts: Parts, caller: AskedBy, job_id: Key, tracking_uid: Key, said: OpinionRequest
) -> FeedbackAnswer:
    """Keep what one says of a finding; it replaces what one said before. Results stay as they are.

    It is kept for the monitoring of the models, and changes no object that was sent.
    """
    return FeedbackAnswer.model_validate(
        keep(parts, caller.name, job_id, tracking_uid, said.opinion)
    )


@router.delete(
    "/jobs/{job_id}/findings/{tracking_uid}/feedback",
    summary="Withdraw what one said of a finding",
    responses=documented(404),
)
def withdraw(parts: Parts, caller: AskedBy, job_id: Key, tracking_uid: Key) -> StudyFeedback:
    """Forget what one said; again is no harm. Answers with what is left on the study."""
    job = parts.ledger.job(job_id)
    parts.feedback.withdraw(tracking_uid, caller.name)
    return _of_study(parts, job.study_instance_uid)


@router.get(
    "/studies/{study_instance_uid}/feedback",
    summary="List what readers said of a study",
    responses=tagged(documented(404)),
    dependencies=TAGGED,
)
def list_study_feedback(parts: Parts, study_instance_uid: Key) -> StudyFeedback:
    """Tell what each reader said of each finding."""
    return _of_study(parts, parts.catalogue.study(study_instance_uid).study_instance_uid)


@router.get("/feedback", summary="List what readers said", responses=documented(404))
def list_feedback(parts: Parts, limit: Limit = 50, cursor: Cursor = None) -> FeedbackList:
    """Tell what readers said of findings, the newest first; of deleted studies, too."""
    page = parts.feedback.page(limit=limit, cursor=cursor)
    return FeedbackList(
        items=tuple(map(FeedbackAnswer.model_validate, page.items)), next_cursor=page.next_cursor
    )


@router.get(
    "/monitoring/agreement",
    summary="Show how far readers agree",
    responses=tagged(documented()),
    dependencies=TAGGED,
)
def show_agreement(parts: Parts) -> Agreement:
    """Count what readers accepted and rejected, by week and model version, of half a year."""
    return Agreement(items=agreement(parts))


def keep(
    parts: ApiParts, reader: str, job_id: str, tracking_uid: str, opinion: Opinion
) -> Feedback:
    """Keep what a reader says of a finding.

    Raises
    ------
    NotFound
        When there is no such job or finding.
    """
    return parts.feedback.say(parts.ledger.job(job_id), tracking_uid, reader, opinion, parts.now())


def agreement(parts: ApiParts) -> tuple[AgreementWeek, ...]:
    """Count findings by week and model version, the oldest week first."""
    since = week_of(parts.now()) - timedelta(weeks=WEEKS - 1)
    return tuple(map(AgreementWeek.model_validate, parts.feedback.tallies(since)))


def week_of(moment: datetime) -> datetime:
    """Midnight at the beginning of the Monday of a moment's week."""
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def _of_study(parts: ApiParts, study_instance_uid: str) -> StudyFeedback:
    said = parts.feedback.of_study(study_instance_uid)
    return StudyFeedback(items=tuple(map(FeedbackAnswer.model_validate, said)))
