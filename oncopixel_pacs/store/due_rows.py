"""Rows that are due at a moment, taken by one host at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlmodel import Session
from sqlmodel.sql.expression import SelectOfScalar

from oncopixel_pacs.store.database import Database

Row = TypeVar("Row")
Taken = TypeVar("Taken")


def take_due(
    database: Database, due: SelectOfScalar[Row], take: Callable[[Session, Row], Taken]
) -> Taken | None:
    """Take the first row that is due, in one transaction; ``None`` when there is none.

    Parameters
    ----------
    due
        Selects it.
    take
        Changes it so that it is due no more, and says what was taken.
    """
    with database.read() as session:
        # Nearly always there is none, and nobody shall wait for the right to write.
        if session.exec(due).first() is None:
            return None
    with database.write() as session:
        row = session.exec(due.with_for_update(skip_locked=True)).first()
        return None if row is None else take(session, row)
