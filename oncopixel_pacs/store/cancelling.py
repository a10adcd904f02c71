"""Giving up a job that failed, at a person's word; a retry takes the word back."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import col, select

from oncopixel_pacs.domain import Job, JobState
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.job_rows import complete_jobs, job_row
from oncopixel_pacs.store.tables import QuarantineRow


def cancel_job(database: Database, job_id: str, now: datetime) -> Job:
    """Have nobody wait any more for a job that failed.

    It raises no alarm and no longer keeps its study from retention. Why it failed, what became of
    each delivery, and what was held back stay on record.

    Raises
    ------
    NotFound
        When there is no such job.
    ConfigurationError
        When the job did not fail.
    """
    with database.write() as session:
        row = job_row(session, job_id, lock=True)
        if row.state != JobState.FAILED:
            raise ConfigurationError(
                f"Job {job_id} is {row.state}; only a job that failed is cancelled."
            )
        row.state = JobState.CANCELLED
        row.finished_at = now  # from when on retention counts its days
        held = select(QuarantineRow).where(
            QuarantineRow.job_id == job_id, col(QuarantineRow.resolved_at).is_(None)
        )
        for item in session.exec(held).all():
            item.resolved_at = now
        session.flush()
        return complete_jobs(session, [row])[0]
