"""Pulls in the database: asked for by anyone, worked on by one host at a time."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from sqlalchemy import and_, func, or_, tuple_
from sqlmodel import Session, col, select

from oncopixel_pacs.domain import Page
from oncopixel_pacs.domain.pulls import Pull, PullState
from oncopixel_pacs.errors import NotFound
from oncopixel_pacs.store.cursors import decode_cursor, encode_cursor
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.tables import PullRow

_OPEN = (PullState.QUEUED, PullState.RUNNING)


class Pulls:
    """The requests to fetch studies.

    Every method that writes is one transaction, committed durably when it returns.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, study_instance_uid: str, source: str, now: datetime) -> Pull:
        """Ask for a study; while the same is asked for already, that request is returned."""
        same = (PullRow.study_instance_uid == study_instance_uid, PullRow.source == source)
        with self._database.write() as session:
            row = session.exec(select(PullRow).where(*same, col(PullRow.state).in_(_OPEN))).first()
            if row is None:
                before = session.exec(select(func.count()).select_from(PullRow).where(*same)).one()
                row = PullRow(
                    # Derived: two who ask at once cannot both get a new one.
                    id=_id_of(study_instance_uid, source, before),
                    study_instance_uid=study_instance_uid,
                    source=source,
                    state=PullState.QUEUED,
                    created_at=now,
                )
                session.add(row)
                session.flush()
            return _to_pull(row)

    def pull(self, pull_id: str) -> Pull:
        """Return one pull.

        Raises
        ------
        NotFound
            When there is no such pull.
        """
        with self._database.read() as session:
            return _to_pull(_row(session, pull_id))

    def pulls(self, *, limit: int = 50, cursor: str | None = None) -> Page[Pull]:
        """List pulls, the newest first."""
        query = select(PullRow).order_by(col(PullRow.created_at).desc(), col(PullRow.id).desc())
        if cursor is not None:
            place = tuple_(col(PullRow.created_at), col(PullRow.id))
            query = query.where(place < decode_cursor(cursor))
        with self._database.read() as session:
            rows = session.exec(query.limit(limit + 1)).all()
            items = tuple(_to_pull(row) for row in rows[:limit])
        more = len(rows) > limit
        return Page(items, encode_cursor(items[-1].created_at, items[-1].id) if more else None)

    def claim(self, worker: str, now: datetime, lease: timedelta) -> Pull | None:
        """Take up the oldest pull that is due, or one whose worker has not been heard of."""
        due = and_(
            col(PullRow.state) == PullState.QUEUED,
            or_(col(PullRow.next_attempt_at).is_(None), col(PullRow.next_attempt_at) <= now),
        )
        lost = and_(col(PullRow.state) == PullState.RUNNING, col(PullRow.claimed_until) < now)
        query = select(PullRow).where(or_(due, lost)).order_by(col(PullRow.created_at)).limit(1)
        with self._database.read() as session:
            if session.exec(query).first() is None:
                return None
        with self._database.write() as session:
            row = session.exec(query.with_for_update(skip_locked=True)).first()
            if row is None:
                return None
            row.state = PullState.RUNNING
            row.attempts += 1
            row.claimed_by, row.claimed_until = worker, now + lease
            row.next_attempt_at = None
            return _to_pull(row)

    def release(self, worker: str) -> int:
        """Queue again what this worker left unfinished; returns how many."""
        with self._database.write() as session:
            rows = session.exec(
                select(PullRow).where(
                    PullRow.state == PullState.RUNNING, PullRow.claimed_by == worker
                )
            ).all()
            for row in rows:
                row.state = PullState.QUEUED
                row.claimed_by = ""
            return len(rows)

    def keep(self, pull_id: str, worker: str, now: datetime, lease: timedelta) -> bool:
        """Say that a pull is still worked on; false when another has taken it up."""
        with self._database.write() as session:
            row = _row(session, pull_id)
            if not _is_mine(row, worker):
                return False
            row.claimed_until = now + lease
            return True

    def note(self, pull_id: str, worker: str, expected: int, received: int) -> None:
        """Keep how far a pull has come."""
        with self._database.write() as session:
            row = _row(session, pull_id)
            if _is_mine(row, worker):
                row.expected, row.received = expected, received

    def put_off(self, pull_id: str, worker: str, error: str, next_attempt_at: datetime) -> None:
        """Queue a pull again that failed for now."""
        with self._database.write() as session:
            row = _row(session, pull_id)
            if _is_mine(row, worker):
                row.state, row.error = PullState.QUEUED, error
                row.next_attempt_at, row.claimed_by = next_attempt_at, ""

    def finish(
        self, pull_id: str, worker: str, state: PullState, now: datetime, error: str = ""
    ) -> None:
        """Move a pull to a final state."""
        with self._database.write() as session:
            row = _row(session, pull_id)
            if _is_mine(row, worker):
                row.state, row.error = state, error
                row.finished_at, row.claimed_by = now, ""


def _is_mine(row: PullRow, worker: str) -> bool:
    return row.state == PullState.RUNNING and row.claimed_by == worker


def _row(session: Session, pull_id: str) -> PullRow:
    row = session.get(PullRow, pull_id)
    if row is None:
        raise NotFound(f"There is no pull {pull_id}.")
    return row


def _id_of(study_instance_uid: str, source: str, number: int) -> str:
    text = f"{study_instance_uid}\x1f{source}\x1f{number}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _to_pull(row: PullRow) -> Pull:
    return Pull(
        id=row.id,
        study_instance_uid=row.study_instance_uid,
        source=row.source,
        state=PullState(row.state),
        created_at=row.created_at,
        expected=row.expected,
        received=row.received,
        attempts=row.attempts,
        error=row.error,
        next_attempt_at=row.next_attempt_at,
        finished_at=row.finished_at,
    )
