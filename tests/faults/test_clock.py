"""The clock is set back by a day, ahead by a year, and right again, under a live server."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from conftest import Store, opened
from hosts_builder import ROOT, CountingArchive, counting_archive
from mammogram_builder import SCREENING, write_mammogram
from pydicom import dcmread
from server_process import free_port
from workflow_builder import until

from oncopixel_pacs.deliver.cstore import send_files
from oncopixel_pacs.domain import JobState

DAY = 86_400


@dataclass
class Clocked:
    """A running server whose wall clock a test sets; its monotonic clock nobody can."""

    folder: Path
    port: int

    def set(self, seconds: int) -> None:
        """Set its clock so many seconds off ours, at once."""
        new = self.folder / "clock.new"
        new.write_text(str(seconds), encoding="ascii")
        new.replace(self.folder / "clock")

    def send(self, number: int) -> str:
        """Send a study of one image; returns its UID."""
        uid = f"2.25.6{number}"
        folder = self.folder / str(number)
        folder.mkdir()
        path = write_mammogram(folder, SCREENING[0])
        with dcmread(path) as image:
            image.StudyInstanceUID, image.SOPInstanceUID = uid, f"{uid}.1"
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
            image.save_as(path)
        (outcome,) = send_files(
            [path],
            "127.0.0.1",
            self.port,
            called_ae_title="ONCOPIXEL",
            calling_ae_title="MODALITY",
        )
        assert outcome.accepted
        return uid


@pytest.fixture
def archive() -> Iterator[CountingArchive]:
    with counting_archive() as running:
        yield running


@pytest.fixture
def clocked(tmp_path: Path, archive: CountingArchive) -> Iterator[Clocked]:
    port = free_port()
    (tmp_path / "oncopixel.toml").write_text(
        f"""data_dir = "data"
dimse_port = {port}
[receive]
least_free_bytes = 0
[completion]
quiet_seconds = 1.0
settle_seconds = 0.2
max_wait_seconds = 5.0
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
    running = Clocked(tmp_path, port)
    running.set(0)
    config, clock = tmp_path / "oncopixel.toml", tmp_path / "clock"
    with (tmp_path / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.clocked_process", str(config), str(clock)],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: listening(port), 60)
        yield running
    finally:
        process.terminate()
        assert process.wait(30) == 0


def listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def ledger_of(tmp_path: Path) -> Iterator[Store]:
    data = tmp_path / "data"
    yield from opened(f"sqlite:///{data / 'oncopixel.sqlite'}", data)


def test_studies_are_done_and_delivered_once_whatever_the_clock_says(
    clocked: Clocked, archive: CountingArchive, ledger_of: Store
) -> None:
    def done() -> list[datetime]:
        return [job.created_at for job in ledger_of.ledger.jobs(states=(JobState.DONE,)).items]

    for number, offset in enumerate((0, -DAY, 400 * DAY), start=1):
        clocked.set(offset)
        clocked.send(number)
        until(lambda number=number: len(done()) == number, 60)
    assert max(done()) - min(done()) > timedelta(days=400), "its clock was never set"
    # The last one is received in a year that never was.
    clocked.send(4)
    clocked.set(0)
    until(lambda: len(done()) == 4, 60)
    assert len(archive.came) == 2 * 4
    assert archive.twice == []
