"""Backup and restore: the drill that ends with digests compared, on each database."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from api_builders import make_parts, receive, receive_other_content, serving
from builders import STUDY_UID
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
from oncopixel_pacs.opening import utc_now
from oncopixel_pacs.receive.intake import is_intact
from oncopixel_pacs.settings import Settings
from oncopixel_pacs.store import backup as backup_steps
from oncopixel_pacs.store import backup_folder
from oncopixel_pacs.store.backup import make_backup
from oncopixel_pacs.store.backup_folder import MANIFEST, find_damage
from oncopixel_pacs.store.conflicts import Conflicts
from oncopixel_pacs.store.database import open_database
from oncopixel_pacs.store.files import FileStore
from oncopixel_pacs.store.held_files import verify
from oncopixel_pacs.store.installation import Backups
from oncopixel_pacs.store.ownership import give_new_to_owner, give_to_owner
from oncopixel_pacs.store.restore import end_restore, restore_backup

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


def test_a_backup_that_ends_at_its_manifest_is_begun_again(
    works: Works, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target was full by then; what the first backup left kept every later one away."""
    (tmp_path / "backup" / "lost+found").mkdir(parents=True)
    with monkeypatch.context() as full:
        full.setattr(backup_folder, "asdict", run_out_of_room)
        with pytest.raises(ConfigurationError, match="check its rights and its free space"):
            back_up(works, tmp_path / "backup")
    # What was copied before need not be copied again.
    assert back_up(works, tmp_path / "backup") == 0
    assert find_damage(tmp_path / "backup") == []


def run_out_of_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def run_out_of_room_with_changes(folder: Path, _: object) -> None:
    if (folder / "changed").exists():
        run_out_of_room()


@pytest.mark.parametrize("ends_at", ["write_manifest", "put_changed_in_place"])
def test_the_backup_of_before_stays_whole_while_the_next_is_made(
    works: Works, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends_at: str
) -> None:
    """A study was read again between the two, which makes its label maps anew."""
    backup, labels = tmp_path / "backup", works.store.files.labels_dir("a job")
    for content in ("before", "after"):
        (labels / "image.npz").write_text(content, encoding="utf-8")
        if content == "after":
            with monkeypatch.context() as full:
                full.setattr(backup_steps, ends_at, run_out_of_room_with_changes)
                with pytest.raises(ConfigurationError, match="No space left"):
                    back_up(works, backup)
        else:
            back_up(works, backup)
    assert find_damage(backup) == []
    url = f"sqlite:///{tmp_path / 'second' / 'oncopixel.sqlite'}"
    restore_backup(backup, tmp_path / "second", url)
    held = next((tmp_path / "second" / "labels").rglob("*.npz")).read_text(encoding="utf-8")
    assert held == ("before" if ends_at == "write_manifest" else "after")
    back_up(works, backup)
    assert find_damage(backup) == []
    assert {path.name.partition("-")[0] for path in backup.iterdir()} == {
        "database",
        "files",
        MANIFEST,
    }


def test_label_maps_that_come_and_go_do_not_stop_a_backup(works: Works, tmp_path: Path) -> None:
    """Studies are read while it copies; a shadow model's maps are removed when it has answered."""
    labels = works.store.files.labels_dir("a shadow")
    for name in ("image.npz", ".image.part"):
        (labels / name).touch()

    def watch(paths: Sequence[Any]) -> Iterable[Any]:
        shutil.rmtree(labels, ignore_errors=True)
        return paths

    store = works.store
    manifest, _ = make_backup(store.database, store.files, tmp_path / "backup", "1.0", NOW, watch)
    assert len(manifest.files) == 2
    assert find_damage(tmp_path / "backup") == []


def test_content_that_proves_to_be_the_same_meanwhile_does_not_stop_a_backup(
    store: Store, tmp_path: Path
) -> None:
    """As while an archive sends again what it compressed: each is a conflict until it is read."""
    receive(store)
    receive_other_content(store)
    [conflict] = Conflicts(store.database).of_study(STUDY_UID)
    paths = [item.path for item in store.catalogue.study(STUDY_UID).instances]
    for path in (*paths, conflict.path):
        store.files.absolute(path).parent.mkdir(parents=True, exist_ok=True)
        store.files.absolute(path).write_bytes(b"an image")

    def watch(files: Sequence[Any]) -> Iterable[Any]:
        assert store.catalogue.forget_conflict(conflict.sop_instance_uid, conflict.digest)
        store.files.discard(conflict.path)
        return files

    manifest, _ = make_backup(store.database, store.files, tmp_path / "to", "1.0", NOW, watch)
    assert sorted(manifest.files) == sorted(paths)


