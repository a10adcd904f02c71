"""What readers say of findings, kept for the monitoring of the models.

It names no patient, and stays when the study is deleted by policy: it is about the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Column, Index, text, tuple_
from sqlmodel import Field, Session, SQLModel, col, select

from oncopixel_pacs.domain import Finding, Job, ModelTask, Page
from oncopixel_pacs.errors import NotFound
from oncopixel_pacs.store.cursors import decode_cursor, encode_cursor
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.tables import UtcDateTime
from oncopixel_pacs.store.tallies import FeedbackTallyRow, add_differences, monday_of, start_of

#: Of a reader's name; a provider may give longer ones.
_MOST_CHARACTERS = 64


class Opinion(StrEnum):
    """What a reader says of a finding."""

    ACCEPT = "accept"
    REJECT = "reject"


_VERDICTS = {Opinion.ACCEPT: "accepted", Opinion.REJECT: "rejected"}
#: Kind of the advisory lock of one finding on PostgreSQL.
_LOCK = 20_250_303


class FeedbackRow(SQLModel, table=True):
    """The word of one reader on one finding; a later one replaces it."""

    __tablename__ = "feedback"
    __table_args__ = (Index("ix_feedback_at", "at", "id"),)

    id: str = Field(primary_key=True, max_length=160)
    tracking_uid: str = Field(index=True, max_length=64)
    reader: str = Field(max_length=64)
    opinion: str
    at: datetime = Field(sa_column=Column(UtcDateTime(), nullable=False))
    job_id: str
    study_instance_uid: str = Field(index=True, max_length=64)
    model: str
    version: str
    probability: float


@dataclass(frozen=True, slots=True)
class Feedback:
    """The word of one reader on one finding.

    Attributes
    ----------
    reader
        Name that it signed in with; empty where the server is open.
    model, version
        The model that called the finding.
    probability
        As the model scored the finding.
    """

    tracking_uid: str
    reader: str
    opinion: Opinion
    at: datetime
    job_id: str
    study_instance_uid: str
    model: str
    version: str
    probability: float


@dataclass(frozen=True, slots=True)
class FeedbackTally:
    """Findings of one model version in one week: accepted or rejected by all, or divided."""

    week: datetime
    model: str
    version: str
    accepted: int
    rejected: int
    divided: int


class ReaderFeedback:
    """The words of readers in the database.

    Every method that writes is one transaction, committed durably when it returns.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def say(
        self, job: Job, tracking_uid: str, reader: str, opinion: Opinion, now: datetime
    ) -> Feedback:
        """Keep what a reader says of a finding; it replaces what the same reader said before.

        Raises
        ------
        NotFound
            When the job has no such finding.
        """
        reader = reader[:_MOST_CHARACTERS]
        finding = finding_of(job, tracking_uid)
        assert job.result is not None  # noqa: S101 - it has the finding
        model = next(item for item in job.result.algorithms if item.task is ModelTask.SEGMENT)
        with self._database.write() as session, _counted(session, tracking_uid):
            row = session.get(FeedbackRow, _key(tracking_uid, reader)) or FeedbackRow(
                id=_key(tracking_uid, reader),
                tracking_uid=tracking_uid,
                reader=reader,
                study_instance_uid=job.study_instance_uid,
                model=model.name,
                version=model.version,
                probability=finding.probability,
                opinion=opinion,
                at=now,
                job_id=job.id,
            )
            row.opinion, row.at, row.job_id = opinion, now, job.id
            session.add(row)
            return _to_feedback(row)

    def withdraw(self, tracking_uid: str, reader: str) -> None:
        """Forget what a reader said of a finding; again is no harm."""
        key = _key(tracking_uid, reader[:_MOST_CHARACTERS])
        with self._database.write() as session, _counted(session, tracking_uid):
            row = session.get(FeedbackRow, key)
            if row is not None:
                session.delete(row)

    def of_study(self, study_instance_uid: str) -> tuple[Feedback, ...]:
        """List what readers said of the findings of a study, the oldest first."""
        query = (
            select(FeedbackRow)
            .where(FeedbackRow.study_instance_uid == study_instance_uid)
            .order_by(col(FeedbackRow.at), col(FeedbackRow.id))
        )
        with self._database.read() as session:
            return tuple(map(_to_feedback, session.exec(query)))

    def tallies(self, since: datetime) -> tuple[FeedbackTally, ...]:
        """Count findings by week and model version, from a week on, the oldest first."""
        query = select(FeedbackTallyRow).where(col(FeedbackTallyRow.week) >= monday_of(since))
        order = (FeedbackTallyRow.week, FeedbackTallyRow.model, FeedbackTallyRow.version)
        with self._database.read() as session:
            return tuple(
                FeedbackTally(**{**row.model_dump(), "week": start_of(row.week)})
                for row in session.exec(query.order_by(*map(col, order)))
                if row.accepted or row.rejected or row.divided
            )

    def page(self, *, limit: int = 50, cursor: str | None = None) -> Page[Feedback]:
        """List everything, the newest first.

        Raises
        ------
        NotFound
            When the cursor is not one of ours.
        """
        place = tuple_(col(FeedbackRow.at), col(FeedbackRow.id))
        newest = (col(FeedbackRow.at).desc(), col(FeedbackRow.id).desc())
        query = select(FeedbackRow).order_by(*newest).limit(limit + 1)
        if cursor is not None:
            query = query.where(place < decode_cursor(cursor))
        with self._database.read() as session:
            rows = list(session.exec(query))
            following = None
            if len(rows) > limit:
                following = encode_cursor(rows[limit - 1].at, rows[limit - 1].id)
            return Page(tuple(map(_to_feedback, rows[:limit])), following)


def finding_of(job: Job, tracking_uid: str) -> Finding:
    """Find a finding of a job by its tracking UID.

    Raises
    ------
    NotFound
        When the job has no such finding.
    """
    for _, finding in job.result.findings if job.result else ():
        if finding.tracking_uid == tracking_uid:
            return finding
    raise NotFound(f"Job {job.id} has no finding {tracking_uid}.")


@contextmanager
def _counted(session: Session, tracking_uid: str) -> Iterator[None]:
    """Keep the sums right while something changes that was said of one finding."""
    if session.get_bind().dialect.name == "postgresql":
        # Of two who speak at once, one must see what the other said.
        lock = text("SELECT pg_advisory_xact_lock(:kind, hashtext(:uid))")
        session.connection().execute(lock, {"kind": _LOCK, "uid": tracking_uid})
    before = _verdicts(session, tracking_uid)
    yield
    session.flush()
    add_differences(session, before, _verdicts(session, tracking_uid))


def _verdicts(session: Session, tracking_uid: str) -> list[tuple[str, str, str, str]]:
    """Say of each week and model version what readers are at one on."""
    rows = session.exec(select(FeedbackRow).where(FeedbackRow.tracking_uid == tracking_uid)).all()
    said: dict[tuple[str, str, str], set[str]] = {}
    for row in rows:
        said.setdefault((monday_of(row.at), row.model, row.version), set()).add(row.opinion)
    return [
        (*key, "divided" if len(words) > 1 else _VERDICTS[Opinion(min(words))])
        for key, words in said.items()
    ]


def _key(tracking_uid: str, reader: str) -> str:
    return f"{tracking_uid}\x1f{reader}"


def _to_feedback(row: FeedbackRow) -> Feedback:
    return Feedback(
        row.tracking_uid,
        row.reader,
        Opinion(row.opinion),
        row.at,
        row.job_id,
        row.study_instance_uid,
        row.model,
        row.version,
        row.probability,
    )
