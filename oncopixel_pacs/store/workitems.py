"""Workitems in the database: each is known before it is claimed, and claimed by one host."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy import and_, func, or_, tuple_
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from oncopixel_pacs.domain import Page
from oncopixel_pacs.domain.workitems import Workitem, WorkitemState
from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.store.cursors import decode_cursor, encode_cursor
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.due_rows import take_due
from oncopixel_pacs.store.workitem_tables import WorkitemRow

_OPEN = (WorkitemState.CLAIMING, WorkitemState.CLAIMED)
#: After so many attempts in a row an alarm stands; by then the waits are minutes long.
_MANY_ATTEMPTS = 10
_ALARM_FOR = timedelta(days=1)
_AT_A_TIME = 200


class Workitems:
    """What worklists asked of us.

    Every method that writes is one transaction, committed durably when it returns.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def known(self, worklist: str, workitem_uids: Sequence[str]) -> set[str]:
        """Find which of these were taken up before, whatever came of them."""
        found: set[str] = set()
        with self._database.read() as session:
            for begin in range(0, len(workitem_uids), _AT_A_TIME):
                ids = [_id_of(worklist, uid) for uid in workitem_uids[begin : begin + _AT_A_TIME]]
                query = select(WorkitemRow.workitem_uid).where(col(WorkitemRow.id).in_(ids))
                found |= set(session.exec(query).all())
        return found

    def add(
        self, worklist: str, workitem_uid: str, study: str, most_open: int, now: datetime
    ) -> bool:
        """Take up a workitem under a Transaction UID of its own; due at once.

        Parameters
        ----------
        study
            Study Instance UID of its input.
        most_open
            Workitems of this worklist that may be open at a time, this one included.

        Returns
        -------
        bool
            False where it is taken up already, or enough others are.
        """
        try:
            return self._added(worklist, workitem_uid, study, most_open, now)
        except OutOfResources as exc:
            if isinstance(exc.__cause__, IntegrityError):
                return False  # another host was first
            raise

    def _added(
        self, worklist: str, workitem_uid: str, study: str, most_open: int, now: datetime
    ) -> bool:
        with self._database.write() as session:
            if session.get(WorkitemRow, _id_of(worklist, workitem_uid)) is not None:
                return False
            mine = (WorkitemRow.worklist == worklist, col(WorkitemRow.state).in_(_OPEN))
            under_way = session.exec(select(func.count()).select_from(WorkitemRow).where(*mine))
            if under_way.one() >= most_open:
                return False
            session.add(
                WorkitemRow(
                    id=_id_of(worklist, workitem_uid),
                    worklist=worklist,
                    workitem_uid=workitem_uid,
                    # Drawn, not derived: who knows it may end our work (PS3.4 CC.1.1).
                    transaction_uid=f"2.25.{uuid4().int}",
                    study_instance_uid=study,
                    state=WorkitemState.CLAIMING,
                    created_at=now,
                    next_attempt_at=now,
                )
            )
            return True

    def take(self, worklists: Collection[str], now: datetime, until: datetime) -> Workitem | None:
        """Take the open one that is due for longest; nobody else takes it before `until`."""
        due = (
            select(WorkitemRow)
            .where(
                col(WorkitemRow.state).in_(_OPEN),
                col(WorkitemRow.worklist).in_(worklists),
                col(WorkitemRow.next_attempt_at) <= now,
            )
            .order_by(col(WorkitemRow.next_attempt_at))
            .limit(1)
        )

        def take(_: Session, row: WorkitemRow) -> Workitem:
            row.attempts += 1
            row.next_attempt_at = until
            return _to_workitem(row)

        return take_due(self._database, due, take)

    def record(self, taken: Workitem, now: Workitem) -> bool:
        """Keep what came of it; false where another took it up meanwhile, and has the word."""
        with self._database.write() as session:
            row = session.get_one(WorkitemRow, taken.id, with_for_update=True)
            if (row.state, row.next_attempt_at) != (taken.state, taken.next_attempt_at):
                return False
            row.state, row.error = now.state, now.error
            row.claimed_at, row.ended_at = now.claimed_at, now.ended_at
            row.pull_id, row.attempts = now.pull_id, now.attempts
            row.next_attempt_at = now.next_attempt_at
            return True

    def workitems(self, *, limit: int = 50, cursor: str | None = None) -> Page[Workitem]:
        """List what was taken up, the newest first."""
        query = select(WorkitemRow).order_by(
            col(WorkitemRow.created_at).desc(), col(WorkitemRow.id).desc()
        )
        if cursor is not None:
            place = tuple_(col(WorkitemRow.created_at), col(WorkitemRow.id))
            query = query.where(place < decode_cursor(cursor))
        with self._database.read() as session:
            rows = session.exec(query.limit(limit + 1)).all()
            items = tuple(_to_workitem(row) for row in rows[:limit])
        more = len(rows) > limit
        return Page(items, encode_cursor(items[-1].created_at, items[-1].id) if more else None)

    def alarm(self, now: datetime) -> str:
        """Say that workitems cannot be ended at their worklist; empty while all can.

        Of one that is given up it is said for a day.
        """
        given_up = and_(
            col(WorkitemRow.state) == WorkitemState.STUCK,
            col(WorkitemRow.ended_at) > now - _ALARM_FOR,
        )
        trying = and_(
            col(WorkitemRow.state) == WorkitemState.CLAIMED,
            col(WorkitemRow.attempts) >= _MANY_ATTEMPTS,
        )
        query = select(WorkitemRow).where(or_(given_up, trying)).limit(_AT_A_TIME)
        with self._database.read() as session:
            rows = session.exec(query).all()
        if not rows:
            return ""
        names = ", ".join(sorted({row.worklist for row in rows}))
        one = len(rows) == 1
        return (
            f"{len(rows)} workitem{'' if one else 's'} of worklist {names} cannot be ended there, "
            f"though {'it is' if one else 'they are'} claimed by us; see the log for the reason, "
            "and end it at the worklist."
        )


def _id_of(worklist: str, workitem_uid: str) -> str:
    """Derive an id, so that two hosts cannot take up the same twice."""
    return hashlib.sha256(f"{worklist}\x1f{workitem_uid}".encode()).hexdigest()[:32]


def _to_workitem(row: WorkitemRow) -> Workitem:
    return Workitem(
        id=row.id,
        worklist=row.worklist,
        workitem_uid=row.workitem_uid,
        transaction_uid=row.transaction_uid,
        study_instance_uid=row.study_instance_uid,
        state=WorkitemState(row.state),
        created_at=row.created_at,
        claimed_at=row.claimed_at,
        pull_id=row.pull_id,
        attempts=row.attempts,
        error=row.error,
        next_attempt_at=row.next_attempt_at,
        ended_at=row.ended_at,
    )
