"""Deleting by policy from a bucket that several hosts share, wherever it is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from bucket_builder import Bucket, BucketHost, bucket_host, bucket_server, study_uid
from conftest import Store, opened
from hosts_builder import ROOT, CuttableLink
from postgresql_server import PostgresqlServer
from structlog.testing import capture_logs
from workflow_builder import until, utc_now

from oncopixel_pacs import bootstrap
from oncopixel_pacs.domain import IntakeOutcome
from oncopixel_pacs.errors import ConfigurationError, OutOfResources
from oncopixel_pacs.receive.intake import is_intact
from oncopixel_pacs.settings import Settings
from oncopixel_pacs.store import backup
from oncopixel_pacs.store.backup import make_backup
from oncopixel_pacs.store.bucket_removal import LATE_READERS, BucketRemoval
from oncopixel_pacs.store.held_files import verify
from oncopixel_pacs.store.restore import restore_backup


@pytest.fixture(scope="module")
def server() -> Iterator[Bucket]:
    with bucket_server() as bucket:
        yield bucket


@pytest.fixture
def bucket(server: Bucket, tmp_path: Path) -> Bucket:
    """Give each test a part of its own."""
    return server.below(tmp_path.name)


@pytest.fixture
def first(store: Store, bucket: Bucket, tmp_path: Path) -> BucketHost:
    return bucket_host(store, bucket, tmp_path / "first")


@pytest.fixture
def second(store: Store, bucket: Bucket, tmp_path: Path) -> BucketHost:
    return bucket_host(store, bucket, tmp_path / "second")


def test_a_study_leaves_the_bucket_and_every_host(
    first: BucketHost, second: BucketHost, bucket: Bucket
) -> None:
    first.receive(1)
    job = second.conclude(1)
    first.receive(2)
    kept = bucket.names
    assert len(first.held) == 2
    assert len(second.held) == 2, "a result and a label map"
    (planned,) = second.retention.expired(utc_now())
    assert bucket.names == kept, "a dry run"
    assert list(second.purge().run()) == [planned]
    (record,) = second.retention.deletions()
    assert record.removed_at is not None
    assert {(item.sop_instance_uid, item.sha256) for item in job.objects} < set(record.objects)
    assert len(bucket.names) == 1, "the other study is not confirmed"
    assert second.held == []
    assert len(first.held) == 2, "nobody has told this host yet"
    first.retention.recover()
    assert len(first.held) == 1
    assert first.intake.adopt_orphans() == 0
    assert verify(first.store.database, first.store.files, is_intact).instances == 1


def test_a_server_lets_go_of_what_others_deleted_and_adopts_none_of_it(
    first: BucketHost, second: BucketHost, bucket: Bucket, tmp_path: Path
) -> None:
    first.receive(1)
    second.conclude(1)
    list(second.purge().run())
    url = f"sqlite:///{tmp_path / 'oncopixel.sqlite'}"
    settings = Settings(
        data_dir=first.folder, database_url=url, dimse_port=0, bucket=bucket.settings
    )
    running = bootstrap.Server(settings, (bootstrap.Role.RECEIVE,))
    running.start()
    try:
        assert first.held == []
        assert first.store.catalogue.known_paths() == set()
    finally:
        running.stop()


class PlugPulledError(BaseException):
    """Ends it as kill -9 would: nothing is cleaned up."""


def pull_the_plug(*_: object) -> None:
    raise PlugPulledError


#: Where it is interrupted, by what is called there, and whether the rows are gone by then.
INTERRUPTIONS = {
    "before the rows go": ("oncopixel_pacs.store.retention._delete_rows", False),
    "before an object goes": ("oncopixel_pacs.store.bucket.BucketFileStore.remove", True),
    "before the copies go": ("oncopixel_pacs.store.bucket.BucketFileStore.let_go", True),
    "before the record is closed": ("oncopixel_pacs.store.bucket_removal.update", True),
}


@pytest.mark.parametrize("where", INTERRUPTIONS)
def test_what_was_interrupted_is_finished_by_whoever_comes_next(
    first: BucketHost,
    second: BucketHost,
    bucket: Bucket,
    where: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first.receive(1)
    first.conclude(1)
    before = bucket.names
    called, committed = INTERRUPTIONS[where]
    with monkeypatch.context() as patch:
        patch.setattr(called, pull_the_plug)
        with pytest.raises(PlugPulledError):
            list(first.purge().run())
    if not committed:
        assert bucket.names == before
        assert first.retention.deletions() == ()
        return
    (record,) = first.retention.deletions()
    assert record.removed_at is None
    with pytest.raises(OutOfResources, match="being deleted; send it again"):
        second.receive(1)
    assert second.retention.mend()
    assert bucket.names == []
    assert second.receive(1) is IntakeOutcome.NEW
    first.retention.recover()
    assert first.held == [] or first.held == second.held, "what came again may stay, nothing else"
    third = bucket_host(second.store, bucket, second.folder.with_name("third"))
    assert verify(third.store.database, third.store.files, is_intact).damaged == ()


def test_a_bucket_that_refuses_keeps_what_was_not_begun(
    first: BucketHost, second: BucketHost, bucket: Bucket
) -> None:
    for number in (1, 2):
        first.receive(number)
        first.conclude(number)
    bucket.server.stop()
    try:
        for _ in range(2):
            with pytest.raises(OSError, match="object storage"):
                list(first.purge().run())
        assert len(first.retention.deletions()) == 1, "one was begun, and nothing after it"
    finally:
        bucket.server.start()
    assert len(list(second.purge().run())) == 1
    assert bucket.names == []
    assert all(item.removed_at for item in first.retention.deletions())


def test_an_image_that_came_again_while_its_study_was_deleted_is_in_the_bucket(
    first: BucketHost, second: BucketHost, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    first.receive(1)
    first.conclude(1)
    taken = second.store.catalogue.add_instances

    def deleted_before(batch: list[tuple[object, object]]) -> object:
        assert list(first.purge().run()), "its file is put, its row is not"
        assert bucket.names == []
        return taken(batch)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(second.store.catalogue, "add_instances", deleted_before)
        assert second.receive(1) is IntakeOutcome.NEW
    assert len(bucket.names) == 1
    second.conclude(1)

    def deleted_after(batch: list[tuple[object, object]]) -> object:
        outcomes = taken(batch)  # type: ignore[arg-type]
        assert list(first.purge().run())
        return outcomes

    with monkeypatch.context() as patch:
        patch.setattr(second.store.catalogue, "add_instances", deleted_after)
        with pytest.raises(OutOfResources, match="being deleted; send it again"):
            second.receive(1)
    assert bucket.names == []
    assert second.receive(1) is IntakeOutcome.NEW
    assert len(bucket.names) == 1


def test_a_copy_that_a_late_reader_brought_goes_too(
    first: BucketHost, second: BucketHost, bucket: Bucket
) -> None:
    first.receive(1)
    first.conclude(1)
    copies = {path: (first.folder / path).read_bytes() for path in first.held}
    list(second.purge().run())
    for ahead, left in ((timedelta(0), 0), (LATE_READERS / 2, 0), (LATE_READERS * 2, 3)):
        removal = BucketRemoval(first.store.database, first.store.files, lambda: utc_now() + ahead)  # noqa: B023
        removal.recover()
        assert first.held == []
        for path, content in copies.items():
            (first.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (first.folder / path).write_bytes(content)
        first.retention.recover()
        assert len(first.held) == left, "nobody reads for so long"
    # A database put back from a backup counts anew.
    with first.store.database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE deletion SET deleted_at = '2020-01-01 00:00:00'"))
    first.retention.recover()
    assert first.held == []


def test_versions_that_a_bucket_keeps_are_told_of(first: BucketHost, bucket: Bucket) -> None:
    address = f"{bucket.settings.endpoint}/{bucket.settings.name}"
    enabled = "<VersioningConfiguration><Status>{}</Status></VersioningConfiguration>"
    httpx.put(f"{address}?versioning", content=enabled.format("Enabled"))
    try:
        first.receive(1)
        first.conclude(1)
        with capture_logs() as logs:
            list(first.purge().run())
        assert [item["event"] for item in logs].count("bucket.keeps_versions") == 1
        assert bucket.names == []
        asked = {"versions": "", "prefix": bucket.settings.prefix}
        listed = httpx.get(address, params=asked).text
        assert listed.count("<Version>") == listed.count("<DeleteMarker>") == 3
    finally:
        httpx.put(f"{address}?versioning", content=enabled.format("Suspended"))


def test_a_backup_holds_what_another_host_writes_meanwhile_and_nothing_that_is_deleted(
    first: BucketHost,
    second: BucketHost,
    bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in (1, 2):
        first.receive(number)
        first.conclude(number)
    (before, *_) = second.retention.expired(utc_now())
    assert second.retention.delete(before, utc_now(), utc_now(), "test")
    assert len(first.held) == 6, "the copies of what was deleted are still here"
    really = backup.copy_database

    def copy(*arguments: object) -> None:
        second.receive(3)
        really(*arguments)  # type: ignore[arg-type]
        assert not second.retention.mend()
        assert list(second.purge().run(wait=False)) == [], "nothing is deleted meanwhile"

    source, target = first.store, tmp_path / "backup"
    with monkeypatch.context() as patch:
        patch.setattr(backup, "copy_database", copy)
        made, _ = make_backup(source.database, source.files, target, "0.1.0", utc_now())
    assert len(made.files) == 4
    again, copied = make_backup(source.database, source.files, target, "0.1.0", utc_now())
    assert (len(again.files), copied) == (4, 0)
    restored = tmp_path / "restored"
    restore_backup(target, restored, f"sqlite:///{restored / 'oncopixel.sqlite'}")
    for store in opened(f"sqlite:///{restored / 'oncopixel.sqlite'}", restored):
        host = bucket_host(store, bucket.below("elsewhere"), restored)
        assert host.store.files.hand_out() == 4
        host.retention.recover()
        assert host.intake.adopt_orphans() == 0
        assert verify(store.database, store.files, is_intact).damaged == ()
        assert store.catalogue.was_deleted(before.study_instance_uid)
    bucket.server.stop()
    try:
        with pytest.raises(ConfigurationError, match="object storage"):
            make_backup(second.store.database, second.store.files, tmp_path / "b", "0", utc_now())
    finally:
        bucket.server.start()


@pytest.fixture
def shared(postgresql: PostgresqlServer, tmp_path: Path) -> Iterator[Store]:
    """Open a store that hosts of a network share."""
    yield from opened(postgresql.empty_database(), tmp_path / "none")


def test_a_host_that_is_killed_in_the_middle_is_followed_by_another(
    shared: Store, bucket: Bucket, tmp_path: Path
) -> None:
    second = bucket_host(shared, bucket, tmp_path / "second")
    second.receive(1)
    second.conclude(1)
    kept = bucket.names
    port = int(bucket.settings.endpoint.rpartition(":")[2])
    link = CuttableLink(port)
    link.cut()
    url = shared.database.engine.url.render_as_string(hide_password=False)
    config = tmp_path / "first.toml"
    config.write_text(
        f"""data_dir = "first"
database_url = "{url}"
[retention]
days = 0
[bucket]
name = "{bucket.settings.name}"
prefix = "{bucket.settings.prefix}"
endpoint = "http://127.0.0.1:{link.port}"
access_key_id = "key"
secret_access_key = "secret"
timeout_seconds = 120
""",
        encoding="utf-8",
    )
    words = ["-m", "oncopixel_pacs", "retention", "apply", "--config", str(config)]
    process = subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        until(second.retention.deletions, 90)
        os.kill(process.pid, signal.SIGSTOP)
        assert bucket.names == kept
        with pytest.raises(OutOfResources, match="being deleted; send it again"):
            second.receive(1)
        assert not second.retention.mend(), "who is paused may wake, so nobody takes over"
        process.kill()
        process.wait()
        until(second.retention.mend)
        assert bucket.names == []
        assert second.held == []
        assert second.retention.deletions()[0].removed_at is not None
        assert second.receive(1) is IntakeOutcome.NEW
        assert second.store.catalogue.study(study_uid(1)).revision == 1
        assert len(bucket.names) == 1
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
        link.close()
