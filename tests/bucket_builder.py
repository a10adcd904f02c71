"""A real server that speaks S3, hosts that share its bucket, and studies that may be deleted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
from conftest import Store
from dimse_builder import mammogram
from moto.server import ThreadedMotoServer
from outbox_builder import write_object
from pydantic import SecretStr
from server_process import free_port
from workflow_builder import utc_now

from oncopixel_pacs.domain import Delivery, DeliveryState, IntakeOutcome, Job, ObjectKind, StepName
from oncopixel_pacs.receive.intake import Intake
from oncopixel_pacs.settings import BucketSettings, RetentionSettings
from oncopixel_pacs.store.bucket import BucketFileStore
from oncopixel_pacs.store.retention import Retention
from oncopixel_pacs.store.retention_clock import RetentionClock
from oncopixel_pacs.workflow.engine import WorkQueue
from oncopixel_pacs.workflow.purging import Purge

NAME = "hospital"


@dataclass
class Bucket:
    """A bucket, and the server that it lies on."""

    server: ThreadedMotoServer
    settings: BucketSettings

    @property
    def names(self) -> list[str]:
        """Name of every object below our prefix."""
        where = {"list-type": "2", "prefix": f"{self.settings.prefix}/"}
        answer = httpx.get(f"{self.settings.endpoint}/{self.settings.name}", params=where)
        return re.findall(r"<Key>(.*?)</Key>", answer.text)

    def below(self, prefix: str) -> Bucket:
        """Look at another part of it."""
        return replace(self, settings=self.settings.model_copy(update={"prefix": prefix}))


@contextmanager
def bucket_server() -> Iterator[Bucket]:
    """Run the server, with a bucket."""
    port = free_port()
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    endpoint = f"http://127.0.0.1:{port}"
    assert httpx.put(f"{endpoint}/{NAME}").status_code == 200
    settings = BucketSettings(
        name=NAME,
        prefix="oncopixel",
        endpoint=endpoint,
        access_key_id="key",
        secret_access_key=SecretStr("secret"),
        timeout_seconds=2.0,
    )
    try:
        yield Bucket(server, settings)
    finally:
        server.stop()


@dataclass
class BucketHost:
    """One host: the database that all share, and a folder of its own."""

    store: Store
    folder: Path

    @property
    def retention(self) -> Retention:
        """Deletes."""
        return Retention(self.store.database, self.store.files)

    @property
    def intake(self) -> Intake:
        """Takes in."""
        return Intake(self.store.files, self.store.catalogue, utc_now)

    @property
    def held(self) -> list[str]:
        """What lies in its folder of what is kept."""
        kept = ("instances", "results", "labels", "quarantine")
        return [
            str(path.relative_to(self.folder))
            for name in kept
            for path in sorted((self.folder / name).rglob("*"))
            if path.is_file()
        ]

    def receive(self, number: int) -> IntakeOutcome:
        """Take in the one image of a study."""
        path = self.folder / f"{number}.dcm"
        study = study_uid(number)
        image = mammogram(number, StudyInstanceUID=study, SOPInstanceUID=f"{study}.1")
        image.file_meta.MediaStorageSOPInstanceUID = f"{study}.1"
        image.save_as(path, enforce_file_format=True)
        return self.intake.accept_file(path, "MODALITY")

    def conclude(self, number: int) -> Job:
        """Settle a study, write its results and label maps, and have them confirmed."""
        study, now, ledger = study_uid(number), utc_now(), self.store.ledger
        seen = self.store.catalogue.study(study)
        job_id = f"job {number} of revision {seen.revision + 1}"
        job = self.store.catalogue.settle(seen, "digest", job_id, now, lambda *_: None)
        assert job is not None
        (self.store.files.labels_dir(job_id) / "map").write_bytes(b"labels")
        self.store.files.sync_labels(job_id)
        ledger.begin_step(job_id, StepName.DELIVER, now)
        written = write_object(self.store, study, number)
        kinds = {"archive": tuple(ObjectKind)}
        ledger.add_objects(job_id, [written], kinds, now, lambda *_: None)
        uid, state = written.sop_instance_uid, DeliveryState.CONFIRMED
        ledger.record_delivery(Delivery("archive", uid, state, 1, finished_at=now))
        assert ledger.close_delivery(job_id, now)
        return ledger.job(job_id)

    def purge(self, now: datetime | None = None) -> Purge:
        """Make a policy by which everything that is confirmed may go."""
        moment = now or utc_now() + timedelta(seconds=1)
        queue: Any = SimpleNamespace(forget=lambda _jobs: None)
        settings = RetentionSettings(days=0)
        clock = RetentionClock(self.store.database, "local")
        return Purge(self.retention, cast(WorkQueue, queue), settings, lambda: moment, clock)


def study_uid(number: int) -> str:
    """Name a study."""
    return f"2.25.6{number}"


def bucket_host(store: Store, bucket: Bucket, folder: Path) -> BucketHost:
    """Make a host with an empty folder."""
    files = BucketFileStore(folder, bucket.settings)
    return BucketHost(Store(store.database, files, store.catalogue, store.ledger), folder)
