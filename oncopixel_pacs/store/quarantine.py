"""The quarantine: result objects that did not pass the gate, kept with the reason, never sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from oncopixel_pacs.domain import ObjectKind, QuarantinedObject
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.job_rows import job_row
from oncopixel_pacs.store.tables import JobRow, QuarantineRow


class Quarantine:
    """Held-back results in the database; their files lie in the folder ``quarantine``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def hold(self, items: Iterable[QuarantinedObject]) -> None:
        """Keep objects; one that is held with the same bytes already is held on."""
        with self._database.write() as session:
            for item in items:
                row = session.exec(
                    select(QuarantineRow).where(
                        QuarantineRow.job_id == item.job_id,
                        QuarantineRow.sop_instance_uid == item.sop_instance_uid,
                        QuarantineRow.sha256 == item.sha256,
                    )
                ).first()
                if row is None:
                    row = QuarantineRow(
                        job_id=item.job_id,
                        kind=item.kind,
                        sop_instance_uid=item.sop_instance_uid,
                        series_description=item.series_description,
                        path=item.path,
                        sha256=item.sha256,
                        size_bytes=item.size_bytes,
                        held_at=item.held_at,
                    )
                    session.add(row)
                row.problems = list(item.problems)
                row.held_at = item.held_at
                row.resolved_at = None

    def of_job(self, job_id: str) -> tuple[QuarantinedObject, ...]:
        """List what a job had held back, in the order of writing, resolved or not."""
        with self._database.read() as session:
            query = select(QuarantineRow).where(QuarantineRow.job_id == job_id)
            rows = session.exec(query.order_by(col(QuarantineRow.id))).all()
            return tuple(_object(row) for row in rows)

    def held(self, limit: int = 200) -> tuple[QuarantinedObject, ...]:
        """List what is held back now, the newest first."""
        with self._database.read() as session:
            return tuple(_object(row) for row in _open(session, limit))

    def resolve(self, job_id: str, now: datetime) -> None:
        """Note that a job passed the gate: an earlier attempt and revision counts no more."""
        with self._database.write() as session:
            job = job_row(session, job_id)
            replaced = select(JobRow.id).where(
                JobRow.study_instance_uid == job.study_instance_uid,
                col(JobRow.revision) <= job.revision,
            )
            query = select(QuarantineRow).where(
                col(QuarantineRow.job_id).in_(replaced), col(QuarantineRow.resolved_at).is_(None)
            )
            for row in session.exec(query).all():
                row.resolved_at = now

    def alarm(self) -> str:
        """Say that results are held back; empty while none is."""
        jobs = {item.job_id for item in self.held()}
        if not jobs:
            return ""
        named = ", ".join(sorted(job[:10] for job in jobs)[:5])
        return (
            f"Results of {len(jobs)} job{'' if len(jobs) == 1 else 's'} did not pass the gate and "
            f"are held back (job {named}); look at the job for the reason, and report the defect."
        )


def _open(session: Session, limit: int) -> Sequence[QuarantineRow]:
    return session.exec(
        select(QuarantineRow)
        .where(col(QuarantineRow.resolved_at).is_(None))
        .order_by(col(QuarantineRow.held_at).desc(), col(QuarantineRow.id))
        .limit(limit)
    ).all()


def _object(row: QuarantineRow) -> QuarantinedObject:
    return QuarantinedObject(
        job_id=row.job_id,
        kind=ObjectKind(row.kind),
        sop_instance_uid=row.sop_instance_uid,
        series_description=row.series_description,
        path=row.path,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        problems=tuple(row.problems),
        held_at=row.held_at,
        resolved_at=row.resolved_at,
    )
