"""Nothing acknowledged is lost, and every study ends with one result set: kill -9, 20 times."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from oncopixel_pacs.deliver.cstore import send_files
from oncopixel_pacs.demo.archives import Archive, open_archive
from oncopixel_pacs.errors import DeliveryFailed
from sample_dicom.study import write_studies
from tests.faults.oracle import SEG, SR, dataset_digest, lost, wrong_result_sets
from tests.server_process import PreloadedServerProcess, free_port, wait_until

KILLS = 20
STUDIES = 10
SEED = 20261121


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    archive = open_archive(tmp_path / "archive", free_port)
    archive.start()
    yield archive
    archive.stop()


@pytest.fixture
def server(tmp_path: Path, archive: Archive) -> Iterator[PreloadedServerProcess]:
    server = PreloadedServerProcess(
        tmp_path / "server",
        # The modality pauses in mid-study; a study that settled then would get two revisions.
        completion="settle_seconds = 0.5\nquiet_seconds = 600.0",
        destinations=f"""
[[destinations]]
name = "archive"
type = "cstore"
host = "127.0.0.1"
port = {archive.port}
ae_title = "{archive.ae_title}"
""",
    )
    yield server
    server.stop()


class Modality(threading.Thread):
    """Sends images one by one, each until it is acknowledged, as a modality does.

    It may send two images per life of the server, so that every kill finds work under way.
    """

    def __init__(self, server: PreloadedServerProcess, images: list[Path]) -> None:
        super().__init__(name="modality", daemon=True)
        self.server = server
        self.images = images
        self.acknowledged: dict[str, str] = {}
        self.attempts = 0
        self.allowed = 2
        self.changed = threading.Condition()

    def run(self) -> None:
        for path in self.images:
            with self.changed:
                self.changed.wait_for(lambda: len(self.acknowledged) < self.allowed)
            while not self._send(path):
                with self.changed:
                    self.changed.wait(0.1)

    def allow(self, number: int) -> None:
        with self.changed:
            self.allowed = number
            self.changed.notify_all()

    def _send(self, path: Path) -> bool:
        self.attempts += 1
        try:
            outcomes = list(
                send_files(
                    [path],
                    "127.0.0.1",
                    self.server.dimse_port,
                    called_ae_title="ONCOPIXEL",
                    calling_ae_title="MODALITY",
                    timeout_seconds=10,
                )
            )
        except DeliveryFailed:
            return False
        for outcome in outcomes:
            if outcome.accepted:
                self.acknowledged[outcome.sop_instance_uid] = dataset_digest(path)
        return all(outcome.accepted for outcome in outcomes)


@pytest.mark.slow
def test_kill_9_at_twenty_random_moments_loses_and_doubles_nothing(
    tmp_path: Path,
    archive: Archive,
    server: PreloadedServerProcess,
    capsys: pytest.CaptureFixture[str],
) -> None:
    images = list(
        write_studies(tmp_path / "sent", STUDIES, 100, lesion=True, rows=256, columns=208)
    )
    studies = _count_by_study(images)
    modality = Modality(server, images)
    moments = random.Random(SEED)
    server.start(ready=False)
    modality.start()
    lives = []
    for kill in range(1, KILLS + 1):
        life = moments.uniform(0.1, 7.0)
        lives.append(life)
        with modality.changed:
            modality.changed.wait_for(lambda: False, timeout=life)
        server.kill()
        modality.allow(2 * (kill + 1))
        server.start(ready=False)
    modality.join(timeout=120)
    assert not modality.is_alive(), "the modality could not send everything"
    assert len(modality.acknowledged) == len(images)
    wait_until(server.ready, 120, "the server is not ready")  # it listens to modalities first

    jobs = {uid: server.finished_job(uid, seconds=300) for uid in studies}
    received = {
        uid: _results(archive, uid, tmp_path / "received" / str(n)) for n, uid in enumerate(studies)
    }
    stored = list((server.data_dir / "instances").rglob("*.dcm"))
    missing = lost(modality.acknowledged, stored)
    wrong = wrong_result_sets(studies, received)
    attempts = sum(step["attempts"] for job in jobs.values() for step in job["steps"])
    with capsys.disabled():
        print(
            f"\nkill -9: {KILLS} kills after {sum(lives):.0f} s of life, "
            f"{len(modality.acknowledged)} of {len(images)} instances acknowledged "
            f"in {modality.attempts} attempts, {len(missing)} lost, "
            f"{len(studies) - len(wrong)} of {len(studies)} studies with exactly one result set, "
            f"{attempts} step attempts, archive {archive.name}"
        )
    assert missing == []
    assert wrong == {}
    assert {uid: job["state"] for uid, job in jobs.items()} == dict.fromkeys(studies, "done")
    assert {uid: job["revision"] for uid, job in jobs.items()} == dict.fromkeys(studies, 1)


def test_the_oracle_sees_a_lost_instance_and_a_wrong_result_set(tmp_path: Path) -> None:
    first, second, *_ = write_studies(tmp_path, 1, 1, lesion=False, rows=256, columns=208)
    header = pydicom.dcmread(first)
    digest = dataset_digest(first)
    acknowledged = {str(header.SOPInstanceUID): digest}
    assert lost(acknowledged, [first]) == []
    assert lost(acknowledged, [second]) == [str(header.SOPInstanceUID)]
    header.PatientComments = "changed"
    header.save_as(first)
    assert lost(acknowledged, [first]) == [str(header.SOPInstanceUID)]
    uid = str(header.StudyInstanceUID)
    assert wrong_result_sets({uid: 1}, {uid: []}) != {}
    assert wrong_result_sets({uid: 1}, {uid: [first, first]}) != {}


def _count_by_study(images: list[Path]) -> dict[str, int]:
    count: dict[str, int] = {}
    for path in images:
        uid = str(pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID)
        count[uid] = count.get(uid, 0) + 1
    return count


def _results(archive: Archive, study_instance_uid: str, out: Path) -> list[Path]:
    found = archive.fetch(study_instance_uid, out)
    kinds = (SEG, SR)
    return [
        path
        for path in found
        if pydicom.dcmread(path, stop_before_pixels=True).SOPClassUID in kinds
    ]
