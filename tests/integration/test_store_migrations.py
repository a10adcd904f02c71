"""Migrations on each database: they lead to the tables, and survive two starts at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from conftest import Store

from oncopixel_pacs.store import database
from oncopixel_pacs.store.tables import StudyRow

MIGRATIONS = Path(database.__file__).parent / "migrations"
START = """
import sys
from oncopixel_pacs.store.database import open_database
print("ready", flush=True)
sys.stdin.readline()
open_database(sys.argv[1]).close()
"""


def test_the_last_migration_makes_the_tables_of_the_program(any_store: Store) -> None:
    tables = StudyRow.metadata
    with any_store.database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "include_name": lambda name, kind, _: kind != "table" or name in tables.tables,
            },
        )
        assert compare_metadata(context, tables) == []
        assert context.get_current_revision() == ScriptDirectory(MIGRATIONS).get_current_head()


def test_there_is_one_last_migration() -> None:
    assert len(ScriptDirectory(MIGRATIONS).get_heads()) == 1


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_servers_may_start_at_once(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path / 'oncopixel.sqlite'}"
    if kind == "postgresql":
        url = request.getfixturevalue("postgresql").empty_database()
    servers = [
        subprocess.Popen(
            [sys.executable, "-c", START, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for server in servers:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
    for server in servers:
        assert server.stdin is not None
        server.stdin.write("go\n")
        server.stdin.flush()
    assert [server.communicate(timeout=60)[1] for server in servers] == ["", "", ""]
    assert [server.returncode for server in servers] == [0, 0, 0]
