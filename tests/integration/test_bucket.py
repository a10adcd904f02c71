"""Files in object storage: a real server that speaks S3, and hosts that share no folder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from bucket_builder import Bucket, bucket_server
from conftest import Store
from typer.testing import CliRunner
from workflow_builder import (
    PretendedModel,
    PretendedPacs,
    Works,
    accept,
    folder_destination,
    install,
    running,
    until,
    utc_now,
)

from oncopixel_pacs import bootstrap
from oncopixel_pacs.cli import app
from oncopixel_pacs.domain import IntakeOutcome, JobState
from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.opening import open_store
from oncopixel_pacs.receive.intake import Intake, is_intact
from oncopixel_pacs.settings import Settings
from oncopixel_pacs.store import bucket_cache
from oncopixel_pacs.store.bucket import BucketFileStore
from oncopixel_pacs.store.bucket_cache import UNUSED_SECONDS, BucketCache
from oncopixel_pacs.store.held_files import verify


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with bucket_server() as running_server:
        yield running_server


@pytest.fixture
def pacs(monkeypatch: pytest.MonkeyPatch) -> PretendedPacs:
    return install(monkeypatch, PretendedPacs(accept))


def store_of(store: Store, bucket: Bucket, folder: Path) -> Store:
    files = BucketFileStore(folder, bucket.settings)
    return Store(store.database, files, store.catalogue, store.ledger)


def test_one_host_receives_another_analyses_a_third_delivers(
    store: Store, bucket: Bucket, tmp_path: Path, pacs: PretendedPacs
) -> None:
    receiver = Works(store_of(store, bucket, tmp_path / "receiver"), PretendedModel())
    receiver.receive(tmp_path / "in")
    destination = folder_destination(tmp_path / "out")
    worker = Works(store_of(store, bucket, tmp_path / "worker"), PretendedModel(), (destination,))
    with running(worker):
        job = worker.finished(worker.settle().id)
    assert (job.state, job.error) == (JobState.DONE, "")
    third = store_of(store, bucket, tmp_path / "third")
    assert not list((tmp_path / "third").rglob("*.dcm"))
    found = verify(store.database, third.files, is_intact)
    assert (found.instances, found.results, found.damaged) == (1, len(job.objects), ())
    assert list(third.files.labels_dir(job.id).iterdir())


def test_nothing_is_acknowledged_that_the_bucket_has_not(
    store: Store, bucket: Bucket, tmp_path: Path
) -> None:
    files = BucketFileStore(tmp_path / "receiver", bucket.settings)
    works = Works(Store(store.database, files, store.catalogue, store.ledger), PretendedModel())
    works.receive(tmp_path / "in")
    path = next((tmp_path / "in").glob("*.dcm"))
    intake = Intake(files, store.catalogue, utc_now)
    bucket.server.stop()
    try:
        with pytest.raises(OutOfResources, match="object storage"):
            intake.accept_file(path, "MODALITY")
    finally:
        bucket.server.start()
    assert intake.accept_file(path, "MODALITY") is IntakeOutcome.DUPLICATE


def test_a_file_that_is_nowhere_is_missing(bucket: Bucket, tmp_path: Path) -> None:
    files = BucketFileStore(tmp_path / "host", bucket.settings)
    assert not files.absolute("instances/00/nothing.dcm").exists()
    assert list(files.incoming.iterdir()) == []


def test_a_lost_cache_is_fetched_again(bucket: Bucket, tmp_path: Path) -> None:
    files = BucketFileStore(tmp_path / "host", bucket.settings)
    relative, _ = files.write(b"result" * 1000, "results", "1.2.3")
    (tmp_path / "host" / relative).unlink()
    assert files.absolute(relative).read_bytes() == b"result" * 1000


def test_what_is_fetched_is_durable_before_it_has_its_name(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power loss leaves an empty file there, which would be read and backed up as it is."""
    files = BucketFileStore(tmp_path / "host", bucket.settings)
    relative, _ = files.write(b"result" * 1000, "results", "1.2.3")
    target = tmp_path / "host" / relative
    target.unlink()
    sync, synced = os.fsync, set[int]()

    def note(descriptor: int) -> None:
        sync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", note)
    assert files.absolute(relative).stat().st_ino in synced


@dataclass
class Times:
    """A clock that is ahead by as much as a test likes."""

    ahead: float = 0.0

    def now(self) -> float:
        return time.time() + self.ahead


