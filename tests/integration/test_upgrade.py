"""A server with queued work is stopped, upgraded and goes on."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from conftest import Store, opened
from typer.testing import CliRunner
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

from oncopixel_pacs.cli import app
from oncopixel_pacs.deliver import Outcome, OutgoingObject
from oncopixel_pacs.domain import JobState
from oncopixel_pacs.errors import AnalysisFailed, ConfigurationError
from oncopixel_pacs.store import database
from oncopixel_pacs.store.database import open_database
from oncopixel_pacs.workflow import engine

NEXT_MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = {head!r}
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job", sa.Column("note", sa.String(), nullable=True))
    op.execute("UPDATE job SET note = 'from before the upgrade'")
"""


@pytest.fixture
def pacs(monkeypatch: pytest.MonkeyPatch) -> PretendedPacs:
    return install(monkeypatch, PretendedPacs(accept))


@pytest.fixture
def works(request: pytest.FixtureRequest, tmp_path: Path, pacs: PretendedPacs) -> Iterator[Works]:
    """Run the workflow with three studies received."""
    kept_in = "any_store" if "any_store" in request.fixturenames else "store"
    store: Store = request.getfixturevalue(kept_in)
    built = Works(store, PretendedModel(), (folder_destination(tmp_path / "out"),))
    with running(built):
        built.receive_studies(tmp_path / "in", 3)
        yield built


def stop_in_the_middle(works: Works) -> list[str]:
    """Stop with one job under way and two in the queue; returns their ids."""
    works.model.go.clear()
    jobs = [job.id for job in works.settler.settle_complete()]
    works.model.busy.wait(30)
    works.model.ended = AnalysisFailed("The server is stopping.")
    works.stop()
    works.model.go.set()
    until(lambda: not engine_threads())
    works.model.ended = None
    return jobs


def install_next_schema(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Put a version in place whose schema has one more migration."""
    head = sorted(path.name[:4] for path in (database.MIGRATIONS / "versions").glob("0*.py"))[-1]
    shutil.copytree(database.MIGRATIONS, folder / "migrations")
    new = folder / "migrations" / "versions" / f"{int(head) + 1:04}_next.py"
    new.write_text(NEXT_MIGRATION.format(head=head), encoding="utf-8")
    monkeypatch.setattr(database, "MIGRATIONS", folder / "migrations")


def url_of(store: Store) -> str:
    return store.database.engine.url.render_as_string(hide_password=False)


@pytest.mark.usefixtures("any_store")
def test_queued_work_goes_on_across_a_new_schema_and_a_new_version(
    works: Works, pacs: PretendedPacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = stop_in_the_middle(works)
    install_next_schema(monkeypatch, tmp_path)
    for store in opened(url_of(works.store), works.store.files.data_dir):
        upgraded = Works(store, PretendedModel(), works.destinations, software_version="0.2.0")
        with running(upgraded):
            assert {upgraded.finished(job).state for job in jobs} == {JobState.DONE}
        with store.database.engine.connect() as connection:
            notes = connection.execute(sa.text("SELECT DISTINCT note FROM job")).scalars().all()
    assert notes == ["from before the upgrade"]
    uids = [uid for uid, _ in pacs.received]
    assert len(uids) == len(set(uids)) == 6


def test_work_of_workflows_with_other_steps_is_begun_again(
    works: Works, pacs: PretendedPacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = stop_in_the_middle(works)
    monkeypatch.setattr(engine, "ENGINE_VERSION", "2")
    works.start()
    assert works.reconciler.reconcile() == 3
    assert {works.finished(job).state for job in jobs} == {JobState.DONE}
    assert works.reconciler.reconcile() == 0
    uids = [uid for uid, _ in pacs.received]
    assert len(uids) == len(set(uids)) == 6


def test_deliveries_that_waited_through_an_upgrade_are_sent_and_not_computed_again(
    works: Works, pacs: PretendedPacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs.answer = put_off
    jobs = [job.id for job in works.settler.settle_complete()]
    until(lambda: all(works.job(job).state is JobState.DELIVERING for job in jobs))
    works.stop()
    until(lambda: not engine_threads())
    asked = len(works.model.asked)
    pacs.answer = accept
    monkeypatch.setattr(engine, "ENGINE_VERSION", "2")
    works.start()
    works.reconciler.reconcile()
    assert {works.finished(job).state for job in jobs} == {JobState.DONE}
    assert len(works.model.asked) == asked


def test_a_delivery_cut_off_beside_one_that_waits_goes_on_after_an_upgrade(
    works: Works, pacs: PretendedPacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending, go_on = threading.Event(), threading.Event()

    def wait_at_the_second(item: OutgoingObject) -> Outcome:
        if len({uid for uid, _ in pacs.received}) % 2:
            return put_off(item)
        sending.set()
        go_on.wait(30)
        raise engine.Interrupted

    pacs.answer = wait_at_the_second
    jobs = [job.id for job in works.settler.settle_complete()]
    assert sending.wait(30)
    works.stop()
    go_on.set()
    until(lambda: not engine_threads())
    pacs.answer = accept
    monkeypatch.setattr(engine, "ENGINE_VERSION", "2")
    works.start()
    works.reconciler.reconcile()
    assert {works.finished(job).state for job in jobs} == {JobState.DONE}


def test_an_older_host_leaves_the_work_of_a_newer_one_alone(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    works.model.go.clear()
    with monkeypatch.context() as patch:
        patch.setattr(engine, "ENGINE_VERSION", "2")
        works.settler.settle_complete()
    assert works.reconciler.reconcile() == 0


def test_commands_of_a_newer_version_leave_the_database_to_the_server_that_runs(
    any_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir, url = any_store.files.data_dir, url_of(any_store)
    config = tmp_path / "oncopixel.toml"
    config.write_text(
        f'data_dir = "{data_dir}"\ndatabase_url = "{url}"\n[receive]\nleast_free_bytes = 1\n',
        encoding="utf-8",
    )
    with monkeypatch.context() as patch:
        install_next_schema(patch, tmp_path)
        for command in ("doctor", "jobs list", "users list", f"backup {tmp_path / 'backup'}"):
            told = CliRunner().invoke(app, [*command.split(), "--config", str(config)])
            said = f"{told.output} {told.exception}".replace("│", " ")
            assert "of an older version" in " ".join(said.split())
    open_database(url).close()


def test_a_database_of_a_newer_version_is_refused_in_words(
    works: Works, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works.stop()
    with monkeypatch.context() as patch:
        install_next_schema(patch, tmp_path)
        open_database(url_of(works.store)).close()
    with pytest.raises(ConfigurationError, match="made by a newer version"):
        open_database(url_of(works.store))
    works.start()
