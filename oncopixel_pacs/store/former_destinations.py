"""What waits for a destination that is no longer configured, and giving it up.

Nothing is given up by itself: a destination may have been left out by mistake, and come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from oncopixel_pacs.domain import DeliveryState, JobState
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.job_rows import (
    OPEN,
    conclude,
    deliveries_of,
    failed_destinations,
    job_row,
    undelivered,
)
from oncopixel_pacs.store.tables import CircuitRow, DeliveryRow, JobObjectRow, JobRow

_NOT_TAKEN = (*OPEN, DeliveryState.FAILED)


@dataclass(frozen=True, slots=True)
class GivenUp:
    """How many result objects are sent no more, and of how many jobs."""

    objects: int
    jobs: int


class FormerDestinations:
    """Destinations that have deliveries and are not configured."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def forget(self, destination: str, now: datetime) -> GivenUp:
        """Give up what a destination did not take, and asking it for what it did.

        Jobs that waited or failed for it alone end as if it had never been. One transaction.
        """
        with self._database.write() as session:
            rows = session.exec(
                select(DeliveryRow)
                .where(DeliveryRow.destination == destination)
                .where(
                    col(DeliveryRow.state).in_(_NOT_TAKEN)
                    | col(DeliveryRow.ask_at).is_not(None)
                    | col(DeliveryRow.unconfirmed_at).is_not(None)
                )
                .with_for_update()
            ).all()
            missing = [row for row in rows if row.state in _NOT_TAKEN]
            jobs = _jobs_of(session, destination)
            before = {job_id: _failed(session, job_id) for job_id in jobs}
            for row in rows:
                row.ask_at = row.unconfirmed_at = None
                row.asked, row.error = 0, ""
            for row in missing:
                session.delete(row)
            circuit = session.get(CircuitRow, destination, with_for_update=True)
            if circuit is not None:
                session.delete(circuit)
            session.flush()
            for job_id in jobs:
                _end(session, job_id, before[job_id], now)
            return GivenUp(len(missing), len(jobs))


def _jobs_of(session: Session, destination: str) -> Sequence[str]:
    """Ids of the jobs of which it did not take everything: more than a statement has room for."""
    return session.exec(
        select(JobRow.id)
        .join(JobObjectRow, col(JobObjectRow.job_id) == col(JobRow.id))
        .join(DeliveryRow, col(DeliveryRow.sop_instance_uid) == col(JobObjectRow.sop_instance_uid))
        .where(DeliveryRow.destination == destination, col(DeliveryRow.state).in_(_NOT_TAKEN))
        .distinct()
        .order_by(JobRow.id)
    ).all()


def _failed(session: Session, job_id: str) -> list[str]:
    return failed_destinations(deliveries_of(session, [job_id]).get(job_id, ()))


def _end(session: Session, job_id: str, before: list[str], now: datetime) -> None:
    """End a job that nothing keeps any more, or say for what else it failed."""
    job = job_row(session, job_id, lock=True)
    if job.state == JobState.FAILED and before and undelivered(before) in job.error:
        job.error = job.error.replace(undelivered(before), "").strip()
        job.state = JobState.DELIVERING
    conclude(session, job, now)
