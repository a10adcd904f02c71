"""The embedded archive stops at once, whatever its peers are at."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

from dimse_builder import until
from pynetdicom import evt
from pynetdicom.pdu import A_ASSOCIATE_RJ

from benchmarks.attackers import association_request
from oncopixel_pacs.demo.embedded_archive import EmbeddedArchive


def test_a_peer_that_says_nothing_is_cut(tmp_path: Path) -> None:
    archive = EmbeddedArchive(tmp_path, "ARCHIVE")
    with socket.create_connection(("127.0.0.1", archive.start()), timeout=5) as sock:
        until(lambda: bool(_serving()))
        archive.stop()
        assert sock.recv(1) == b""
    until(lambda: not _serving(), seconds=5)


def test_a_peer_that_it_is_just_rejecting_hears_so(tmp_path: Path) -> None:
    rejected = threading.Event()

    def hold(event: evt.Event) -> None:
        if isinstance(event.pdu, A_ASSOCIATE_RJ):
            rejected.set()
            until(lambda: bool(event.assoc.dul.to_provider_queue.queue), seconds=5)

    archive = EmbeddedArchive(tmp_path, "ARCHIVE")
    with socket.create_connection(("127.0.0.1", archive.start()), timeout=5) as sock:
        server: Any = archive._entity._servers[0]  # type: ignore[union-attr]
        server.bind(evt.EVT_PDU_SENT, hold)
        sock.sendall(association_request())
        assert rejected.wait(5)
        archive.stop()
        assert sock.recv(10)[0] == A_ASSOCIATE_RJ().pdu_type
        assert sock.recv(1) == b""
    until(lambda: not _serving(), seconds=5)


def _serving() -> list[threading.Thread]:
    return [item for item in threading.enumerate() if "AcceptorThread" in item.name]
