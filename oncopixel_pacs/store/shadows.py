"""What shadow models said of the studies, beside what the active models said; sent nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import JSON, Column, Index, and_, exists, or_
from sqlmodel import Field, Session, SQLModel, col, select
from sqlmodel.sql.expression import SelectOfScalar

from oncopixel_pacs.domain import StudyResult
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.tables import JobRow, UtcDateTime
from oncopixel_pacs.store.tallies import ShadowTallyRow, add, day_of

_RESULT = TypeAdapter(StudyResult)
#: State of a row about a study that the very model read as the active one: nothing to compare.
_PASSED_OVER = "passed-over"
_VOTES = {
    (True, True): "both",
    (True, False): "only_shadow",
    (False, True): "only_active",
    (False, False): "neither",
}


class ShadowState(StrEnum):
    """Whether a shadow model has read a study."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class ShadowRow(SQLModel, table=True):
    """What one shadow model said of one job's images; `model_digest` tells its versions apart.

    Until `claimed_until` someone is at it; then another may take it up.
    """

    __tablename__ = "shadow_result"
    __table_args__ = (Index("ix_shadow_result_read", "state", "read_at"),)

    job_id: str = Field(primary_key=True, foreign_key="job.id")
    model_digest: str = Field(primary_key=True, max_length=64)
    model: str
    version: str
    task: str
    state: str
    attempts: int = 0
    claimed_until: datetime = Field(sa_column=Column(UtcDateTime(), nullable=False))
    read_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime(), nullable=True))
    score: float | None = None
    active_score: float | None = None
    findings: int = 0
    active_findings: int = 0
    called: bool | None = None
    active_called: bool | None = None
    error: str = ""
    result: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON, nullable=True))


@dataclass(frozen=True, slots=True)
class ShadowReading:
    """What one shadow model said of one study, and what the active model of its task said.

    Attributes
    ----------
    score, active_score
        Probability of the study; ``None`` where no image was read, or the model gives none.
    findings, active_findings
        How many findings.
    called, active_called
        Whether the model calls the study suspicious at its operating point; ``None`` where it
        read no image.
    error
        Why it has no answer, one sentence; empty when it has one.
    """

    job_id: str
    model: str
    version: str
    task: str
    state: ShadowState
    attempts: int
    read_at: datetime | None
    score: float | None
    active_score: float | None
    findings: int
    active_findings: int
    called: bool | None
    active_called: bool | None
    error: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A shadow model's answer in numbers, to be kept beside that of the active model."""

    result: StudyResult
    active: StudyResult
    called: bool | None
    active_called: bool | None


@dataclass(frozen=True, slots=True)
class ShadowTally:
    """Answers of one shadow model version on one day, beside those of the active model.

    Attributes
    ----------
    both, only_shadow, only_active, neither
        Studies by who calls them suspicious.
    scored
        Studies to which both gave a score. The sums are over these: of each score, of its square,
        and of the product.
    """

    day: datetime
    model: str
    version: str
    task: str
    failed: int
    both: int
    only_shadow: int
    only_active: int
    neither: int
    scored: int
    score: float
    active_score: float
    score_2: float
    active_score_2: float
    product: float


