"""What was read, in a narrow table beside the jobs, whose rows are long: monitoring reads many."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, func
from sqlmodel import Field, Session, SQLModel, select

from oncopixel_pacs.domain import StudyResult
from oncopixel_pacs.store.rows import dump_result
from oncopixel_pacs.store.tables import InstanceRow, JobRow, UtcDateTime

#: Between the names of views.
SEPARATOR = "\n"


class ReadingRow(SQLModel, table=True):
    """A job whose result has a probability: who sent its images, and which views they show."""

    __tablename__ = "reading"

    job_id: str = Field(primary_key=True, foreign_key="job.id")
    study_instance_uid: str = Field(max_length=64)
    revision: int
    models_digest: str
    created_at: datetime = Field(sa_column=Column(UtcDateTime(), nullable=False, index=True))
    probability: float
    sender: str
    views: str


def keep_result(
    session: Session, job: JobRow, result: StudyResult, models_digest: str = ""
) -> None:
    """Keep what the models said of a job, and what monitoring compares of it.

    Parameters
    ----------
    models_digest
        Of the models that read it, where they may be others than it was queued for.
    """
    _forget_reading(session, job)
    job.models_digest = models_digest or job.models_digest
    job.result = dump_result(result)
    job.probability = result.probability
    job.finding_count = len(result.findings)
    if result.probability is None:
        return
    sender = select(func.max(InstanceRow.calling_ae_title)).where(
        InstanceRow.study_instance_uid == job.study_instance_uid
    )
    names = (f"{i.facts.laterality or '?'} {i.facts.view or '?'}" for i in result.images)
    session.add(
        ReadingRow(
            job_id=job.id,
            study_instance_uid=job.study_instance_uid,
            revision=job.revision,
            models_digest=job.models_digest,
            created_at=job.created_at,
            probability=result.probability,
            sender=session.exec(sender).one() or "",
            views=SEPARATOR.join(sorted(names)),
        )
    )


def forget_result(session: Session, job: JobRow) -> None:
    """Forget what came of a job, since its images are read anew."""
    _forget_reading(session, job)
    job.result, job.probability, job.finding_count, job.written = None, None, None, False


def _forget_reading(session: Session, job: JobRow) -> None:
    row = session.get(ReadingRow, job.id)
    if row is not None:
        session.delete(row)
        session.flush()
