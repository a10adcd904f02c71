"""How many rows are in which state, as triggers of the database keep it: exact, at any number.

A migration makes the triggers on ``study``, ``job`` and ``delivery``; whatever changes these
tables, in whatever process, changes the counts in the same transaction. A migration that makes
one of the tables anew must make its triggers anew.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, func
from sqlmodel import Field, Session, SQLModel, col, select


class StateCountRow(SQLModel, table=True):
    """Rows of one table in one state; `place` is the destination of deliveries.

    The number is that of all slots together: on PostgreSQL each of the transactions that run at
    once counts in a slot of its own, so one may be below zero.
    """

    __tablename__ = "state_count"

    kind: str = Field(primary_key=True)
    place: str = Field(primary_key=True)
    state: str = Field(primary_key=True)
    slot: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    number: int = Field(sa_column=Column(BigInteger, nullable=False))


def state_counts(session: Session, kind: str) -> dict[tuple[str, str], int]:
    """Count the rows of a table by place and state; what there is none of is left out.

    Parameters
    ----------
    kind
        ``study``, ``job`` or ``delivery``.
    """
    number = func.sum(StateCountRow.number)
    query = (
        select(StateCountRow.place, StateCountRow.state, number)
        .where(StateCountRow.kind == kind)
        .group_by(col(StateCountRow.place), col(StateCountRow.state))
        .having(number != 0)
    )
    return {(place, state): int(found) for place, state, found in session.exec(query).all()}
