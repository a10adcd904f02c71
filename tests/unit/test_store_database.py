"""The embedded database: durable, up to date, and clear about what it lacks."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

import alembic.command
import pytest
import sqlalchemy as sa
from builders import make_instance
from conftest import Store

from oncopixel_pacs.domain import IntakeOutcome, StudyHeader
from oncopixel_pacs.errors import ConfigurationError, OutOfResources
from oncopixel_pacs.store import database as database_module
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.database import SQLITE_NEEDED, open_database


def url_in(folder: Path) -> str:
    return f"sqlite:///{folder / 'oncopixel.sqlite'}"


def refusal(url: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        open_database(url)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_connection_loses_nothing_at_a_power_cut(store: Store) -> None:
    found = []

    def ask() -> None:
        with store.database.engine.connect() as connection:
            barrier.wait()
            found.append(
                tuple(
                    connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                    for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
                )
            )

    barrier = threading.Barrier(4)
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [("wal", 2, 1, 10_000)] * 4


def test_the_engine_finds_a_new_enough_sqlite(store: Store) -> None:
    with store.database.engine.connect() as connection:
        version = connection.exec_driver_sql("SELECT sqlite_version()").scalar_one()
        assert tuple(map(int, version.split("."))) >= SQLITE_NEEDED
        assert connection.exec_driver_sql("SELECT unixepoch('subsec')").scalar_one() is not None


def test_an_old_sqlite_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 40, 1))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.40.1")
    monkeypatch.setitem(sys.modules, "pysqlite3", ModuleType("pysqlite3"))
    monkeypatch.setitem(sys.modules, "pysqlite3.dbapi2", None)
    sentence = refusal(url_in(tmp_path))
    assert "3.40.1 is too old" in sentence
    assert "pysqlite3-binary" in sentence


def test_a_new_sqlite_needs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 45, 0))
    assert database_module._sqlite_module() is sqlite3


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////nowhere/at/all/oncopixel.sqlite",
        "postgresql+psycopg://nobody@127.0.0.1:1/none",
        "nosuchdialect://x",
        "not a url",
    ],
)
def test_a_database_that_cannot_be_opened_is_refused(url: str) -> None:
    assert "check database_url" in refusal(url)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "oncopixel.sqlite").write_bytes(b"not a database" * 100)
    assert "check database_url" in refusal(url_in(tmp_path))


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    database = open_database(url_in(tmp_path))
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    assert "newer version" in refusal(url_in(tmp_path))


def test_a_current_database_is_opened_while_another_process_writes(store: Store) -> None:
    url = store.database.engine.url.render_as_string(hide_password=False)
    with store.database.write(), contextlib.closing(open_database(url, busy_timeout_ms=1)) as other:
        assert Catalogue(other).studies(limit=1).items == ()


def test_a_start_that_dies_in_the_middle_of_a_migration_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        upgrade(*_)
        raise KeyboardInterrupt

    upgrade = alembic.command.upgrade
    monkeypatch.setattr(alembic.command, "upgrade", die)
    with pytest.raises(KeyboardInterrupt):
        open_database(url_in(tmp_path))
    monkeypatch.undo()
    with sqlite3.connect(tmp_path / "oncopixel.sqlite") as left:
        assert left.execute("SELECT name FROM sqlite_master").fetchall() == []
    left.close()
    database = open_database(url_in(tmp_path))
    database.close()


def test_a_locked_database_is_reported_within_bounds(store: Store, tmp_path: Path) -> None:
    database = open_database(url_in(tmp_path), busy_timeout_ms=100)
    catalogue = Catalogue(database)
    with store.database.write():
        started = time.monotonic()
        with pytest.raises(OutOfResources, match="does not take a write now"):
            catalogue.add_instance(make_instance(), StudyHeader())
        assert 0.1 <= time.monotonic() - started < 2
    assert catalogue.add_instance(make_instance(), StudyHeader()) is IntakeOutcome.NEW
    database.close()


def test_a_write_that_fails_leaves_nothing(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.database.write() as session:
        session.connection().exec_driver_sql("DELETE FROM alembic_version")
        raise ZeroDivisionError
    with store.database.read() as session:
        kept = session.connection().exec_driver_sql("SELECT count(*) FROM alembic_version")
        assert kept.scalar_one() == 1


def test_a_database_that_is_gone_is_reported_by_reads_and_writes(store: Store) -> None:
    with store.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE study RENAME TO away")
    with pytest.raises(OutOfResources):
        store.catalogue.add_instance(make_instance(), StudyHeader())
    with pytest.raises(OutOfResources, match="cannot be read now"):
        store.catalogue.studies()


def test_reads_do_not_wait_for_a_writer(store: Store) -> None:
    store.catalogue.add_instance(make_instance(), StudyHeader())
    with store.database.write() as session:
        session.connection().exec_driver_sql("DELETE FROM instance")
        assert len(store.catalogue.studies().items[0].instances) == 1


def test_opening_an_existing_database_keeps_what_is_in_it(tmp_path: Path) -> None:
    for expected in (IntakeOutcome.NEW, IntakeOutcome.DUPLICATE):
        database = open_database(url_in(tmp_path))
        outcome = Catalogue(database).add_instance(make_instance(), StudyHeader())
        assert outcome is expected
        database.close()


def test_the_error_of_a_refused_login_holds_no_password() -> None:
    sentence = refusal("postgresql+psycopg://user:s3cret@127.0.0.1:1/none")
    assert "s3cret" not in sentence


def test_a_broken_url_holds_no_password() -> None:
    assert "s3cret" not in refusal("postgresql+psycopg//user:s3cret@host/none")


def test_sqlalchemy_has_no_connection_left_open(store: Store) -> None:
    store.catalogue.add_instance(make_instance(), StudyHeader())
    store.catalogue.studies()
    pool = store.database.engine.pool
    assert isinstance(pool, sa.pool.QueuePool)
    assert pool.checkedout() == 0


def test_whoever_adds_an_image_while_the_database_is_gone_is_told_to_send_again(
    tmp_path: Path,
) -> None:
    """A driver's own error was taken for a defect: senders got 0xC001, which is for good."""
    database = open_database(url_in(tmp_path))
    database.engine.dispose()
    (tmp_path / "oncopixel.sqlite").unlink()
    (tmp_path / "oncopixel.sqlite").mkdir()
    with (
        pytest.raises(OutOfResources, match="does not take a write now"),
        database.write_directly() as cursor,
    ):
        cursor.execute("SELECT 1")
