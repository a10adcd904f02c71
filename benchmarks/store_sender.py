"""The sender: one process per association, so that it is never what limits."""

from __future__ import annotations

import multiprocessing
import socket
import struct
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from typing import Any

from benchmarks.store_stream import LOADS, PDU_BYTES, StoreStream, associate_request

_RELEASE_REQUEST = struct.pack(">BxI4x", 5, 4)
_ANSWER_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Sent:
    """What was acknowledged, and how long that took from first connection to last answer."""

    numbers: tuple[int, ...]
    seconds: float
    dataset_bytes: int


class NotStored(Exception):
    """The receiver refused an object, or the association."""


def send(
    port: int, called_ae_title: str, load: str, associations: int, first: int, count: int
) -> Sent:
    """Send objects `first`, `first + 1`, … over several associations at once.

    Raises
    ------
    NotStored
        When not all were acknowledged with success.
    """
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(associations + 1)
    outcomes: Any = context.Queue()
    per_association = count // associations
    senders = [
        context.Process(
            target=_send,
            args=(port, called_ae_title, load, first + index * per_association, per_association)
            + (ready, outcomes),
            daemon=True,
        )
        for index in range(associations)
    ]
    for sender in senders:
        sender.start()
    ready.wait(60)
    found = [outcomes.get(timeout=600) for _ in senders]
    for sender in senders:
        sender.join()
    failed = [item for item in found if isinstance(item, str)]
    if failed:
        raise NotStored(failed[0])
    begin, end = min(item[0] for item in found), max(item[1] for item in found)
    numbers = tuple(range(first, first + per_association * associations))
    return Sent(numbers, end - begin, found[0][2] * len(numbers))


def _send(
    port: int,
    called_ae_title: str,
    load: str,
    first: int,
    count: int,
    ready: Barrier,
    outcomes: Any,
) -> None:
    stream = StoreStream(LOADS[load])
    view = memoryview(stream.pdus)
    ready.wait(60)
    try:
        begin = time.perf_counter()
        with socket.create_connection(("127.0.0.1", port), _ANSWER_SECONDS) as line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _associate(line, called_ae_title)
            for number in range(first, first + count):
                stream.number(number)
                line.sendall(view)
                _require_success(line)
            end = time.perf_counter()
            line.sendall(_RELEASE_REQUEST)
            _pdu(line)
        outcomes.put((begin, end, stream.dataset_bytes))
    except (OSError, NotStored) as exc:
        outcomes.put(f"{type(exc).__name__}: {exc}")


def _associate(line: socket.socket, called_ae_title: str) -> None:
    line.sendall(associate_request(called_ae_title))
    kind, body = _pdu(line)
    if kind != 2:
        raise NotStored(f"the association was rejected: {body.hex()}")
    position = body.find(b"\x51\x00\x00\x04")
    longest = struct.unpack_from(">I", body, position + 4)[0]
    if position < 0 or 0 < longest < PDU_BYTES:
        raise NotStored(f"PDUs of {longest} bytes were negotiated, not of {PDU_BYTES}")


def _require_success(line: socket.socket) -> None:
    kind, body = _pdu(line)
    position = body.find(struct.pack("<HHI", 0, 0x0900, 2))
    if kind != 4 or position < 0 or body[position + 8 : position + 10] != b"\0\0":
        raise NotStored(f"PDU type {kind}: {body[:200].hex()}")


def _pdu(line: socket.socket) -> tuple[int, bytes]:
    kind, length = struct.unpack(">BxI", _exactly(line, 6))
    return kind, _exactly(line, length)


def _exactly(line: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        part = line.recv(count - len(received))
        if not part:
            raise NotStored("the receiver closed the connection")
        received += part
    return received
