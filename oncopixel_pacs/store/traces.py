"""Traces in the database: which ends of jobs are still to be told to the collector.

Derived from the ledger, as webhooks are, so none is lost whatever dies when.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlmodel import Session, col, select

from oncopixel_pacs.domain.spans import Arrival, EndedJob
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.due_rows import take_due
from oncopixel_pacs.store.ended_jobs import OVERLAP, ended_since, read_from
from oncopixel_pacs.store.tables import InstanceRow
from oncopixel_pacs.store.trace_tables import TraceReaderRow, TraceRow

_READER = "collector"
#: What was told so long ago is forgotten.
_FORGOTTEN = timedelta(days=30)


class Traces:
    """The ends of jobs that are to be told, and the facts that the ledger has not.

    Every method that writes is one transaction, committed durably when it returns.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def note_ended(self, now: datetime) -> int:
        """Make a trace due for each job that ended and has none; the first look begins with now.

        Returns
        -------
        int
            How many were made.
        """
        with self._database.read() as session:
            known = session.get(TraceReaderRow, _READER)
            since = read_from(known.read_until, now) if known else now
            ended = ended_since(session, since) if known else []
            fresh = [item for item in ended if session.get(TraceRow, item) is None]
        if known and not fresh and known.read_until == since and now - since < 2 * OVERLAP:
            return 0
        with self._database.write() as session:
            row = session.get(TraceReaderRow, _READER, with_for_update=True)
            if row is None:
                session.add(TraceReaderRow(name=_READER, read_until=now))
                return 0
            # Another host may have been first.
            made = [item for item in fresh if session.get(TraceRow, item) is None]
            for job_id, finished_at in made:
                session.add(TraceRow(job_id=job_id, finished_at=finished_at, due_at=now))
            row.read_until = max(read_from(row.read_until, now), now - OVERLAP)
            session.exec(
                delete(TraceRow).where(
                    col(TraceRow.due_at).is_(None), col(TraceRow.finished_at) < now - _FORGOTTEN
                )
            )
            return len(made)

    def take(self, now: datetime, until: datetime) -> EndedJob | None:
        """Take what is due for longest; nobody else takes it before `until`."""
        due = (
            select(TraceRow)
            .where(col(TraceRow.due_at) <= now)
            .order_by(col(TraceRow.due_at))
            .limit(1)
        )

        def take(session: Session, row: TraceRow) -> EndedJob:
            row.due_at = until
            before = session.exec(
                select(TraceRow.finished_at)
                .where(
                    TraceRow.job_id == row.job_id,
                    col(TraceRow.finished_at) < row.finished_at,
                    col(TraceRow.told).is_(True),
                )
                .order_by(col(TraceRow.finished_at).desc())
            ).first()
            return EndedJob(row.job_id, row.finished_at, before, row.told)

        return take_due(self._database, due, take)

    def record(self, item: EndedJob, *, told: bool, due_at: datetime | None) -> None:
        """Keep whether a trace was told, and when to look at it again."""
        with self._database.write() as session:
            row = session.get_one(TraceRow, (item.job_id, item.finished_at))
            row.told, row.due_at = told, due_at

    def arrivals(self, study_instance_uid: str, revision: int) -> tuple[Arrival, ...]:
        """List the objects that a revision added to a study."""
        with self._database.read() as session:
            rows = session.exec(
                select(InstanceRow)
                .where(
                    InstanceRow.study_instance_uid == study_instance_uid,
                    InstanceRow.revision == revision,
                )
                .order_by(col(InstanceRow.received_at))
            ).all()
            return tuple(
                Arrival(
                    row.received_at,
                    row.calling_ae_title,
                    row.association_at,
                    row.sop_class_uid,
                    row.size_bytes,
                )
                for row in rows
            )
