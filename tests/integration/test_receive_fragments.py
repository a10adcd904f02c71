"""However a C-STORE is cut into fragments, PDUs and segments, it is the same object."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dimse_builder import Reception, association, mammogram, reception, store, until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pynetdicom.dsutils import split_dataset
from store_fragments import encoded, fragment, pause, pdu, store_command

from oncopixel_pacs.receive.limits import Limits

CONTEXT = 1


@pytest.fixture
def received(tmp_path: Path) -> Iterator[Reception]:
    with reception(tmp_path / "data") as running:
        yield running


def send(assoc: Any, content: bytes) -> None:
    assoc.dul.socket.socket.sendall(content)


def status(assoc: Any) -> int:
    _, message = assoc.dimse.get_msg(block=True)
    return int(message.Status)


def status_of(received: Reception, pdus: bytes, segments: list[int]) -> int:
    """Send a request in segments of these sizes, and the rest in one; what is answered."""
    with association(received.port) as assoc:
        pause(assoc)
        for size in segments:
            send(assoc, pdus[:size])
            pdus = pdus[size:]
        send(assoc, pdus)
        return status(assoc)


def stored_bytes(received: Reception) -> list[bytes]:
    paths = [received.files.absolute(path) for path in received.files.stored_paths()]
    return [path.read_bytes()[split_dataset(path)[1] :] for path in paths]


def whole(image: Any, message_id: int = 1) -> bytes:
    command = fragment(CONTEXT, store_command(image, message_id), 0x03)
    return pdu(command) + pdu(fragment(CONTEXT, encoded(image), 0x02))


def test_command_and_data_set_may_share_a_pdu(received: Reception) -> None:
    image = mammogram()
    command = store_command(image)
    with association(received.port) as assoc:
        pause(assoc)
        first = fragment(CONTEXT, command[:30], 0x01)
        last = fragment(CONTEXT, command[30:], 0x03)
        send(assoc, pdu(first, last, fragment(CONTEXT, encoded(image), 0x02)))
        assert status(assoc) == 0x0000
    assert stored_bytes(received) == [encoded(image)]


def test_requests_that_do_not_wait_for_their_answers_are_all_answered(received: Reception) -> None:
    with association(received.port) as assoc:
        pause(assoc)
        send(assoc, b"".join(whole(mammogram(number), number) for number in range(1, 6)))
        answers = [assoc.dimse.get_msg(block=True)[1] for _ in range(5)]
    assert [answer.MessageIDBeingRespondedTo for answer in answers] == [1, 2, 3, 4, 5]
    assert len(received.stored) == 5


def test_an_echo_between_two_images_is_answered(received: Reception) -> None:
    with association(received.port) as assoc:
        for number in (1, 2, 3):
            assert assoc.send_c_store(mammogram(number)).Status == 0x0000
            assert assoc.send_c_echo().Status == 0x0000
    assert len(received.stored) == 3


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fragments=st.lists(st.integers(0, 3000), max_size=12),
    segments=st.lists(st.integers(1, 4000), min_size=1, max_size=12),
    fill=st.integers(0, 4095),
)
def test_any_cut_gives_the_same_bytes(
    received: Reception, fragments: list[int], segments: list[int], fill: int
) -> None:
    image = mammogram(fill + 1, fill=fill)
    content, position, pdus = encoded(image), 0, b""
    for size in fragments:
        pdus += pdu(fragment(CONTEXT, content[position : position + size], 0x00))
        position = min(position + size, len(content))
    pdus += pdu(fragment(CONTEXT, content[position:], 0x02))
    pdus = pdu(fragment(CONTEXT, store_command(image), 0x03)) + pdus
    assert status_of(received, pdus, segments) == 0x0000
    assert content in stored_bytes(received)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fragments=st.lists(st.integers(60_000, 131_064), min_size=1, max_size=4),
    segments=st.lists(st.integers(1, 150_000), max_size=8),
    seed=st.integers(0, 1 << 20),
)
def test_any_cut_of_a_large_image_gives_the_same_bytes(
    received: Reception, fragments: list[int], segments: list[int], seed: int
) -> None:
    stored = np.random.default_rng(seed).integers(0, 4096, (700, 500), dtype=np.uint16)
    image = mammogram(seed + 1, rows=700, columns=500, PixelData=stored.tobytes())
    content, position = encoded(image), 0
    pdus = pdu(fragment(CONTEXT, store_command(image), 0x03))
    for size in itertools.cycle(fragments):
        is_last = position + size >= len(content)
        part = content[position : position + size]
        pdus += pdu(fragment(CONTEXT, part, 0x02 if is_last else 0x00))
        position += size
        if is_last:
            break
    assert status_of(received, pdus, segments) == 0x0000
    assert content in stored_bytes(received)


@pytest.mark.parametrize(
    "intruder",
    [
        pdu(fragment(CONTEXT, store_command(mammogram(2)), 0x03)),
        pdu(fragment(CONTEXT + 2, b"other context", 0x00)),
        struct.pack(">BxL", 4, 6) + struct.pack(">LBB", 5000, CONTEXT, 0),
        struct.pack(">BxL", 4, 3) + b"abc",
        struct.pack(">BxL", 9, 4) + b"none",
    ],
    ids=["another request", "another context", "longer than its PDU", "half a head", "no PDU"],
)
def test_what_does_not_belong_into_a_data_set_ends_the_association(
    received: Reception, intruder: bytes
) -> None:
    image = mammogram()
    with association(received.port) as assoc:
        send(assoc, pdu(fragment(CONTEXT, store_command(image), 0x03)))
        send(assoc, pdu(fragment(CONTEXT, encoded(image)[:500], 0x00)))
        send(assoc, intruder + bytes(200_000))
        until(lambda: not assoc.is_established)
    until(lambda: not received.leftovers)
    assert not received.stored
    assert store(received.port, image).Status == 0x0000


def test_a_store_in_a_context_of_another_service_is_refused(received: Reception) -> None:
    image = mammogram(SOPClassUID="1.2.840.10008.1.1")
    with association(received.port) as assoc:
        pause(assoc)
        echo = next(c for c in assoc.accepted_contexts if c.abstract_syntax == image.SOPClassUID)
        command = fragment(echo.context_id, store_command(image), 0x03)
        send(assoc, pdu(command, fragment(echo.context_id, encoded(image), 0x02)))
        assert status(assoc) == 0xA900
    assert not received.stored


def test_a_peer_that_stops_inside_a_data_set_is_cut_off(tmp_path: Path) -> None:
    with reception(tmp_path / "data", Limits(pdu_seconds=0.5)) as received:
        with association(received.port) as assoc:
            send(assoc, pdu(fragment(CONTEXT, store_command(mammogram()), 0x03)))
            send(assoc, pdu(fragment(CONTEXT, bytes(5000), 0x00))[:900])
            until(lambda: not assoc.is_established)
        until(lambda: not received.leftovers)


def test_a_silent_peer_is_cut_off_after_its_idle_time(tmp_path: Path) -> None:
    with (
        reception(tmp_path / "data", Limits(idle_seconds=0.6)) as received,
        association(received.port) as assoc,
    ):
        until(lambda: not assoc.is_established)
