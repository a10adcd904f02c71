"""Storage commitment as SCP: a modality asks, and is told what is true, where it can be told."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from commitment_modality import UIDS, Modality, ask
from dimse_builder import Reception, free_port, mammogram, reception, store, until, write
from pydicom.dataset import Dataset
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation as MG
from pydicom.uid import SecondaryCaptureImageStorage

from oncopixel_pacs.receive import commitment_scp
from oncopixel_pacs.settings import PeerSettings
from oncopixel_pacs.store.holdings import Holding


def find_orthanc() -> str | None:
    return shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")


@pytest.fixture
def received(tmp_path: Path) -> Iterator[Reception]:
    with reception(tmp_path / "data") as running:
        for number in range(1, 4):
            assert store(running.port, mammogram(number)).Status == 0x0000
        yield running


def file_of(received: Reception, uid: str) -> Path:
    ((path, _),) = received.catalogue.holdings([uid])[uid].files
    return received.files.absolute(path)


def test_what_is_stored_is_committed_on_the_same_association(received: Reception) -> None:
    modality = Modality(received.port)
    with modality.calling() as assoc:
        assert ask(assoc, UIDS) == 0x0000
        assert modality.told == (1, dict.fromkeys(UIDS), True)
        # The association goes on as if nothing had been said.
        assert assoc.send_c_store(mammogram(4)).Status == 0x0000
        modality.heard.clear()
        assert ask(assoc, UIDS[:1]) == 0x0000
        assert modality.told == (1, {UIDS[0]: None}, True)


def test_nothing_is_confirmed_that_is_not_so(received: Reception) -> None:
    file_of(received, UIDS[1]).unlink()
    damaged = file_of(received, UIDS[2])
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    modality = Modality(received.port)
    with modality.calling() as assoc:
        assert ask(assoc, [*UIDS, f"{UIDS[0]}9"]) == 0x0000
        assert modality.told == (
            2,
            {UIDS[0]: None, UIDS[1]: 0x0112, UIDS[2]: 0x0110, f"{UIDS[0]}9": 0x0112},
            True,
        )


def test_another_sop_class_than_we_hold_is_a_conflict(received: Reception) -> None:
    modality = Modality(received.port)
    with modality.calling() as assoc:
        assert ask(assoc, UIDS[:1], sop_class=SecondaryCaptureImageStorage) == 0x0000
        assert modality.told == (2, {UIDS[0]: 0x0119}, True)


def test_a_row_that_is_not_committed_commits_to_nothing(received: Reception) -> None:
    with received.database.engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        connection.exec_driver_sql("DELETE FROM instance WHERE sop_instance_uid = ?", (UIDS[0],))
    modality = Modality(received.port)
    with modality.calling() as assoc:
        assert ask(assoc, UIDS[:1]) == 0x0000
        assert modality.told == (2, {UIDS[0]: 0x0112}, True)


def test_other_content_under_the_same_uid_must_be_there_too(received: Reception) -> None:
    assert store(received.port, mammogram(1, fill=7)).Status == 0x0000
    (_, (other, _)) = received.catalogue.holdings(UIDS[:1])[UIDS[0]].files
    modality = Modality(received.port)
    with modality.calling() as assoc:
        assert ask(assoc, UIDS[:1]) == 0x0000
        assert modality.told == (1, {UIDS[0]: None}, True)
        received.files.absolute(other).unlink()
        modality.heard.clear()
        assert ask(assoc, UIDS[:1]) == 0x0000
        assert modality.told == (2, {UIDS[0]: 0x0112}, True)


def test_a_database_that_is_away_commits_to_nothing(received: Reception) -> None:
    modality = Modality(received.port)
    with received.database.engine.connect() as connection, modality.calling() as assoc:
        connection.exec_driver_sql("ALTER TABLE instance RENAME TO gone")
        assert ask(assoc, UIDS[:1]) == 0x0000
        assert modality.told == (2, {UIDS[0]: 0x0110}, True)
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO instance")


def test_a_peer_that_left_is_called_back_at_its_port(tmp_path: Path) -> None:
    port = free_port()
    peers = (PeerSettings(ae_title="MODALITY", address="127.0.0.1", port=port),)
    with reception(tmp_path / "data", peers=peers) as received:
        assert store(received.port, mammogram(1)).Status == 0x0000
        modality = Modality(received.port)
        with modality.listening(port):
            with modality.calling() as assoc:
                assert ask(assoc, UIDS[:2]) == 0x0000
            assert modality.told == (2, {UIDS[0]: None, UIDS[1]: 0x0112}, False)
        assert len(modality.reports) == 1


def test_a_peer_that_is_away_or_fails_is_called_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    peers = (PeerSettings(ae_title="MODALITY", address="127.0.0.1", port=port),)
    waits = (0.0, *[0.05] * 300)
    with reception(tmp_path / "data", peers=peers, attempt_waits=waits) as received:
        modality = Modality(received.port, answers=[0x0110, 0x0000])
        with modality.calling() as assoc:
            assert ask(assoc, UIDS[:1]) == 0x0000
        wait_for_log(capfd, "commitment.attempt_failed")
        # It is looked at anew for each attempt: what came meanwhile is committed.
        assert store(received.port, mammogram(1)).Status == 0x0000
        with modality.listening(port):
            wait_for_log(capfd, "commitment.reported")
        assert len(modality.reports) == 2
        assert modality.told == (1, {UIDS[0]: None}, False)


def wait_for_log(capfd: pytest.CaptureFixture[str], event: str) -> None:
    output = ""

    def logged() -> bool:
        nonlocal output
        output += capfd.readouterr().out
        return event in output

    until(logged)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"action": 2}, 0x0123),
        ({"instance": "1.2.3"}, 0x0112),
        ({"TransactionUID": None}, 0x0115),
        ({"TransactionUID": "x"}, 0x0115),
        ({"ReferencedSOPSequence": []}, 0x0115),
        ({"ReferencedSOPSequence": [Dataset()]}, 0x0115),
    ],
    ids=["action", "instance", "no transaction", "no UID", "no reference", "empty reference"],
)
def test_a_request_that_is_none_is_refused(
    received: Reception, changes: dict[str, Any], status: int
) -> None:
    modality = Modality(received.port)
    with modality.calling() as assoc:
        assert ask(assoc, UIDS, **changes) == status
        assert assoc.send_c_store(mammogram(9)).Status == 0x0000
    assert not modality.reports


def test_who_left_and_has_no_port_is_not_told_and_asks_again(
    received: Reception, capfd: pytest.CaptureFixture[str]
) -> None:
    modality = Modality(received.port)
    with modality.calling() as assoc:
        assert ask(assoc, UIDS) == 0x0000
    wait_for_log(capfd, "commitment.unreported")
    with modality.calling() as assoc:
        assert ask(assoc, UIDS) == 0x0000
        assert modality.told == (1, dict.fromkeys(UIDS), True)


def test_requests_beyond_the_limit_are_told_to_come_back(
    received: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = threading.Event()

    def slow(_uids: Sequence[str]) -> dict[str, Holding]:
        busy.wait(15)
        return {}

    monkeypatch.setattr(received.catalogue, "holdings", slow)
    modality = Modality(received.port)
    with modality.calling() as assoc:
        answers = [ask(assoc, UIDS) for _ in range(commitment_scp.MOST_TRANSACTIONS + 1)]
    assert answers == [0x0000] * commitment_scp.MOST_TRANSACTIONS + [0x0213]
    busy.set()


@pytest.mark.orthanc
@pytest.mark.skipif(find_orthanc() is None, reason="needs the orthanc package")
def test_orthanc_sends_asks_and_is_told(tmp_path: Path) -> None:
    program = find_orthanc()
    assert program is not None
    dimse_port, http_port, our_port = free_port(), free_port(), free_port()
    folder = tmp_path / "orthanc"
    folder.mkdir()
    config = {
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "DicomAet": "ORTHANC",
        "DicomPort": dimse_port,
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "DicomModalities": {"us": ["ONCOPIXEL", "127.0.0.1", our_port]},
    }
    (folder / "orthanc.json").write_text(json.dumps(config))
    peers = (PeerSettings(ae_title="ORTHANC", address="127.0.0.1", port=dimse_port),)
    process = subprocess.Popen(
        [program, folder / "orthanc.json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with (
            reception(tmp_path / "data", peers=peers, dimse_port=our_port),
            httpx.Client(base_url=f"http://127.0.0.1:{http_port}", trust_env=False) as orthanc,
        ):
            until(lambda: _answers(orthanc), 30)
            image = write(mammogram(1), tmp_path / "a.dcm").read_bytes()
            sent = orthanc.post("/instances", content=image).json()["ID"]
            job = {"Resources": [sent], "StorageCommitment": True}
            done = orthanc.post("/modalities/us/store", json=job, timeout=30).json()
            assert _commitment(orthanc, done["StorageCommitmentTransactionUID"]) == {
                "Status": "Success",
                "Failures": [],
            }
            unknown = {"DicomInstances": [[MG, UIDS[1]]], "Timeout": 10}
            path = "/modalities/us/storage-commitment"
            asked = orthanc.post(path, json=unknown, timeout=30).json()["ID"]
            answer = _commitment(orthanc, asked)
            assert answer["Status"] == "Failure"
            assert [item["FailureReason"] for item in answer["Failures"]] == [0x0112]
    finally:
        process.terminate()
        process.wait(30)


def _answers(orthanc: httpx.Client) -> bool:
    try:
        return orthanc.get("/system").status_code == 200
    except httpx.TransportError:
        return False


def _commitment(orthanc: httpx.Client, transaction: str) -> dict[str, Any]:
    path = f"/storage-commitment/{transaction}"
    until(lambda: orthanc.get(path).json()["Status"] != "Pending", 30)
    answer = orthanc.get(path).json()
    return {name: answer.get(name, []) for name in ("Status", "Failures")}
