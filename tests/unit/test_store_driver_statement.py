"""Statements that go to the driver as text do what SQLAlchemy would have done with them."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from datetime import UTC, datetime

import pytest
from sqlalchemy import (
    JSON,
    Column,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    create_engine,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from oncopixel_pacs.domain import Laterality
from oncopixel_pacs.store.driver_statement import DriverStatement
from oncopixel_pacs.store.rows import dump_facts, write_facts
from oncopixel_pacs.store.tables import UtcDateTime
from tests.builders import make_facts

TABLE = Table(
    "thing",
    MetaData(),
    Column("uid", String, primary_key=True),
    Column("number", Integer),
    Column("at", UtcDateTime()),
    Column("said", JSON),
)
NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


def row(uid: str, **changes: object) -> dict[str, object]:
    return {"uid": uid, "number": 1, "at": NOON, "said": '{"a": [1, null]}', **changes}


def test_rows_read_back_as_they_were_given() -> None:
    engine = create_engine("sqlite://")
    TABLE.metadata.create_all(engine)
    add = DriverStatement(insert(TABLE), engine.dialect, as_text=("said",))
    change = DriverStatement(
        update(TABLE)
        .where(TABLE.c.uid == bindparam("one"), TABLE.c.number == 1)
        .values(at=bindparam("then"), number=7),
        engine.dialect,
    )
    later = NOON.replace(hour=13)
    with contextlib.closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        assert add.execute(cursor, [row("a")]) == 1
        assert add.execute(cursor, [row("b"), row("c", number=None)]) == 2
        assert change.execute(cursor, [{"one": "a", "then": later}]) == 1
        assert change.execute(cursor, [{"one": "a", "then": NOON}]) == 0
        with pytest.raises(sqlite3.IntegrityError):
            add.execute(cursor, [row("a")])
        connection.commit()
    with engine.connect() as reading:
        held = reading.execute(select(TABLE).order_by(TABLE.c.uid)).all()
    engine.dispose()
    assert [tuple(item) for item in held] == [
        ("a", 7, later, {"a": [1, None]}),
        ("b", 1, NOON, {"a": [1, None]}),
        ("c", None, NOON, {"a": [1, None]}),
    ]


def test_values_keep_their_names_where_the_driver_knows_names() -> None:
    statement = DriverStatement(insert(TABLE), PGDialect_psycopg(), as_text=("said",))
    assert statement._parameters(row("a")) == row("a", at=NOON.replace(tzinfo=None))


@pytest.mark.parametrize("text", ['Ä "quoted" \\ \0 \u2028 山田', "half a character \udcff"])
def test_facts_written_as_text_are_the_facts_written_as_values(text: str) -> None:
    facts = make_facts(
        series_description=text,
        laterality=Laterality.LEFT,
        spacing_mm=(0.07, 1 / 3),
    )
    assert json.loads(write_facts(facts)) == dump_facts(facts)
