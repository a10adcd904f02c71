"""Storage commitment reports that are owed outlive the server, and are told once it is back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from commitment_modality import TRANSACTION, UIDS, Modality, ask
from dimse_builder import free_port, mammogram, reception, store, until, utc_now
from server_process import ServerProcess

from oncopixel_pacs.settings import PeerSettings


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def peers(port: int) -> tuple[PeerSettings, ...]:
    return (PeerSettings(ae_title="MODALITY", address="127.0.0.1", port=port),)


def ask_and_leave(modality: Modality, uids: list[str]) -> None:
    with modality.calling() as assoc:
        assert ask(assoc, uids) == 0x0000


def test_a_report_that_could_not_be_told_is_told_after_a_restart(
    tmp_path: Path, port: int, peers: tuple[PeerSettings, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    with reception(tmp_path / "data", peers=peers, attempt_waits=(0.0, 600.0)) as received:
        assert store(received.port, mammogram(1)).Status == 0x0000
        # Asked twice under the same transaction it is owed once.
        for _ in range(2):
            ask_and_leave(Modality(received.port), UIDS[:1])
        (owed,) = received.records.pending_reports.all()
        assert (owed.transaction_uid, owed.address) == (TRANSACTION, "127.0.0.1")
    assert "commitment.postponed" in capfd.readouterr().out
    modality = Modality(0)
    with (
        modality.listening(port),
        reception(tmp_path / "data", peers=peers) as received,
    ):
        assert modality.told == (1, {UIDS[0]: None}, False)
        until(lambda: not received.records.pending_reports.all())
    assert len(modality.reports) == 1
    with modality.listening(port), reception(tmp_path / "data", peers=peers):
        pass
    assert len(modality.reports) == 1


def test_what_was_told_or_cannot_be_told_is_owed_no_longer(tmp_path: Path) -> None:
    with reception(tmp_path / "data") as received:
        modality = Modality(received.port)
        with modality.calling() as assoc:
            assert ask(assoc, UIDS[:1]) == 0x0000
            assert modality.told == (2, {UIDS[0]: 0x0112}, True)
        until(lambda: not received.records.pending_reports.all())
        ask_and_leave(modality, UIDS)
        until(lambda: not received.records.pending_reports.all())


def test_other_hosts_tell_their_own(
    tmp_path: Path, port: int, peers: tuple[PeerSettings, ...]
) -> None:
    with reception(tmp_path / "data", peers=peers, attempt_waits=(600.0,)) as received:
        ask_and_leave(Modality(received.port), UIDS)
    modality = Modality(0)
    with (
        modality.listening(port),
        reception(tmp_path / "data", peers=peers, executor="other") as received,
    ):
        assert store(received.port, mammogram(1)).Status == 0x0000
        assert not received.records.pending_reports.all()
    assert not modality.reports


def test_a_request_that_cannot_be_written_down_is_not_taken(tmp_path: Path) -> None:
    with reception(tmp_path / "data") as received:
        with received.database.engine.connect() as connection:
            connection.exec_driver_sql("ALTER TABLE pending_report RENAME TO gone")
            modality = Modality(received.port)
            with modality.calling() as assoc:
                assert ask(assoc, UIDS) == 0x0213
            connection.exec_driver_sql("ALTER TABLE gone RENAME TO pending_report")
        with modality.calling() as assoc:
            assert ask(assoc, UIDS) == 0x0000
            assert modality.told[0] == 2


def test_an_allowed_peer_is_called_back_at_its_port(tmp_path: Path, port: int) -> None:
    peers = (PeerSettings(ae_title="ROOM1"),)
    with reception(tmp_path / "data", peers=peers, attempt_waits=(0.0,)) as received:
        allowed = PeerSettings(ae_title="MODALITY", address="127.0.0.1", port=port)
        received.records.allowed_peers.allow(allowed, utc_now())
        modality = Modality(received.port)
        with modality.listening(port):
            ask_and_leave(modality, UIDS[:1])
            assert modality.told == (2, {UIDS[0]: 0x0112}, False)


@pytest.fixture
def server(tmp_path: Path, port: int) -> Iterator[ServerProcess]:
    peers = f'[[peers]]\nae_title = "MODALITY"\naddress = "127.0.0.1"\nport = {port}\n'
    process = ServerProcess(tmp_path, destinations=peers, roles=("receive",))
    try:
        yield process
    finally:
        process.stop()
        shutil.rmtree(process.data_dir, ignore_errors=True)


def test_kill_9_loses_no_report(server: ServerProcess, port: int) -> None:
    server.start(ready=False)
    assert store(server.dimse_port, mammogram(1)).Status == 0x0000
    modality = Modality(server.dimse_port)
    with modality.calling() as assoc:
        assert ask(assoc, UIDS[:1]) == 0x0000
        server.kill()
    assert not modality.reports
    with modality.listening(port):
        server.start(ready=False)
        assert modality.told == (1, {UIDS[0]: None}, False)
