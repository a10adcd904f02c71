"""A study is fetched from a real Orthanc by the whole product, and survives a kill on its way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from dimse_builder import STUDY, mammogram
from orthanc_server import PASSWORD, Orthanc, running_orthanc

from oncopixel_pacs.domain.pulls import PullState
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.database import Database, open_database
from oncopixel_pacs.store.pulls import Pulls
from sample_dicom.study import make_study
from tests.server_process import ServerProcess, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.orthanc]

IMAGES = 60


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


def sources(orthanc: Orthanc) -> str:
    return f"""
[[sources]]
name = "pacs"
type = "cmove"
host = "127.0.0.1"
port = {orthanc.dimse_port}
ae_title = "ARCHIVE"
[[sources]]
name = "orthanc"
type = "orthanc"
url = "{orthanc.url}"
user = "onco"
password = "{PASSWORD}"
"""


def oncopixel(server: ServerProcess, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "oncopixel_pacs", *words, "--config", str(server.config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_a_study_of_a_pacs_is_pulled_and_analysed(orthanc: Orthanc, tmp_path: Path) -> None:
    images = [item.dataset for item in make_study(11, rows=512, columns=416)]
    orthanc.store(images)
    uid = str(images[0].StudyInstanceUID)
    # Nothing but the word that all is here makes it settle so soon.
    server = ServerProcess(
        tmp_path,
        destinations=sources(orthanc),
        completion="settle_seconds = 3600\nquiet_seconds = 3600",
    )
    orthanc.know("ONCOPIXEL", server.dimse_port)
    server.start()
    try:
        done = oncopixel(server, "pull", uid, "--from", "pacs")
        assert (done.returncode, done.stdout.strip()) == (0, f"4 of 4 objects of {uid} are here.")

        def analysed() -> bool:
            jobs = httpx.get(f"{server.url}/api/v1/jobs", timeout=10).json()["items"]
            return [job["state"] for job in jobs] == ["done"]

        wait_until(analysed, 90, "the study is not analysed")
    finally:
        server.stop()


def test_a_pull_that_is_killed_goes_on_at_the_next_start(orthanc: Orthanc, tmp_path: Path) -> None:
    orthanc.store([mammogram(number, rows=800, columns=600) for number in range(1, IMAGES + 1)])
    server = ServerProcess(tmp_path, destinations=sources(orthanc), roles=("receive",))
    server.start(ready=False)
    try:
        database = open_database(f"sqlite:///{server.data_dir / 'oncopixel.sqlite'}")
        try:
            Pulls(database).add(STUDY, "orthanc", datetime.now(UTC))
            received = killed_on_the_way(server, database)
            server.start(ready=False)
            pulls = Pulls(database)
            wait_until(lambda: pulls.pulls().items[0].state.final, 60, "the pull has not ended")
            pull = pulls.pulls().items[0]
            assert (pull.state, pull.received) == (PullState.DONE, IMAGES)
            assert (pull.attempts, 0 < received < IMAGES) == (2, True)
            study = Catalogue(database).study(STUDY)
            assert (len(study.instances), study.conflicts) == (IMAGES, 0)
        finally:
            database.close()
    finally:
        server.stop()
    assert list((server.data_dir / "incoming").iterdir()) == []


def killed_on_the_way(server: ServerProcess, database: Database) -> int:
    """Kill the server once something has come; returns how much it had said by then."""
    pulls = Pulls(database)
    wait_until(lambda: pulls.pulls().items[0].received > 2, 60, "nothing comes", interval=0.005)
    server.kill()
    pull = pulls.pulls().items[0]
    assert pull.state is PullState.RUNNING
    return pull.received
