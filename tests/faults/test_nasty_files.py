"""Files from the bug trackers of other DICOM software: stored or refused, and nothing hangs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pydicom
import pytest
from nasty_files import Nasty, c_store, nasty_files, open_file, stow

from sample_dicom.study import make_study
from tests.server_process import ServerProcess, wait_until

FOLDER = Path(os.environ.get("ONCOPIXEL_DATA", "")) / "nasty_dicom"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.skipif(not FOLDER.is_dir(), reason="no nasty_dicom in ONCOPIXEL_DATA"),
]
#: What a sender may be told, and by what status.
ANSWERS = {"0x0000", "0xA700", "0xA900", "0xC000", "not offered", "not a UID"}
FINAL = {"done", "failed", "not-analysed"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(
        tmp_path_factory.mktemp("nasty"), completion="settle_seconds = 0.2\nquiet_seconds = 1.0"
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def files() -> list[Nasty]:
    return nasty_files(FOLDER)


@pytest.fixture(scope="module")
def stored(server: ServerProcess, files: list[Nasty]) -> dict[str, str]:
    """Send each file and keep what it was answered."""
    return {nasty.name: c_store(server.dimse_port, nasty) for nasty in files}


def test_each_file_is_stored_or_refused_with_a_reason(stored: dict[str, str]) -> None:
    assert set(stored.values()) <= ANSWERS, {k: v for k, v in stored.items() if v not in ANSWERS}
    counted = Counter(stored.values())
    assert counted["0x0000"] > 60, counted


def test_stow_says_the_same_of_each(
    server: ServerProcess, files: list[Nasty], stored: dict[str, str]
) -> None:
    """But where negotiation refuses a class or a syntax: HTTP has none, so the object hears it.

    Nor has it a command that an object could contradict (0xA900).
    """
    said = {nasty.name: stow(server.url, nasty) for nasty in files}
    pairs = {(stored[name], answer) for name, answer in said.items()}
    assert pairs <= {
        ("0x0000", "stored"),
        ("0xC000", "0xC000"),
        ("0xA900", "stored"),
        ("not offered", "0x0122"),
        ("not offered", "0xC000"),
        ("not a UID", "0xC000"),
    }


def test_each_study_that_was_stored_ends_with_a_reason(
    server: ServerProcess, files: list[Nasty], stored: dict[str, str]
) -> None:
    studies = {nasty.study for nasty in files if stored[nasty.name] == "0x0000"}
    assert studies

    def all_ended() -> bool:
        jobs = server.all_jobs()
        known = {job["study_instance_uid"] for job in jobs}
        return studies <= known and {job["state"] for job in jobs} <= FINAL

    wait_until(all_ended, 120, f"the end of every job: {server.log[-2000:]}")
    for job in server.all_jobs():
        assert job["state"] == "done" or job["error"], job
    defects = [line for line in server.log.splitlines() if "defect" in line or "Traceback" in line]
    assert defects == []


@pytest.mark.parametrize("view", ["metadata", "rendered"])
def test_each_that_was_stored_is_shown_or_refused_with_a_reason(
    server: ServerProcess, files: list[Nasty], stored: dict[str, str], view: str
) -> None:
    root = f"{server.url}/dicom-web/studies"
    seen = Counter[int]()
    for uid in {nasty.study for nasty in files if stored[nasty.name] == "0x0000"}:
        for found in httpx.get(f"{root}/{uid}/instances", timeout=60).json():
            instance = pydicom.Dataset.from_json(found)
            answer = httpx.get(
                f"{root}/{uid}/series/{instance.SeriesInstanceUID}"
                f"/instances/{instance.SOPInstanceUID}/{view}",
                timeout=60,
            )
            seen[answer.status_code] += 1
            assert answer.status_code in (200, 404, 406, 422), answer.text
            if answer.status_code != 200:
                assert answer.json()["detail"]
    assert seen[200] > 30, seen


def test_the_server_is_as_good_as_new(
    server: ServerProcess, stored: dict[str, str], tmp_path: Path
) -> None:
    dataset = make_study(8200, lesion=False, rows=256, columns=208)[0].dataset
    path = tmp_path / "good.dcm"
    dataset.save_as(path, enforce_file_format=True)
    good = open_file(path, "good")
    assert c_store(server.dimse_port, good) == "0x0000"
    assert server.finished_job(good.study)["state"] == "done"
