"""The workflow on PostgreSQL: the same program, another URL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from conftest import Store, opened
from postgresql_server import PostgresqlServer
from sqlmodel import Session
from workflow_builder import (
    PretendedModel,
    PretendedPacs,
    Works,
    accept,
    engine_threads,
    folder_destination,
    install,
    put_off,
    running,
    until,
)

from oncopixel_pacs.domain import Job, JobState
from oncopixel_pacs.errors import AnalysisFailed, OutOfResources
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.database import open_database


@pytest.fixture
def store(postgresql: PostgresqlServer, tmp_path: Path) -> Iterator[Store]:
    """Open a store on PostgreSQL."""
    yield from opened(postgresql.empty_database(), tmp_path)


@pytest.fixture
def pacs(monkeypatch: pytest.MonkeyPatch) -> PretendedPacs:
    return install(monkeypatch, PretendedPacs(accept))


@pytest.fixture
def works(store: Store, tmp_path: Path, pacs: PretendedPacs) -> Iterator[Works]:
    """Run the workflow with a pretended archive, and one image received."""
    built = Works(store, PretendedModel(), (folder_destination(tmp_path / "out"),))
    with running(built):
        built.receive(tmp_path / "in")
        yield built


def test_a_study_becomes_delivered_results(works: Works, pacs: PretendedPacs) -> None:
    job = works.finished(works.settle().id)
    assert (job.state, job.error) == (JobState.DONE, "")
    assert {uid for uid, _ in pacs.received} == {item.sop_instance_uid for item in job.objects}


def test_an_archive_that_is_down_gets_the_results_later(works: Works, pacs: PretendedPacs) -> None:
    pacs.answer = put_off
    job = works.settle()
    until(lambda: len(pacs.received) >= 4)
    pacs.answer = accept
    assert works.finished(job.id).state is JobState.DONE
    assert len(works.model.asked) == 1


def test_work_under_way_when_the_server_stopped_is_done_once(
    works: Works, pacs: PretendedPacs, tmp_path: Path
) -> None:
    works.receive_studies(tmp_path / "more", 2)
    works.model.go.clear()
    jobs = works.settler.settle_complete()
    works.model.busy.wait(30)
    works.model.ended = AnalysisFailed("The server is stopping.")
    works.stop()
    works.model.go.set()
    until(lambda: not engine_threads())
    works.model.ended = None
    works.start()
    assert {works.finished(job.id).state for job in jobs} == {JobState.DONE}
    uids = [uid for uid, _ in pacs.received]
    assert len(uids) == len(set(uids)) == 6


def test_settling_and_queueing_are_one_transaction(works: Works) -> None:
    study = works.store.catalogue.study("2.25.1000")

    def refuse(session: Session, job: Job, run: int) -> None:
        works.queue.enqueue_study(session, job.id, run)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        works.store.catalogue.settle(study, "d", "job", study.last_received_at, refuse)
    assert works.queue.states(["job"]) == {}
    assert works.store.catalogue.study("2.25.1000") == study


def test_a_lost_job_is_mended(works: Works) -> None:
    study = works.store.catalogue.study("2.25.1000")
    works.store.catalogue.settle(study, "d", "lost", study.last_received_at, lambda *_: None)
    assert works.reconciler.reconcile() == 1
    assert works.finished("lost").state is JobState.DONE


def test_many_hosts_that_settle_at_once_make_one_job(works: Works) -> None:
    found: list[int] = []
    barrier = threading.Barrier(4)

    def settle() -> None:
        barrier.wait()
        found.append(len(works.settler.settle_complete()))

    threads = [threading.Thread(target=settle) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 0, 0, 1]


def test_a_database_that_restarts_in_the_middle_loses_nothing(
    works: Works, postgresql: PostgresqlServer, pacs: PretendedPacs
) -> None:
    works.model.go.clear()
    job = works.settle()
    works.model.busy.wait(30)
    postgresql.restart()
    works.model.go.set()
    done = works.finished(job.id)
    assert (done.state, done.error) == (JobState.DONE, "")
    uids = [uid for uid, _ in pacs.received]
    assert len(uids) == len(set(uids))
    assert len(works.model.asked) <= 2


@pytest.mark.parametrize("way", ["write", "write_rows", "write_directly"])
def test_a_server_that_was_read_only_takes_writes_again_without_a_restart(
    postgresql: PostgresqlServer, way: str
) -> None:
    """Connections stay as they began: everything was refused for ever, and nothing said so."""
    url = postgresql.prepared_database()
    own = sa.create_engine(
        sa.make_url(url).set(database="postgres"),
        isolation_level="AUTOCOMMIT",
        poolclass=sa.NullPool,
    )

    def set_read_only(word: str) -> None:
        with own.connect() as connection:
            connection.exec_driver_sql(
                f"ALTER DATABASE copy SET default_transaction_read_only = {word}"
            )

    def write() -> None:
        with getattr(database, way)() as where:
            statement = "DELETE FROM job"
            where.execute(statement if way == "write_directly" else sa.text(statement))

    set_read_only("on")
    with closing(open_database(url)) as database:
        with database.read() as one, database.read() as another:
            for session in (one, another):  # so that two connections are kept
                session.connection().exec_driver_sql("SELECT 1")
        with pytest.raises(OutOfResources, match="does not take a write"):
            Catalogue(database).check_writable()
        with database.read() as one, database.read() as another:
            for session in (one, another):
                session.connection().exec_driver_sql("SELECT 1")
        set_read_only("off")
        with pytest.raises(OutOfResources, match="does not take a write"):
            write()
        for _ in range(3):
            write()
        Catalogue(database).check_writable()


def test_the_tables_of_the_engine_lie_beside_the_ledger(works: Works) -> None:
    tables = sa.inspect(works.store.database.engine)
    assert "workflow_status" in tables.get_table_names(schema="dbos")
    assert "job" in tables.get_table_names()


def test_a_host_that_falls_silent_in_a_transaction_does_not_hold_its_locks(store: Store) -> None:
    # Less than the 30 s within which its work is to be taken over.
    with store.database.engine.connect() as connection:
        limit = connection.execute(sa.text("SHOW idle_in_transaction_session_timeout")).scalar_one()
    assert limit == "15s"


def test_a_server_that_says_nothing_is_given_up_in_seconds(store: Store) -> None:
    with store.database.engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        said = driver.info.get_parameters()
    # A machine without power answers nothing: TCP alone would wait for a quarter of an hour.
    assert (said["connect_timeout"], said["tcp_user_timeout"]) == ("10", "20000")


def test_what_the_address_says_of_the_connection_goes_before(postgresql: PostgresqlServer) -> None:
    url = f"{postgresql.empty_database()}?connect_timeout=3"
    with closing(open_database(url)) as database, database.engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        assert driver.info.get_parameters()["connect_timeout"] == "3"
