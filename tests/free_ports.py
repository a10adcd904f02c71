"""Ports for servers that are told their port before they start."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from itertools import cycle

#: Below those that the system gives to connections and to listeners on port 0, whoever asks (from
#: 32768 on Linux): none of them can take a port between our choice and the server's start.
_FIRST, _LAST = 12_000, 32_000
_PROCESSES = 8


def _ports_of_this_process() -> Iterator[int]:
    size = (_LAST - _FIRST) // _PROCESSES
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = _FIRST + size * (number % _PROCESSES)
    start = random.SystemRandom().randrange(size)  # another test run may be under way
    return cycle(first + (start + step) % size for step in range(size))


_PORTS = _ports_of_this_process()


def free_port() -> int:
    """Choose a loopback port that nothing listens on, another one each time."""
    for port in _PORTS:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("unreachable: a cycle has no end")
