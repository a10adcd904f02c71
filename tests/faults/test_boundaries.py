"""Kill -9 at every boundary between two steps, one after the other, each with a new study."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from boundary_process import BOUNDARIES, NOWHERE
from conftest import Store, opened
from hosts_builder import ROOT, CountingArchive, counting_archive
from mammogram_builder import SCREENING, write_mammogram
from pydicom import dcmread
from server_process import free_port
from workflow_builder import until

from oncopixel_pacs.deliver.cstore import send_files
from oncopixel_pacs.domain import DeliveryState, JobState
from oncopixel_pacs.errors import DeliveryFailed
from tests.faults.oracle import dataset_digest, lost


@dataclass
class Lives:
    """The lives of one server, and what a modality was promised in them."""

    folder: Path
    process: subprocess.Popen[str]
    port: int
    acknowledged: dict[str, str] = field(default_factory=dict)

    def live(self, boundary: str) -> int:
        """Begin a life; returns its process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{boundary}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def death(self) -> str:
        """Wait for the end of a life; returns how it ended."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def listening(self) -> bool:
        """Whether somebody is there."""
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def send(self, path: Path) -> bool:
        """Send an image once; false when it was not acknowledged."""
        try:
            outcomes = list(
                send_files(
                    [path],
                    "127.0.0.1",
                    self.port,
                    called_ae_title="ONCOPIXEL",
                    calling_ae_title="MODALITY",
                    timeout_seconds=20,
                )
            )
        except DeliveryFailed:
            return False
        for item in outcomes:
            if item.accepted:
                self.acknowledged[item.sop_instance_uid] = dataset_digest(path)
        return bool(outcomes) and all(item.accepted for item in outcomes)


@dataclass
class Deaths:
    """What each death left: deliveries that were recorded, and those that were not."""

    recorded: Counter[str] = field(default_factory=Counter)
    unrecorded: Counter[str] = field(default_factory=Counter)

    def note(self, folder: Path, archive: CountingArchive) -> None:
        """Look at the database that a dead server leaves."""
        for store in opened_of(folder):
            for job in store.ledger.jobs(limit=100).items:
                for item in job.deliveries:
                    uid = item.sop_instance_uid
                    if item.state is DeliveryState.ACCEPTED:
                        self.recorded[uid] = archive.came[uid]
                    else:
                        self.unrecorded[uid] += 1

    def require_no_other_came_again(self, archive: CountingArchive) -> None:
        """Find nothing recorded sent again, and the rest once more for each death at most."""
        assert {uid: archive.came[uid] for uid in self.recorded} == self.recorded
        again = {uid: came - 1 for uid, came in archive.came.items() if came > 1}
        assert all(times <= self.unrecorded[uid] for uid, times in again.items()), again


@pytest.fixture
def archive() -> Iterator[CountingArchive]:
    with counting_archive() as running:
        yield running


@pytest.fixture
def lives(tmp_path: Path, archive: CountingArchive) -> Iterator[Lives]:
    port = free_port()
    config = tmp_path / "oncopixel.toml"
    config.write_text(
        f"""data_dir = "data"
dimse_port = {port}
[receive]
least_free_bytes = 0
[completion]
quiet_seconds = 0.0
settle_seconds = 0.0
[delivery]
first_retry_seconds = 0.2
max_retry_seconds = 1.0
[results]
validators = "off"
[[destinations]]
name = "archive"
type = "cstore"
host = "127.0.0.1"
port = {archive.port}
ae_title = "ARCHIVE"
""",
        encoding="utf-8",
    )
    with (tmp_path / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.boundary_process", str(config)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    try:
        yield Lives(tmp_path, process, port)
    finally:
        # A life that the test did not end would be waited for.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def images(folder: Path, number: int) -> list[Path]:
    """One study of one image for each life."""
    folder.mkdir()
    made = []
    for index in range(number):
        source = write_mammogram(folder, SCREENING[0])
        with dcmread(source) as image:
            image.StudyInstanceUID, image.SOPInstanceUID = f"2.25.5{index}", f"2.25.5{index}.1"
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
            made.append(folder / f"study-{index}.dcm")
            image.save_as(made[-1])
    return made


def test_whatever_it_was_doing_nothing_is_lost_and_nothing_done_twice(
    lives: Lives, archive: CountingArchive, tmp_path: Path
) -> None:
    waiting: list[Path] = []
    deaths = Deaths()
    for boundary, path in zip(BOUNDARIES, images(tmp_path / "sent", len(BOUNDARIES)), strict=True):
        process = lives.live(boundary)
        # What was not acknowledged in the life before is sent first, as a modality would.
        waiting = until_answered(lives, process, [*waiting, path])
        assert lives.death() == "killed", boundary
        deaths.note(tmp_path, archive)
    process = lives.live(NOWHERE)
    until(lambda: not until_answered(lives, process, waiting), 60)
    for store in opened_of(tmp_path):
        require_one_result_set_each(store, archive, len(BOUNDARIES))
    deaths.require_no_other_came_again(archive)
    os.kill(process, signal.SIGTERM)
    assert lives.death() == "ended"
    assert len(lives.acknowledged) == len(BOUNDARIES)
    assert lost(lives.acknowledged, (tmp_path / "data" / "instances").rglob("*.dcm")) == []


def opened_of(folder: Path) -> Iterator[Store]:
    data = folder / "data"
    return opened(f"sqlite:///{data / 'oncopixel.sqlite'}", data)


def until_answered(lives: Lives, process: int, paths: list[Path]) -> list[Path]:
    """Send each once, if the server lives to listen; returns those not acknowledged."""
    until(lambda: lives.listening() or not alive(process), 60)
    return [path for path in paths if not lives.send(path)]


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def require_one_result_set_each(store: Store, archive: CountingArchive, studies: int) -> None:
    until(lambda: store.ledger.counts() == {JobState.DONE: studies}, 90)
    jobs = store.ledger.jobs(limit=100).items
    assert {job.revision for job in jobs} == {1}
    assert len({job.study_instance_uid for job in jobs}) == studies
    objects = {item.sop_instance_uid for job in jobs for item in job.objects}
    assert objects == set(archive.came)
    assert all(len(digests) == 1 for digests in archive.digests.values())
