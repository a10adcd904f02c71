"""Times of a next attempt, and what becomes of them when the clock was wrong as they were set."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement
from sqlmodel import col, select, update

from oncopixel_pacs.domain import DeliveryState
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.tables import CircuitRow, DeliveryRow, PullRow
from oncopixel_pacs.store.webhook_tables import WebhookCallRow
from oncopixel_pacs.store.workitem_tables import WorkitemRow

_Table = type[DeliveryRow | CircuitRow | PullRow | WebhookCallRow | WorkitemRow]
_Conditions = tuple[ColumnElement[bool], ...]
#: What waits for a moment, and which of its rows do.
_WAITS: tuple[tuple[_Table, str, _Conditions], ...] = (
    (DeliveryRow, "next_attempt_at", (col(DeliveryRow.state) == DeliveryState.QUEUED,)),
    (DeliveryRow, "ask_at", ()),
    (CircuitRow, "next_probe_at", ()),
    (PullRow, "next_attempt_at", ()),
    (PullRow, "claimed_until", ()),
    (WebhookCallRow, "next_attempt_at", ()),
    (WorkitemRow, "next_attempt_at", ()),
)


class Waits:
    """Everything in the database that is to be tried again at some moment."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def shorten(self, latest: datetime, now: datetime) -> int:
        """Make due what waits for a moment after `latest`.

        No wait is that long: the clock went ahead when it was set, and was put right since.

        Returns
        -------
        int
            How many waits were ended.
        """
        return sum(
            self._shorten(table, keyword, which, latest, now) for table, keyword, which in _WAITS
        )

    def _shorten(
        self, table: _Table, keyword: str, which: _Conditions, latest: datetime, now: datetime
    ) -> int:
        moment = col(getattr(table, keyword))
        too_long = (moment > latest, *which)
        with self._database.read() as session:
            # Nearly always there is none, and nobody shall wait for the right to write.
            if session.exec(select(moment).where(*too_long).limit(1)).first() is None:
                return 0
        with self._database.write() as session:
            return session.exec(update(table).where(*too_long).values({keyword: now})).rowcount
