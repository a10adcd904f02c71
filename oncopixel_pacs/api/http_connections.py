"""Connections of the HTTP listener: whoever says nothing holds no place that others need.

Anybody on the network can open connections and be silent, or ask byte by byte. Such connections
are bounded in number and in time; those over which someone who was let in is being answered are
never cut for others. Between requests they rest for longer than proxies and clients keep theirs:
who closes first cuts the request that is on its way (RFC 9112 9.6), which a POST does not survive.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

log = structlog.get_logger()

#: Connections over which nobody who was let in is being answered; each more cuts one.
MOST_WAITING = 128
#: The head of a request has to be here so long after the connection, or the answer before it.
HEAD_SECONDS = 15.0
#: A connection over which someone was let in may be idle for so long. Proxies keep theirs for 60 s
#: (nginx, load balancers of clouds), 90 s (Traefik) or 120 s (Caddy).
RESTING_SECONDS = 130
#: Connections that rest so; each more ends the one that has rested longest.
MOST_RESTING = 128
#: What has to come in that time of a body that was refused, so that its sender hears of it.
_LEAST_REFUSED_BYTES = 1 << 20

Peer = tuple[Any, ...]


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    protocol: GuardedProtocol | None = None

    @property
    def is_open(self) -> bool:
        return self.socket.fileno() >= 0

    @property
    def waits(self) -> bool:
        """Whether nobody who was let in is behind it, as far as is known; TLS may not stand yet."""
        return self.protocol is None or not (
            self.protocol.answers_someone_let_in or self.protocol.rests
        )


class Connections:
    """Bounds the connections that wait: one too many cuts the oldest of the busiest address.

    Used from the event loop of the listener alone.
    """

    def __init__(self, most_waiting: int = MOST_WAITING, most_resting: int = MOST_RESTING) -> None:
        self._most = most_waiting
        self._most_resting = most_resting
        #: In the order in which they came.
        self._open: dict[Peer, _Connection] = {}
        #: In the order in which they came to rest.
        self._resting: dict[GuardedProtocol, None] = {}

    def accepted(self, connection: socket.socket, peer: Peer) -> None:
        """Note a new connection, before TLS."""
        self._open = {key: item for key, item in self._open.items() if item.is_open}
        self._open[peer] = _Connection(connection)
        waiting = [key for key, item in self._open.items() if item.waits]
        if len(waiting) <= self._most:
            return
        (busiest, _), *_ = Counter(key[0] for key in waiting).most_common(1)
        oldest = next(key for key in waiting if key[0] == busiest)
        log.warning("http.connection_cut", address=busiest, reason="too many are silent")
        # Its transport reads the end, and closes it.
        with suppress(OSError):
            self._open.pop(oldest).socket.shutdown(socket.SHUT_RDWR)

    def served(self, peer: Peer, protocol: GuardedProtocol) -> None:
        """Note who reads a connection; TLS stands."""
        if peer in self._open:
            self._open[peer].protocol = protocol

    def rests(self, protocol: GuardedProtocol) -> None:
        """Note a connection over which someone was let in, and nothing is asked now."""
        self._resting[protocol] = None
        if len(self._resting) > self._most_resting:
            longest = next(iter(self._resting))
            del self._resting[longest]
            longest.timeout_keep_alive_handler()

    def rests_no_more(self, protocol: GuardedProtocol) -> None:
        """Note that something is asked over a connection, or that it ended."""
        self._resting.pop(protocol, None)


class BoundedSocket(socket.socket):
    """A listening socket that tells of each connection that it accepts."""

    connections: Connections

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection."""
        connection, peer = super().accept()
        self.connections.accepted(connection, peer)
        return connection, peer


class GuardedProtocol(H11Protocol):
    """HTTP/1.1 of uvicorn, which alone would wait for the head of a request without end."""

    def __init__(
        self,
        connections: Connections,
        head_seconds: float,
        resting_seconds: int,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._connections = connections
        self._head_seconds = head_seconds
        self._resting_seconds = self.timeout_keep_alive = resting_seconds
        self._let_in = False
        self._deadline: asyncio.TimerHandle | None = None
        self._received = 0

    @property
    def answers_someone_let_in(self) -> bool:
        """Whether a request is at work whose caller the guard of access knows."""
        return self._is_at_work and "caller" in self.scope["state"]

    @property
    def rests(self) -> bool:
        """Whether someone was let in over it before, and nothing is asked now."""
        return self._let_in and not self._is_at_work

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._connections.served(transport.get_extra_info("peername"), self)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        self._received += len(data)
        super().data_received(data)

    def handle_events(self) -> None:
        """Go on with what was received."""
        super().handle_events()
        self._watch()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self._let_in = self._let_in or "caller" in self.scope["state"]
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        self._watch_no_more()

    @property
    def _is_at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        if self._is_at_work or self.transport.is_closing():
            self._watch_no_more()
        elif self._deadline is None:
            self._received = 0
            seconds = self._resting_seconds if self.rests else self._head_seconds
            self._deadline = self.loop.call_later(seconds, self._look)
            if self.rests:
                self._connections.rests(self)

    def _watch_no_more(self) -> None:
        self._connections.rests_no_more(self)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _look(self) -> None:
        self._deadline = None
        if self._received >= _LEAST_REFUSED_BYTES:
            self._watch()
            return
        self.transport.abort()
