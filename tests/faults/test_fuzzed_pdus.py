"""Whatever comes over the wire, the listener lives on: mutations of a whole conversation."""

from __future__ import annotations

import logging
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from dimse_builder import Reception, mammogram, reception, store, until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pynetdicom.dsutils import encode

from benchmarks.attackers import (
    MIB,
    association_request,
    closing_all,
    connect,
    resident_bytes,
    store_pdus,
    store_request,
    was_cut,
)
from oncopixel_pacs.receive.limits import Limits

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

IMAGE = encode(mammogram(9, rows=16, columns=16), False, True) or b""
RELEASE = b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"
#: PDUs of a good conversation: association, two images, release.
GOOD = [
    association_request(),
    *store_pdus(IMAGE, str(mammogram(9).SOPInstanceUID), 600),
    store_request(IMAGE, instance=str(mammogram(9).SOPInstanceUID).encode()),
    RELEASE,
]

positions = st.integers(0, 1 << 16)
mutations = st.one_of(
    st.tuples(st.just("flip"), positions, positions, st.integers(0, 7)),
    st.tuples(st.just("set"), positions, positions, st.integers(0, 255)),
    st.tuples(st.just("length"), positions, positions, st.integers(0, (1 << 32) - 1)),
    st.tuples(st.just("insert"), positions, positions, st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("cut"), positions, positions, st.just(0)),
    st.tuples(st.just("drop"), positions, positions, st.just(0)),
    st.tuples(st.just("repeat"), positions, positions, st.just(0)),
    st.tuples(st.just("swap"), positions, positions, st.just(0)),
)


@pytest.fixture(scope="module", autouse=True)
def unrecorded() -> Iterator[None]:
    """Keep the records of the library from pytest: their traces hold on to every buffer."""
    logger = logging.getLogger("pynetdicom")
    logger.propagate = False
    yield
    logger.propagate = True


@pytest.fixture(scope="module")
def received(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reception]:
    limits = Limits(pdu_seconds=0.5, request_seconds=0.5, idle_seconds=1.0)
    with reception(tmp_path_factory.mktemp("fuzzed"), limits) as running:
        assert store(running.port, mammogram(1)).Status == 0x0000
        yield running


@pytest.fixture(scope="module")
def threads(received: Reception) -> int:
    # Those of other tests in this process too.
    return threading.active_count()


@pytest.fixture(scope="module")
def memory(received: Reception) -> int:
    return resident_bytes()


def mutated(changes: list[tuple[str, int, int, int | bytes]]) -> list[bytes]:
    pdus = [bytearray(pdu) for pdu in GOOD]
    for kind, where, position, value in changes:
        which = where % len(pdus)
        pdu = pdus[which]
        at = position % max(len(pdu), 1)
        if kind == "flip" and pdu:
            pdu[at] ^= 1 << int(value)
        elif kind == "set" and pdu:
            pdu[at] = int(value)
        elif kind == "length":
            pdu[2:6] = int(value).to_bytes(4, "big")
        elif kind == "insert":
            pdu[at:at] = bytes(value)
        elif kind == "cut":
            del pdu[at:]
        elif kind == "drop" and len(pdus) > 1:
            del pdus[which]
        elif kind == "repeat":
            pdus.insert(which, bytearray(pdu))
        else:
            other = position % len(pdus)
            pdus[which], pdus[other] = pdus[other], pdus[which]
    return [bytes(pdu) for pdu in pdus]


def converse(port: int, conversations: list[list[bytes]]) -> bool:
    """Hold them at once, each to its end; whether the other side ended each."""
    with closing_all([connect(port) for _ in conversations]) as sockets:
        for sock, (first, *_) in zip(sockets, conversations, strict=True):
            sock.sendall(first)
        for sock, (_, *rest) in zip(sockets, conversations, strict=True):
            # What follows is for an association; one that does not come is not waited for long.
            select.select([sock], [], [], 0.1)
            with suppress(OSError):
                sock.sendall(b"".join(rest))
                sock.shutdown(socket.SHUT_WR)
        return all(map(was_cut, sockets))


@pytest.mark.usefixtures("threads", "memory")
def test_the_conversation_that_is_mutated_is_a_good_one(received: Reception) -> None:
    assert converse(received.port, [mutated([])])
    until(lambda: str(mammogram(9).SOPInstanceUID) in received.stored)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(mutations, min_size=1, max_size=4), min_size=8, max_size=8))
def test_mutated_conversations_end_and_leave_nothing(
    received: Reception, conversations: list[list[tuple[str, int, int, int | bytes]]]
) -> None:
    assert converse(received.port, [mutated(changes) for changes in conversations])


def test_after_them_all_is_as_before(received: Reception, threads: int, memory: int) -> None:
    until(lambda: not received.leftovers)
    until(lambda: threading.active_count() < threads + 10)
    for number in range(2, 6):
        assert store(received.port, mammogram(number)).Status == 0x0000
    assert resident_bytes() - memory < 60 * MIB
    outside = [path for path in received.files.data_dir.parent.iterdir() if path.name != "data"]
    assert not outside or received.files.data_dir in outside
