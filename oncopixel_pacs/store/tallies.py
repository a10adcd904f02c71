"""Sums by day and week, kept beside what they count: monitoring reads a few rows, not all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Field, Session, SQLModel


class ShadowTallyRow(SQLModel, table=True):
    """Answers of one shadow model version on one day, in UTC.

    `both` to `neither` count studies by who calls them suspicious. Of the `scored` ones, which
    both gave a score, the others are sums: of each score, of its square, and of the product.
    """

    __tablename__ = "shadow_tally"

    day: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    version: str = Field(primary_key=True)
    task: str = Field(primary_key=True)
    failed: int = 0
    both: int = 0
    only_shadow: int = 0
    only_active: int = 0
    neither: int = 0
    scored: int = 0
    score: float = 0.0
    active_score: float = 0.0
    score_2: float = 0.0
    active_score_2: float = 0.0
    product: float = 0.0


class FeedbackTallyRow(SQLModel, table=True):
    """Findings of one model version on which readers said something in one week, by its Monday."""

    __tablename__ = "feedback_tally"

    week: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    version: str = Field(primary_key=True)
    accepted: int = 0
    rejected: int = 0
    divided: int = 0


def day_of(moment: datetime) -> str:
    """Day of a moment in UTC, as ISO 8601 has it."""
    return f"{moment.astimezone(UTC):%Y-%m-%d}"


def start_of(day: str) -> datetime:
    """Midnight at the beginning of a day that `day_of` or `monday_of` named."""
    return datetime.fromisoformat(f"{day}T00:00Z")


def monday_of(moment: datetime) -> str:
    """Monday of a moment's week in UTC, as ISO 8601 has it."""
    at = moment.astimezone(UTC)
    return day_of(at - timedelta(days=at.weekday()))


def add(
    session: Session, table: type[SQLModel], key: Mapping[str, str], numbers: Mapping[str, float]
) -> None:
    """Add these numbers to those of a row, which is made when it is missing."""
    insert, rows = _insert_into(session, table)
    first = dict.fromkeys((item.name for item in rows.c if item.name not in key), 0)
    statement = insert(rows).values(**key, **{**first, **numbers})
    session.connection().execute(
        statement.on_conflict_do_update(
            index_elements=list(key),
            set_={name: rows.c[name] + statement.excluded[name] for name in numbers},
        )
    )


def insert_new(session: Session, table: type[SQLModel], row: Mapping[str, Any]) -> bool:
    """Insert a row unless there is one of its key; returns whether it was inserted."""
    insert, rows = _insert_into(session, table)
    full = {**table(**row).model_dump(), **row}
    made = insert(rows).values(**full).on_conflict_do_nothing().returning(*rows.primary_key)
    return session.connection().execute(made).first() is not None


def _insert_into(session: Session, table: type[SQLModel]) -> tuple[Any, Any]:
    dialect = session.get_bind().dialect.name
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert, table.__table__  # type: ignore[attr-defined]


def add_differences(
    session: Session,
    before: Iterable[tuple[str, str, str, str]],
    after: Iterable[tuple[str, str, str, str]],
) -> None:
    """Move findings between verdicts: each is its week, model, version and verdict."""
    moved = Counter(after)
    moved.subtract(Counter(before))
    for (week, model, version, verdict), number in moved.items():
        if number:
            key = {"week": week, "model": model, "version": version}
            add(session, FeedbackTallyRow, key, {verdict: number})
