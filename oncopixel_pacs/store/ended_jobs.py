"""Which jobs ended since one last looked: for whoever is to be told of each end, once."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from oncopixel_pacs.domain import JobState
from oncopixel_pacs.store.tables import JobRow

_FINAL = [state for state in JobState if state.final]
#: A job's end is committed at most so long after the time that it bears.
OVERLAP = timedelta(hours=1)
#: By so much the clocks of hosts differ.
_SKEW = timedelta(minutes=1)


def read_from(read_until: datetime, now: datetime) -> datetime:
    """From when on to look for what ended, where all was told that ended before `read_until`.

    That moment was of a clock that went ahead when it lies in the future.
    """
    return read_until if read_until <= now + _SKEW else now - OVERLAP


def ended_since(session: Session, since: datetime) -> list[tuple[str, datetime]]:
    """Id and end of every job that ended at or after a moment and did not begin again."""
    rows = session.exec(
        select(JobRow.id, JobRow.finished_at).where(
            col(JobRow.finished_at) >= since, col(JobRow.state).in_(_FINAL)
        )
    ).all()
    return [(job_id, at) for job_id, at in rows if at is not None]