@pytest.mark.usefixtures("any_store")
def test_what_an_ended_backup_left_running_writes_into_no_later_one(
    works: Works, tmp_path: Path
) -> None:
    """Who ends `oncopixel backup` by kill -9 does not end its pg_dump."""
    (tmp_path / "backup").mkdir()
    with (tmp_path / "backup" / "database.part").open("wb") as left_running:
        back_up(works, tmp_path / "backup")
        left_running.write(b"further rows")
    assert find_damage(tmp_path / "backup") == []


@pytest.mark.usefixtures("any_store")
def test_a_restore_that_was_interrupted_goes_on_and_nothing_starts_on_half_of_it(
    works: Works, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    back_up(works, tmp_path / "backup")
    data_dir = tmp_path / "second"
    url = f"sqlite:///{data_dir / 'oncopixel.sqlite'}"
    if works.store.database.engine.dialect.name == "postgresql":
        url = request.getfixturevalue("postgresql").empty_database()

    def killed(files: Sequence[Any]) -> Iterable[Any]:
        yield files[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_backup(tmp_path / "backup", data_dir, url, killed)
    settings = Settings(data_dir=data_dir, database_url=url, dimse_port=0)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="was interrupted; run the same"):
            Server(settings, [Role.RECEIVE]).start()
        # The second time the database is there already, and what follows it was interrupted.
        restore_backup(tmp_path / "backup", data_dir, url)
    end_restore(data_dir)
    for store in opened(url, data_dir):
        assert verify(store.database, store.files, is_intact).instances == 2


def test_another_backup_is_not_restored_over_half_of_one(works: Works, tmp_path: Path) -> None:
    for name in ("first", "second"):
        back_up(works, tmp_path / name)
    url = f"sqlite:///{tmp_path / 'new' / 'oncopixel.sqlite'}"
    restore_backup(tmp_path / "first", tmp_path / "new", url)
    with pytest.raises(ConfigurationError, match="restore of another backup"):
        restore_backup(tmp_path / "second", tmp_path / "new", url)


def test_a_database_that_is_taken_is_said_before_anything_is_copied(
    works: Works, tmp_path: Path
) -> None:
    """As on a new machine whose service was started before the restore."""
    back_up(works, tmp_path / "backup")
    with pytest.raises(ConfigurationError, match="There is a database"):
        restore_backup(tmp_path / "backup", tmp_path / "second", url_of(works.store))
    assert not (tmp_path / "second").exists()


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
        # Made while the clock was ahead: silence until that day would hide that none follows.
        clock[0] -= timedelta(days=9)
        assert told().count("The last backup bears a time that is to come, 2026-11-30") == 2


def test_a_first_backup_that_never_comes_to_its_end_is_an_alarm(
    store: Store, tmp_path: Path
) -> None:
    """As of a timer whose target is full, or is no folder that it may use."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    backups = Backups(store.database)
    for day in range(3):
        assert (backups.alarm(NOW + timedelta(days=day)) == "") is (day < 2)
        with pytest.raises(ConfigurationError, match="no part of a backup"):
            make_backup(store.database, store.files, tmp_path / "photos", "1", NOW)
    said = backups.alarm(NOW + timedelta(days=2))
    assert said.startswith("A backup was begun on 2026-11-21, and none was ever finished")
    make_backup(store.database, store.files, tmp_path / "backup", "1", NOW + timedelta(days=2))
    assert backups.alarm(NOW + timedelta(days=3)) == ""


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
    restored = open_database(f"sqlite:///{second.parent / 'data' / 'oncopixel.sqlite'}")
    # Else nobody would miss the backups of the new machine.
    assert "The last backup is of" in Backups(restored).alarm(utc_now() + timedelta(days=9))
    restored.close()
    (path,) = (second.parent / "data" / "instances").rglob("*.dcm")
    path.unlink()
    next((tmp_path / "backup" / "files").rglob("*.dcm")).unlink()
    broken = CliRunner().invoke(app, ["restore", backup, "--check"])
    assert broken.exit_code == 1
    assert "missing or damaged" in broken.output
