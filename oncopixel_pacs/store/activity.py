"""How much was done, and when: studies and jobs counted by minute, hour or day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Any

from sqlalchemy import ScalarSelect, Select, bindparam, case, func, select, union_all
from sqlmodel import col

from oncopixel_pacs.domain import JobState
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.tables import JobRow, StudyRow, UtcDateTime

_UNFINISHED = [state for state in JobState if not state.final]


class Span(StrEnum):
    """How far to look back."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"

    @property
    def bucket(self) -> timedelta:
        """Length of time that is counted together."""
        return _BUCKETS[self][0]

    @property
    def buckets(self) -> int:
        """How many of them there are."""
        return _BUCKETS[self][1]

    def starts(self, now: datetime) -> tuple[datetime, ...]:
        """Beginning of each, the oldest first; the last one holds `now`."""
        last = datetime.fromisoformat(_padded(_text(now)[: _BUCKETS[self][2]]))
        return tuple(last - self.bucket * back for back in reversed(range(self.buckets)))


#: Bucket, how many, and how many characters of ``YYYY-MM-DD HH:MM:SS`` name one.
_BUCKETS = {
    Span.HOUR: (timedelta(minutes=1), 60, 16),
    Span.DAY: (timedelta(hours=1), 24, 13),
    Span.MONTH: (timedelta(days=1), 30, 10),
}


@dataclass(frozen=True, slots=True)
class Bucket:
    """What happened from `start` on, for the length of a bucket."""

    start: datetime
    received: int
    done: int
    troubled: int
    """Jobs that failed, were cancelled, or had nothing that could be analysed."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Jobs that are not finished."""

    number: int
    oldest: datetime | None
    """When the one that waits longest was made."""


class Activity:
    """Counts in the ledger, from indexes alone: results are not read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def over(self, span: Span, now: datetime) -> tuple[Bucket, ...]:
        """Count studies by their first image and jobs by their end, the oldest bucket first."""
        starts = span.starts(now)
        moments = {
            f"start{n}": start for n, start in enumerate((*starts, starts[-1] + span.bucket))
        }
        with self._database.read() as session:
            return tuple(Bucket(*row) for row in session.execute(_COUNTS[span], moments))

    def waiting(self) -> Waiting:
        """Count the unfinished jobs."""
        query = select(func.count(), func.min(col(JobRow.created_at))).where(
            col(JobRow.state).in_(_UNFINISHED)
        )
        with self._database.read() as session:
            number, oldest = session.execute(query).one()
        return Waiting(number, oldest)

    def queued_since(self) -> datetime | None:
        """When the job was made that waits longest to be analysed; none that was queued again."""
        query = select(func.min(col(JobRow.created_at))).where(
            col(JobRow.state) == JobState.QUEUED, col(JobRow.run) == 1
        )
        with self._database.read() as session:
            found: datetime | None = session.execute(query).scalar_one()
        return found


def _counts(span: Span) -> Select[Any]:
    """Statement that counts by bucket, from ``start0`` on.

    It asks an index for the range of each: nothing is sorted, and no time is written out.
    """
    moments = [bindparam(f"start{n}", type_=UtcDateTime()) for n in range(span.buckets + 1)]
    bucket = union_all(
        *(select(start.label("start"), end.label("end")) for start, end in pairwise(moments))
    ).cte("bucket")

    def number(what: Any, moment: Any) -> ScalarSelect[int]:
        # By the moment alone: an index of states, asked for one, would give nearly every job.
        within = moment >= bucket.c.start, moment < bucket.c.end
        return select(func.count(what)).where(*within).scalar_subquery()

    received, finished = col(StudyRow.first_received_at), col(JobRow.finished_at)
    done = col(JobRow.state) == JobState.DONE
    return select(
        bucket.c.start,
        number(received, received),
        number(case((done, 1)), finished),
        number(case((~done, 1)), finished),
    ).order_by(bucket.c.start)


#: Built once: to put one together takes longer than to have it answered.
_COUNTS = {span: _counts(span) for span in Span}


def _text(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _padded(name: str) -> str:
    return name + "2000-01-01 00:00:00"[len(name) :] + "+00:00"
