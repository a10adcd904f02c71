"""Webhooks in the database: which ends of jobs are to be told, to whom, and when again.

Calls are derived from the ledger, so none is lost whatever dies when: a job that ended has a call,
or it is found the next time that one looks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, or_, tuple_
from sqlmodel import Session, col, select

from oncopixel_pacs.domain import Page
from oncopixel_pacs.domain.webhooks import CallState, Told, WebhookCall
from oncopixel_pacs.errors import NotFound
from oncopixel_pacs.store.cursors import decode_cursor, encode_cursor
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.due_rows import take_due
from oncopixel_pacs.store.ended_jobs import OVERLAP, ended_since, read_from
from oncopixel_pacs.store.webhook_tables import WebhookCallRow, WebhookRow

_AT_A_TIME = 200
#: A receiver that has not taken a call for so long is said to be away,
_AWAY_AFTER = timedelta(hours=1)
#: and of calls that were given up it is said for so long.
_ALARM_FOR = timedelta(days=7)


class Webhooks:
    """The calls of each receiver.

    Every method that writes is one transaction, committed durably when it returns.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def note_ended(self, webhook: str, now: datetime) -> int:
        """Make a call for each job that ended and has none; a new receiver begins with now.

        Returns
        -------
        int
            How many were made.
        """
        with self._database.read() as session:
            known = session.get(WebhookRow, webhook)
            since = read_from(known.read_until, now) if known else now
            ended = ended_since(session, since) if known else []
            ids = [_id_of(webhook, *item) for item in ended]
            told = _known(session, ids)
        fresh = [item for item in ended if _id_of(webhook, *item) not in told]
        if known and not fresh and known.read_until == since and now - since < 2 * OVERLAP:
            return 0
        with self._database.write() as session:
            row = session.get(WebhookRow, webhook, with_for_update=True)
            if row is None:
                session.add(WebhookRow(name=webhook, read_until=now))
                return 0
            # Another host may have been first.
            told = _known(session, [_id_of(webhook, *item) for item in fresh])
            made = [item for item in fresh if _id_of(webhook, *item) not in told]
            for job_id, finished_at in made:
                session.add(
                    WebhookCallRow(
                        id=_id_of(webhook, job_id, finished_at),
                        webhook=webhook,
                        job_id=job_id,
                        finished_at=finished_at,
                        state=CallState.WAITING,
                        next_attempt_at=now,
                    )
                )
            row.read_until = max(read_from(row.read_until, now), now - OVERLAP)
            return len(made)

    def take(self, webhook: str, now: datetime, until: datetime) -> WebhookCall | None:
        """Take the call that is due for longest; nobody else takes it before `until`."""
        due = (
            select(WebhookCallRow)
            .where(
                WebhookCallRow.webhook == webhook,
                WebhookCallRow.state == CallState.WAITING,
                col(WebhookCallRow.next_attempt_at) <= now,
            )
            .order_by(col(WebhookCallRow.next_attempt_at))
            .limit(1)
        )

        def take(_: Session, row: WebhookCallRow) -> WebhookCall:
            row.attempts += 1
            row.next_attempt_at = until
            return _to_call(row)

        return take_due(self._database, due, take)

    def record(self, call: WebhookCall) -> None:
        """Keep what came of an attempt."""
        with self._database.write() as session:
            row = session.get_one(WebhookCallRow, call.id)
            row.state = call.state
            row.next_attempt_at, row.ended_at = call.next_attempt_at, call.ended_at
            row.status, row.error = call.status, call.error

    def keep_content(self, call_id: str, content: str, statements: int) -> None:
        """Keep what a call of an export says, before it is sent."""
        with self._database.write() as session:
            row = session.get_one(WebhookCallRow, call_id)
            row.content, row.statements = content, statements

    def told(self, webhook: str, job_ids: Sequence[str], but: str) -> dict[str, Told]:
        """Tell what may have arrived of these jobs by other calls than one; none has no entry."""
        query = select(WebhookCallRow).where(
            WebhookCallRow.webhook == webhook,
            col(WebhookCallRow.job_id).in_(job_ids),
            WebhookCallRow.id != but,
            or_(col(WebhookCallRow.content) != "", col(WebhookCallRow.status) != 0),
        )
        found: dict[str, Told] = {}
        with self._database.read() as session:
            for row in session.exec(query.order_by(col(WebhookCallRow.finished_at))).all():
                before = found.get(row.job_id, Told(frozenset(), 0))
                # What was taken is there; of what came after it, nobody knows.
                kept = frozenset() if row.state == CallState.TAKEN else before.contents
                found[row.job_id] = Told(
                    kept | {row.content}, max(before.statements, row.statements)
                )
        return found

    def send_again(self, call_id: str, now: datetime) -> WebhookCall:
        """Make a call due at once, taken or not; it keeps its id and counts on.

        Raises
        ------
        NotFound
            When there is no such call.
        """
        with self._database.write() as session:
            row = session.get(WebhookCallRow, call_id, with_for_update=True)
            if row is None:
                raise NotFound(f"There is no call {call_id}.")
            row.state, row.next_attempt_at, row.ended_at = CallState.WAITING, now, None
            return _to_call(row)

    def call(self, call_id: str) -> WebhookCall:
        """Return one call; raises `NotFound` where there is none."""
        with self._database.read() as session:
            row = session.get(WebhookCallRow, call_id)
            if row is None:
                raise NotFound(f"There is no call {call_id}.")
            return _to_call(row)

    def calls(self, *, limit: int = 50, cursor: str | None = None) -> Page[WebhookCall]:
        """List calls, that of the job which ended last first."""
        place = tuple_(col(WebhookCallRow.finished_at), col(WebhookCallRow.id))
        query = select(WebhookCallRow).order_by(
            col(WebhookCallRow.finished_at).desc(), col(WebhookCallRow.id).desc()
        )
        if cursor is not None:
            query = query.where(place < decode_cursor(cursor))
        with self._database.read() as session:
            rows = session.exec(query.limit(limit + 1)).all()
            items = tuple(_to_call(row) for row in rows[:limit])
        more = len(rows) > limit
        return Page(items, encode_cursor(items[-1].finished_at, items[-1].id) if more else None)

    def counts(self) -> dict[str, dict[CallState, int]]:
        """Count calls by receiver and state."""
        found: dict[str, dict[CallState, int]] = {}
        with self._database.read() as session:
            rows = session.exec(
                select(WebhookCallRow.webhook, WebhookCallRow.state, func.count()).group_by(
                    WebhookCallRow.webhook, WebhookCallRow.state
                )
            ).all()
        for webhook, state, number in rows:
            found.setdefault(webhook, {})[CallState(state)] = number
        return found

    def alarms(self, names: Iterable[str], now: datetime) -> dict[str, str]:
        """Say by receiver what it was not told; those that were told everything are left out.

        Parameters
        ----------
        names
            Receivers that are configured; nobody waits for others.
        """
        found: dict[str, str] = {}
        with self._database.read() as session:
            for name in names:
                said = [_said_waiting(session, name, now), _said_given_up(session, name, now)]
                if any(said):
                    found[name] = " ".join(filter(None, said))
        return found