def test_a_cache_lets_go_of_what_was_not_used_for_longest(bucket: Bucket, tmp_path: Path) -> None:
    files = BucketFileStore(tmp_path / "host", bucket.settings)
    written = [
        files.write(bytes([number]) * 1000, "results", f"1.2.{number}")[0] for number in (1, 2, 3)
    ]
    for age, relative in zip((50, 40, 30), written, strict=True):
        os.utime(tmp_path / "host" / relative, (time.time() - age, time.time() - age))
    times = Times()
    cache = BucketCache(files, 2500, times.now)
    assert cache.shrink() == 0, "all of it was used lately"
    files.absolute(written[0])
    times.ahead = UNUSED_SECONDS - 10
    assert cache.shrink() == 1000
    assert [(tmp_path / "host" / relative).exists() for relative in written] == [True, False, True]
    assert cache.shrink() == 0, "it fits"
    assert files.absolute(written[1]).read_bytes() == b"\x02" * 1000


def test_label_maps_go_together_and_come_back_together(bucket: Bucket, tmp_path: Path) -> None:
    files = BucketFileStore(tmp_path / "host", bucket.settings)
    folder = files.labels_dir("job")
    for name in ("a", "b"):
        (folder / name).write_bytes(b"labels" * 100)
    files.sync_labels("job")
    assert BucketCache(files, 0, Times(2 * UNUSED_SECONDS).now).shrink() == 1200
    assert not folder.exists()
    assert sorted(path.name for path in files.labels_dir("job").iterdir()) == ["a", "b"]


def test_what_the_bucket_has_not_stays_in_the_cache(bucket: Bucket, tmp_path: Path) -> None:
    files = BucketFileStore(tmp_path / "host", bucket.settings)
    relative, _ = files.write(b"result", "results", "1.2.3")
    (tmp_path / "host" / relative).write_bytes(b"another")
    cache = BucketCache(files, 0, Times(2 * UNUSED_SECONDS).now)
    assert cache.shrink() == 0
    bucket.server.stop()
    try:
        with pytest.raises(OSError, match="object storage"):
            cache.shrink()
    finally:
        bucket.server.start()
    assert (tmp_path / "host" / relative).read_bytes() == b"another"


def test_a_server_with_a_small_cache_works_and_lets_go(
    store: Store, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_cache, "UNUSED_SECONDS", 0.0)
    # A file that is adopted comes back after the first time.
    monkeypatch.setattr(bootstrap, "CACHE_EVERY_SECONDS", 0.1)
    works = Works(store_of(store, bucket, tmp_path / "host"), PretendedModel())
    works.receive(tmp_path / "in")
    settings = Settings(
        data_dir=tmp_path / "host",
        dimse_port=0,
        bucket=bucket.settings.model_copy(update={"cache_bytes": 0}),
    )
    server = bootstrap.Server(settings, (bootstrap.Role.RECEIVE,))
    server.start()
    try:
        until(lambda: not list((tmp_path / "host" / "instances").rglob("*.dcm")))
    finally:
        server.stop()
    assert verify(store.database, works.store.files, is_intact).instances == 1


def test_the_settings_choose_the_bucket_and_hide_the_secret(bucket: Bucket, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", bucket=bucket.settings)
    store = open_store(settings)
    assert isinstance(store.files, BucketFileStore)
    store.database.close()
    assert "'secret'" not in repr(settings)


def test_a_backup_of_any_host_holds_what_all_wrote_and_fills_another_bucket(
    store: Store, bucket: Bucket, tmp_path: Path, pacs: PretendedPacs
) -> None:
    works = Works(
        store_of(store, bucket, tmp_path / "worker"),
        PretendedModel(),
        (folder_destination(tmp_path / "out"),),
    )
    works.receive(tmp_path / "in")
    with running(works):
        job = works.finished(works.settle().id)
    assert httpx.put(f"{bucket.settings.endpoint}/elsewhere").status_code == 200
    url = store.database.engine.url.render_as_string(hide_password=False)
    backup = str(tmp_path / "backup")

    def run(command: str, name: str, database_url: str) -> str:
        config = tmp_path / f"{name}.toml"
        config.write_text(
            f"""data_dir = "{tmp_path / name}"
database_url = "{database_url}"
[bucket]
name = "{name}"
endpoint = "{bucket.settings.endpoint}"
prefix = "oncopixel"
access_key_id = "key"
secret_access_key = "secret"
""",
            encoding="utf-8",
        )
        words = [command, backup, "--config", str(config)]
        return CliRunner().invoke(app, words, catch_exceptions=False).output

    held = 1 + len(job.objects) + len(list(works.store.files.labels_dir(job.id).iterdir()))
    assert f"Backed up {held} files" in run("backup", "hospital", url)
    said = run("restore", "elsewhere", f"sqlite:///{tmp_path / 'restored.sqlite'}")
    assert f"1 images and {len(job.objects)} results" in said
    elsewhere = bucket.settings.model_copy(update={"name": "elsewhere"})
    fresh = BucketFileStore(tmp_path / "fresh", elsewhere)
    assert verify(store.database, fresh, is_intact).damaged == ()
    assert list(fresh.labels_dir(job.id).iterdir())