class Shadows:
    """The answers of shadow models in the database.

    Every method that writes is one transaction, committed durably when it returns.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(
        self,
        model_digest: str,
        named: tuple[str, str, str],
        now: datetime,
        *,
        since: datetime,
        lease: timedelta,
    ) -> tuple[str, int] | None:
        """Take up the oldest job that a shadow model has not read; ``None`` when there is none.

        Parameters
        ----------
        named
            Name, version and task of the model.
        since
            Jobs that were made before are left alone.
        lease
            For how long no other takes it up.

        Returns
        -------
        tuple of str and int
            Job and number of the attempt, from 1.
        """
        query = _unread(model_digest, now, since)
        with self._database.read() as session:
            if session.exec(query).first() is None:
                return None
        with self._database.write() as session:
            job_id = session.exec(query.with_for_update(skip_locked=True)).first()
            if job_id is None:
                return None
            row = session.get(ShadowRow, (job_id, model_digest))
            if row is not None and (row.state != ShadowState.RUNNING or row.claimed_until > now):
                return None
            name, version, task = named
            row = row or ShadowRow(
                job_id=job_id,
                model_digest=model_digest,
                model=name,
                version=version,
                task=task,
                state=ShadowState.RUNNING,
                claimed_until=now,
            )
            row.attempts += 1
            row.claimed_until = now + lease
            session.add(row)
            return job_id, row.attempts

    def put_off(self, job_id: str, model_digest: str, until: datetime, error: str) -> None:
        """Leave a job for a later attempt."""
        with self._database.write() as session:
            row = session.get(ShadowRow, (job_id, model_digest))
            if row is not None and row.state == ShadowState.RUNNING:
                row.claimed_until, row.error = until, error

    def release(self, job_id: str, model_digest: str, now: datetime) -> None:
        """Leave a job for after the next start; it was no attempt."""
        with self._database.write() as session:
            row = session.get(ShadowRow, (job_id, model_digest))
            if row is not None and row.state == ShadowState.RUNNING:
                row.claimed_until, row.attempts = now, row.attempts - 1

    def give_up(self, job_id: str, model_digest: str, now: datetime, error: str) -> None:
        """Note that a model cannot read a study, and why."""
        with self._database.write() as session:
            row = session.get(ShadowRow, (job_id, model_digest))
            if row is not None and row.state == ShadowState.RUNNING:
                row.state, row.read_at, row.error = ShadowState.FAILED, now, error
                _count(session, row)

    def pass_over(self, job_id: str, model_digest: str, now: datetime) -> None:
        """Note that there is nothing to compare: it read the study itself as the active one."""
        with self._database.write() as session:
            row = session.get(ShadowRow, (job_id, model_digest))
            if row is not None and row.state == ShadowState.RUNNING:
                row.state, row.read_at, row.error = _PASSED_OVER, now, ""

    def keep(self, job_id: str, model_digest: str, answered: Answered, now: datetime) -> None:
        """Keep an answer beside that of the active model."""
        with self._database.write() as session:
            row = session.get(ShadowRow, (job_id, model_digest))
            # The study may be gone by policy, or another host may have been quicker.
            if row is None or row.state != ShadowState.RUNNING:
                return
            row.state, row.read_at, row.error = ShadowState.DONE, now, ""
            row.score, row.active_score = answered.result.probability, answered.active.probability
            row.findings = len(answered.result.findings)
            row.active_findings = len(answered.active.findings)
            row.called, row.active_called = answered.called, answered.active_called
            row.result = _RESULT.dump_python(answered.result, mode="json")
            _count(session, row)

    def of_job(self, job_id: str) -> tuple[ShadowReading, ...]:
        """List what each shadow model said of a job, by name and version."""
        query = select(*_COLUMNS).where(
            ShadowRow.job_id == job_id, col(ShadowRow.state) != _PASSED_OVER
        )
        order = (ShadowRow.model, ShadowRow.version, ShadowRow.model_digest)
        return self._readings(query.order_by(*map(col, order)))

    def tallies(self, since: datetime) -> tuple[ShadowTally, ...]:
        """Sum the answers up by model version and day, from a day on, the oldest first."""
        query = select(ShadowTallyRow).where(col(ShadowTallyRow.day) >= day_of(since))
        with self._database.read() as session:
            rows = session.exec(query.order_by(col(ShadowTallyRow.day))).all()
            return tuple(
                ShadowTally(
                    **{**row.model_dump(), "day": datetime.fromisoformat(f"{row.day}T00:00Z")}
                )
                for row in rows
            )

    def result(self, job_id: str, model: str) -> StudyResult | None:
        """Return the whole of what a shadow model said of a job, its newest version."""
        query = (
            select(ShadowRow.result)
            .where(ShadowRow.job_id == job_id, ShadowRow.model == model)
            .where(ShadowRow.state == ShadowState.DONE)
            .order_by(col(ShadowRow.read_at).desc())
        )
        with self._database.read() as session:
            held = session.exec(query.limit(1)).first()
        return None if held is None else _RESULT.validate_python(held)

    def _readings(self, query: Any) -> tuple[ShadowReading, ...]:
        with self._database.read() as session:
            rows: Sequence[Any] = session.execute(query).all()
        return tuple(
            ShadowReading(**{**row._mapping, "state": ShadowState(row.state)}) for row in rows
        )


#: All but the whole result, which is long.
_COLUMNS = tuple(
    col(getattr(ShadowRow, name))
    for name in (
        "job_id",
        "model",
        "version",
        "task",
        "state",
        "attempts",
        "read_at",
        "score",
        "active_score",
        "findings",
        "active_findings",
        "called",
        "active_called",
        "error",
    )
)


def _count(session: Session, row: ShadowRow) -> None:
    """Add an answer to the sums of its day."""
    assert row.read_at is not None  # noqa: S101 - it has just been read
    numbers: dict[str, float] = {"failed": int(row.state == ShadowState.FAILED)}
    if row.called is not None and row.active_called is not None:
        numbers[_VOTES[row.called, row.active_called]] = 1
        if row.score is not None and row.active_score is not None:
            own, active = row.score, row.active_score
            numbers |= {"scored": 1, "score": own, "active_score": active}
            numbers |= {"score_2": own**2, "active_score_2": active**2, "product": own * active}
    key = {"model": row.model, "version": row.version, "task": row.task}
    add(session, ShadowTallyRow, {"day": day_of(row.read_at), **key}, numbers)


def _unread(model_digest: str, now: datetime, since: datetime) -> SelectOfScalar[str]:
    """Select jobs that no shadow model of this digest has read or is reading, the oldest."""
    own = and_(col(ShadowRow.job_id) == col(JobRow.id), col(ShadowRow.model_digest) == model_digest)
    settled = or_(col(ShadowRow.state) != ShadowState.RUNNING, col(ShadowRow.claimed_until) > now)
    return (
        select(JobRow.id)
        .where(
            col(JobRow.created_at) >= since,
            # What is not written was read by no model.
            col(JobRow.written).is_(True),
            ~exists().where(own, settled),
        )
        .order_by(col(JobRow.created_at))
        .limit(1)
    )