def _said_waiting(session: Session, name: str, now: datetime) -> str:
    overdue = (
        WebhookCallRow.webhook == name,
        WebhookCallRow.state == CallState.WAITING,
        col(WebhookCallRow.attempts) > 0,
        col(WebhookCallRow.finished_at) <= now - _AWAY_AFTER,
    )
    oldest = session.exec(
        select(WebhookCallRow).where(*overdue).order_by(col(WebhookCallRow.finished_at)).limit(1)
    ).first()
    if oldest is None:
        return ""
    number = session.exec(select(func.count()).select_from(WebhookCallRow).where(*overdue)).one()
    return (
        f"{_studies(number)} not told to {name}, the oldest finished at "
        f"{oldest.finished_at:%Y-%m-%d %H:%M} UTC: {oldest.error or 'it was not called yet.'}"
    )


def _said_given_up(session: Session, name: str, now: datetime) -> str:
    number = session.exec(
        select(func.count())
        .select_from(WebhookCallRow)
        .where(
            WebhookCallRow.webhook == name,
            WebhookCallRow.state == CallState.FAILED,
            col(WebhookCallRow.ended_at) > now - _ALARM_FOR,
        )
    ).one()
    if not number:
        return ""
    return f"{_studies(number)} given up for {name}: see why on the page Webhooks, then send again."


def _studies(number: int) -> str:
    return "1 finished study was" if number == 1 else f"{number} finished studies were"


def _known(session: Session, ids: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for begin in range(0, len(ids), _AT_A_TIME):
        part = ids[begin : begin + _AT_A_TIME]
        found |= set(
            session.exec(select(WebhookCallRow.id).where(col(WebhookCallRow.id).in_(part))).all()
        )
    return found


def _id_of(webhook: str, job_id: str, finished_at: datetime) -> str:
    """Derive an id, so that two hosts cannot make two calls of one end."""
    text = f"{webhook}\x1f{job_id}\x1f{finished_at.isoformat()}"
    return "msg_" + hashlib.sha256(text.encode()).hexdigest()[:32]


def _to_call(row: WebhookCallRow) -> WebhookCall:
    return WebhookCall(
        id=row.id,
        webhook=row.webhook,
        job_id=row.job_id,
        finished_at=row.finished_at,
        state=CallState(row.state),
        attempts=row.attempts,
        next_attempt_at=row.next_attempt_at,
        ended_at=row.ended_at,
        status=row.status,
        error=row.error,
    )
