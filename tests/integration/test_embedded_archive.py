"""The embedded archive stops at once, whatever its peers are at."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from dimse_builder import until
from pynetdicom import evt
from pynetdicom.pdu import A_ASSOCIATE_RJ

from benchmarks.attackers import association_request
from oncopixel_pacs.demo.embedded_archive import EmbeddedArchive


@pytest.mark.parametrize("accepted", [True, False])
def test_a_peer_that_says_nothing_is_cut(tmp_path: Path, accepted: bool) -> None:
    archive = EmbeddedArchive(tmp_path, "ARCHIVE")
    with socket.create_connection(("127.0.0.1", archive.start()), timeout=5) as sock:
        if accepted:
            until(lambda: bool(archive.associations))
        archive.stop()
        assert _is_closed(sock)
    until(lambda: not archive.associations, seconds=5)


def test_a_peer_that_it_is_just_rejecting_hears_so(tmp_path: Path) -> None:
    rejected = threading.Event()

    def hold(event: evt.Event) -> None:
        if isinstance(event.pdu, A_ASSOCIATE_RJ):
            rejected.set()
            until(lambda: bool(event.assoc.dul.to_provider_queue.queue), seconds=5)

    archive = EmbeddedArchive(tmp_path, "ARCHIVE")
    with socket.create_connection(("127.0.0.1", archive.start()), timeout=5) as sock:
        server: Any = archive._server
        server.bind(evt.EVT_PDU_SENT, hold)
        sock.sendall(association_request())
        assert rejected.wait(5)
        archive.stop()
        assert sock.recv(10)[0] == A_ASSOCIATE_RJ().pdu_type
        assert _is_closed(sock)
    until(lambda: not archive.associations, seconds=5)


def _is_closed(sock: socket.socket) -> bool:
    """Whether the other side ended it, which resets what it had not accepted yet."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True
