"""Backup and restore: the drill that ends with digests compared, on each database."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from api_builders import make_parts, serving
from conftest import Store, opened
from postgresql_server import PostgresqlServer
from typer.testing import CliRunner
from workflow_builder import (
    PretendedModel,
    PretendedPacs,
    Works,
    accept,
    engine_threads,
    folder_destination,
    install,
    running,
    until,
)

from oncopixel_pacs.bootstrap import Role, Server
from oncopixel_pacs.cli import app
from oncopixel_pacs.domain import JobState
from oncopixel_pacs.errors import AnalysisFailed, ConfigurationError
from oncopixel_pacs.receive.intake import is_intact
from oncopixel_pacs.settings import Settings
from oncopixel_pacs.store.backup import MANIFEST, find_damage, make_backup, restore_backup
from oncopixel_pacs.store.database import open_database
from oncopixel_pacs.store.files import FileStore
from oncopixel_pacs.store.held_files import verify
from oncopixel_pacs.store.ownership import give_new_to_owner, give_to_owner

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def pacs(monkeypatch: pytest.MonkeyPatch) -> PretendedPacs:
    return install(monkeypatch, PretendedPacs(accept))


@pytest.fixture
def works(request: pytest.FixtureRequest, tmp_path: Path, pacs: PretendedPacs) -> Iterator[Works]:
    """Run the workflow with two studies received."""
    kept_in = "any_store" if "any_store" in request.fixturenames else "store"
    store: Store = request.getfixturevalue(kept_in)
    built = Works(store, PretendedModel(), (folder_destination(tmp_path / "out"),))
    with running(built):
        built.receive_studies(tmp_path / "in", 2)
        yield built


def url_of(store: Store) -> str:
    return store.database.engine.url.render_as_string(hide_password=False)


def back_up(works: Works, folder: Path) -> int:
    store = works.store
    return make_backup(store.database, store.files, folder, "0.1.0", NOW)[1]


def end(works: Works) -> None:
    works.model.ended = AnalysisFailed("The server is stopping.")
    works.stop()
    works.model.go.set()
    until(lambda: not engine_threads())
    works.model.ended = None


@pytest.mark.usefixtures("any_store")
def test_the_drill_a_restored_server_goes_on_where_the_backup_stood(
    works: Works, pacs: PretendedPacs, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    works.model.go.clear()
    jobs = [job.id for job in works.settler.settle_complete()]
    works.model.busy.wait(30)
    back_up(works, tmp_path / "backup")
    end(works)
    # The machine is lost whole.
    url = f"sqlite:///{tmp_path / 'second' / 'oncopixel.sqlite'}"
    if works.store.database.engine.dialect.name == "postgresql":
        works.store.database.close()
        server: PostgresqlServer = request.getfixturevalue("postgresql")
        url = server.empty_database()
    restore_backup(tmp_path / "backup", tmp_path / "second", url)
    for store in opened(url, tmp_path / "second"):
        again = Works(store, PretendedModel(), works.destinations)
        with running(again):
            assert {again.finished(job).state for job in jobs} == {JobState.DONE}
        found = verify(store.database, store.files, is_intact)
        assert (found.instances, found.damaged) == (2, ())
        assert found.results == sum(len(store.ledger.job(job).objects) for job in jobs) == 4
    uids = [uid for uid, _ in pacs.received]
    assert len(uids) == len(set(uids)) == 4


def test_a_second_backup_copies_only_what_is_new(works: Works, tmp_path: Path) -> None:
    first = back_up(works, tmp_path / "backup")
    job = works.settler.settle_complete()[0]
    works.finished(job.id)
    end(works)
    second = back_up(works, tmp_path / "backup")
    assert first == 2
    assert second > 0
    assert back_up(works, tmp_path / "backup") == 0
    kept = list((tmp_path / "backup" / "files" / "instances").rglob("*.dcm"))
    assert len(kept) == 2
    assert len(list((tmp_path / "backup").glob("database-*"))) == 1
    assert find_damage(tmp_path / "backup") == []


def test_damage_is_found_and_never_restored(works: Works, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    back_up(works, backup)
    victim = next((backup / "files" / "instances").rglob("*.dcm"))
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    assert find_damage(backup) == [str(victim.relative_to(backup))]
    with pytest.raises(ConfigurationError, match="is damaged"):
        restore_backup(backup, tmp_path / "second", f"sqlite:///{tmp_path / 'second.sqlite'}")
    assert not (tmp_path / "second.sqlite").exists()


@pytest.mark.usefixtures("any_store")
def test_nothing_is_restored_over_what_is_there(works: Works, tmp_path: Path) -> None:
    back_up(works, tmp_path / "backup")
    with pytest.raises(ConfigurationError, match="holds files already"):
        restore_backup(tmp_path / "backup", works.store.files.data_dir, "sqlite:///new.sqlite")
    with pytest.raises(ConfigurationError, match="holds tables already|There is a database"):
        restore_backup(tmp_path / "backup", tmp_path / "second", url_of(works.store))
    if works.store.database.engine.dialect.name == "postgresql":
        elsewhere = works.store.database.engine.url.set(database="missing")
        url = elsewhere.render_as_string(hide_password=False)
        with pytest.raises(ConfigurationError, match="cannot be opened"):
            restore_backup(tmp_path / "backup", tmp_path / "third", url)


def test_an_interrupted_backup_is_none_and_is_begun_again(works: Works, tmp_path: Path) -> None:
    back_up(works, tmp_path / "backup")
    (tmp_path / "backup" / MANIFEST).unlink()
    with pytest.raises(ConfigurationError, match="no finished backup"):
        find_damage(tmp_path / "backup")
    assert back_up(works, tmp_path / "backup") == 2


def test_a_file_that_is_gone_is_named_and_the_earlier_backup_stays(
    works: Works, tmp_path: Path
) -> None:
    back_up(works, tmp_path / "backup")
    back_up(works, tmp_path / "backup")
    study = works.store.catalogue.studies().items[0]
    works.store.files.absolute(study.instances[0].path).unlink()
    for folder in ("backup", "another"):
        with pytest.raises(ConfigurationError) as refused:
            back_up(works, tmp_path / folder)
        assert study.instances[0].path in str(refused.value)
        assert f"of study {study.study_instance_uid}, is gone from data_dir" in str(refused.value)
    assert find_damage(tmp_path / "backup") == []
    assert len(list((tmp_path / "backup" / "files" / "instances").rglob("*.dcm"))) == 2


@pytest.mark.parametrize("told", [True, False], ids=["format 2", "format 1"])
def test_the_backup_of_another_database_is_left_alone(
    works: Works, tmp_path: Path, told: bool
) -> None:
    """The volume was not mounted, and what runs there began a new database."""
    backup = tmp_path / "backup"
    back_up(works, backup)
    if not told:
        manifest = json.loads((backup / MANIFEST).read_text(encoding="utf-8"))
        del manifest["installation"]
        text = json.dumps({**manifest, "format": 1})
        (backup / MANIFEST).write_text(text, encoding="utf-8")
    (tmp_path / "root").mkdir()
    database = open_database(f"sqlite:///{tmp_path / 'root' / 'oncopixel.sqlite'}")
    files = FileStore(tmp_path / "root")
    with pytest.raises(ConfigurationError, match="of another database, and stays as it is"):
        make_backup(database, files, backup, "1.0", NOW)
    database.close()
    assert find_damage(backup) == []
    assert len(list((backup / "files" / "instances").rglob("*.dcm"))) == 2
    assert back_up(works, backup) == 0


@pytest.mark.usefixtures("any_store")
def test_backups_that_come_no_more_are_an_alarm(any_store: Store, tmp_path: Path) -> None:
    clock = [NOW]
    with serving(make_parts(any_store, now=lambda: clock[0])) as client:

        def told() -> str:
            return client.get("/api/v1/alarms").text + client.get("/").text

        def back_up_now() -> None:
            make_backup(any_store.database, any_store.files, tmp_path / "backup", "1.0", clock[0])

        assert "last backup" not in told()
        back_up_now()
        clock[0] += timedelta(days=7)
        assert "last backup" not in told()
        clock[0] += timedelta(days=2)
        assert told().count("The last backup is of 2026-11-21: see why there was none since") == 2
        back_up_now()
        assert "last backup" not in told()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files that others cannot write")
def test_what_root_does_in_the_data_directory_leaves_everything_to_the_server(
    store: Store, tmp_path: Path
) -> None:
    """The service runs as a user of its own, and who administers it is root."""
    Works(store, PretendedModel()).receive(tmp_path / "in")
    make_backup(store.database, store.files, tmp_path / "backup", "1.0", NOW)
    config = tmp_path / "service" / "oncopixel.toml"
    data_dir = config.parent / "data"
    (data_dir / "instances").mkdir(parents=True)
    for path in (data_dir, data_dir / "instances"):
        os.chown(path, 12345, 12345)
    config.write_text('data_dir = "data"\n', encoding="utf-8")

    def strangers() -> list[Path]:
        return [path for path in data_dir.rglob("*") if path.stat().st_uid != 12345]

    for words in (
        ["restore", str(tmp_path / "backup")],
        ["backup", str(tmp_path / "backup")],
        ["jobs", "list"],
    ):
        done = CliRunner().invoke(app, [*words, "--config", str(config)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert len(list(data_dir.rglob("*.dcm"))) == 1
        assert strangers() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files that others cannot write")
def test_files_that_move_meanwhile_do_not_stop_a_command_of_root(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    (tmp_path / "stays").touch()
    give_to_owner(tmp_path, tmp_path / "gone")
    give_new_to_owner(tmp_path)
    assert (tmp_path / "stays").stat().st_uid == 12345


def test_a_server_whose_volume_is_not_mounted_takes_nothing(store: Store, tmp_path: Path) -> None:
    Works(store, PretendedModel()).receive(tmp_path / "in")
    settings = Settings(data_dir=tmp_path / "unmounted", database_url=url_of(store), dimse_port=0)
    with pytest.raises(ConfigurationError, match="see that the volume is mounted"):
        Server(settings, [Role.RECEIVE]).start()


def test_commands_begin_no_new_database(tmp_path: Path) -> None:
    config = tmp_path / "oncopixel.toml"
    config.write_text('data_dir = "mistyped"\n', encoding="utf-8")
    for words in (["backup", str(tmp_path / "backup")], ["jobs", "list"], ["studies", "list"]):
        with pytest.raises(ConfigurationError, match="There is no database at .*mistyped"):
            CliRunner().invoke(app, [*words, "--config", str(config)], catch_exceptions=False)
    assert list(tmp_path.iterdir()) == [config]


def test_a_folder_with_something_else_is_left_alone(works: Works, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(ConfigurationError, match=r"cat\.jpg, which is no part of a backup"):
        back_up(works, tmp_path / "photos")


def test_verifying_sees_a_missing_and_a_changed_file(works: Works) -> None:
    store = works.store
    works.finished(works.settler.settle_complete()[0].id)
    first = store.catalogue.studies().items[0].instances[0]
    store.files.absolute(first.path).unlink()
    result = next(item for job in store.ledger.jobs().items for item in job.objects)
    with store.files.absolute(result.path).open("ab") as stream:
        stream.write(b"\0\0")
    found = verify(store.database, store.files, is_intact)
    assert set(found.damaged) == {first.path, result.path}


def test_the_commands_back_up_check_and_restore(store: Store, tmp_path: Path) -> None:
    works = Works(store, PretendedModel())
    works.receive(tmp_path / "in")
    first = tmp_path / "first.toml"
    first.write_text(f'data_dir = "{tmp_path}"\n', encoding="utf-8")
    second = tmp_path / "second" / "oncopixel.toml"
    second.parent.mkdir()
    second.write_text('data_dir = "data"\n', encoding="utf-8")
    backup = str(tmp_path / "backup")

    def said(*words: str) -> str:
        return CliRunner().invoke(app, list(words), catch_exceptions=False).output

    assert "Backed up 1 files" in said("backup", backup, "--config", str(first))
    assert said("restore", backup, "--check") == "1 files and the database have their digests.\n"
    text = said("restore", backup, "--config", str(second))
    assert text.endswith("1 images and 0 results have their digests.\n")
    (path,) = (second.parent / "data" / "instances").rglob("*.dcm")
    path.unlink()
    next((tmp_path / "backup" / "files").rglob("*.dcm")).unlink()
    broken = CliRunner().invoke(app, ["restore", backup, "--check"])
    assert broken.exit_code == 1
    assert "missing or damaged" in broken.output
