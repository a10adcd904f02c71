"""Attacks on the listener: each is ended, costs next to nothing, and keeps nobody out."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dimse_builder import Reception, association, mammogram, reception, store, until

from benchmarks.attackers import (
    ATTACKS,
    MIB,
    associate,
    association_request,
    closing_all,
    connect,
    receive,
    resident_bytes,
    store_pdus,
    was_cut,
)
from oncopixel_pacs.receive.limits import Limits

#: Times short enough for a test; numbers and sizes as they are, unless said.
QUICK = {"pdu_seconds": 0.6, "request_seconds": 0.6, "idle_seconds": 1.2}


@pytest.fixture(scope="module")
def received(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reception]:
    with reception(tmp_path_factory.mktemp("attacked"), Limits(**QUICK)) as running:
        assert store(running.port, mammogram(1)).Status == 0x0000
        yield running


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_ended_and_keeps_nobody_out(received: Reception, name: str) -> None:
    threads, memory = threading.active_count(), resident_bytes()
    begin = ATTACKS[name]
    with closing_all([begin(received.port) for _ in range(12)]) as attackers:
        began = time.monotonic()
        assert store(received.port, mammogram(2)).Status == 0x0000
        waited = time.monotonic() - began
        assert all(was_cut(sock) for sock in attackers)
    until(lambda: threading.active_count() <= threads + 1)
    until(lambda: not received.leftovers)
    assert resident_bytes() - memory < 40 * MIB
    assert waited < 2
    assert store(received.port, mammogram(3)).Status == 0x0000


def flooded(**numbers: int) -> Limits:
    return Limits(**{**QUICK, "request_seconds": 30.0, "idle_seconds": 30.0, **numbers})


def test_silent_connections_from_one_address_give_way(tmp_path: Path) -> None:
    limits = flooded(waiting_per_address=8)
    threads = threading.active_count()
    with (
        reception(tmp_path / "data", limits) as running,
        closing_all([connect(running.port, "127.0.0.2") for _ in range(60)]) as silent,
    ):
        until(lambda: sum(map(_is_cut, silent)) == 52)
        assert not any(map(_is_cut, silent[-8:]))
        # Two threads for each that waits, and a few of the listener's own.
        until(lambda: threading.active_count() <= threads + 2 * 8 + 8)
        assert store(running.port, mammogram(1)).Status == 0x0000
        # And whoever speaks from the same address gets a word in.
        assert store(running.port, mammogram(2), source="127.0.0.2").Status == 0x0000


def test_silent_connections_from_many_addresses_give_way(tmp_path: Path) -> None:
    limits = flooded(waiting=20, waiting_per_address=8)
    threads = threading.active_count()
    with reception(tmp_path / "data", limits) as running:
        sources = [f"127.0.0.{number}" for number in range(2, 42)] * 3
        with closing_all([connect(running.port, source) for source in sources]) as silent:
            until(lambda: sum(map(_is_cut, silent)) == len(silent) - 20)
            until(lambda: threading.active_count() <= threads + 2 * 20 + 8)
            assert store(running.port, mammogram()).Status == 0x0000


def _is_cut(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_associations_are_bounded_by_address_and_the_rest_is_told(tmp_path: Path) -> None:
    with (
        reception(tmp_path / "data", flooded(associations_per_address=5)) as running,
        closing_all([associate(running.port, "127.0.0.2") for _ in range(5)]),
    ):
        with association(running.port, source="127.0.0.2") as assoc:
            assert rejection(assoc) == (0x02, 0x03, 0x02)
        assert store(running.port, mammogram()).Status == 0x0000
        until(lambda: bool(running.callers.rejected()))
        (rejected,) = running.callers.rejected()
        assert rejected.address == "127.0.0.2"
        assert rejected.reason == "Local limit exceeded: too many associations are open"


def test_associations_are_bounded_in_all_and_room_comes_back(tmp_path: Path) -> None:
    limits = flooded(associations=6, associations_per_address=3)
    with reception(tmp_path / "data", limits) as running:
        with (
            closing_all([associate(running.port, f"127.0.0.{2 + n // 3}") for n in range(6)]),
            association(running.port) as assoc,
        ):
            assert rejection(assoc) == (0x02, 0x03, 0x02)

        def has_room() -> bool:
            with association(running.port) as assoc:
                return bool(assoc.is_established)

        until(has_room)


def rejection(assoc: Any) -> tuple[int, int, int]:
    answer = assoc.acceptor.primitive
    return answer.result, answer.result_source, answer.diagnostic


def test_two_hundred_associations_one_after_the_other_leave_nothing_behind(tmp_path: Path) -> None:
    with reception(tmp_path / "data") as running:
        associate(running.port).close()
        threads, memory = threading.active_count(), resident_bytes()
        for _ in range(200):
            associate(running.port).close()
        until(lambda: threading.active_count() <= threads)
        assert resident_bytes() - memory < 40 * MIB
        assert store(running.port, mammogram()).Status == 0x0000


@pytest.mark.parametrize("ending", ["abort", "close", "silence"])
def test_a_transfer_that_is_broken_off_leaves_no_file(received: Reception, ending: str) -> None:
    with closing_all([associate(received.port)]) as (sock,):
        for pdu in store_pdus(bytes(200_000))[:6]:
            sock.sendall(pdu)
        until(lambda: len(received.leftovers) == 1)
        if ending == "abort":
            sock.sendall(b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00")
        if ending != "silence":
            sock.close()
        until(lambda: not received.leftovers)


def test_as_many_as_may_associate_may_come_at_once(tmp_path: Path) -> None:
    limits = Limits()
    with (
        reception(tmp_path / "data") as running,
        closing_all(
            [connect(running.port) for _ in range(limits.associations_per_address)]
        ) as all_,
    ):
        for sock in all_:
            sock.sendall(association_request())
        for sock in all_:
            assert receive(sock, 1) == b"\x02"
