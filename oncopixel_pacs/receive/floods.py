"""Keeps callers in their numbers from keeping others out.

A connection that has no association yet costs two threads and is worth nothing: there are only
so many, and a new one takes the place of the oldest of whoever has most. So nobody has to wait
for a silent caller to time out, whether it is one address that floods or many. Associations are
different: they belong to known peers and are never cut, only refused beyond their number.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from socket import SHUT_RDWR, socket

from oncopixel_pacs.receive.limits import Limits


@dataclass(eq=False, slots=True)
class Connection:
    """One open connection.

    Attributes
    ----------
    secured
        Whether it came over TLS, and shook hands.
    certificate_sha256
        Digest of the certificate that the peer showed over TLS; empty without.
    associated
        Whether its association was granted.
    """

    address: str
    socket: socket
    secured: bool = False
    certificate_sha256: str = ""
    associated: bool = False

    def cut(self) -> None:
        """End it; whoever waits for its bytes sees the end."""
        with suppress(OSError):
            # Below any TLS, whose own shutdown would get in the way of a handshake.
            socket.shutdown(self.socket, SHUT_RDWR)


class Gate:
    """Counts connections and associations, in total and by address; for all listeners."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._open: dict[Connection, None] = {}  # in the order of their coming

    def enter(self, sock: socket, address: str) -> Connection:
        """Let a connection in, at the cost of one that waits when too many do."""
        entered = Connection(address, sock)
        with self._lock:
            self._open[entered] = None
            dispensable = self._dispensable(address)
            if dispensable is not None:
                del self._open[dispensable]
        if dispensable is not None:
            dispensable.cut()
        return entered

    def associate(self, connection: Connection) -> bool:
        """Count an association in; ``False`` when there are too many already."""
        with self._lock:
            standing = [item.address for item in self._open if item.associated]
            if len(standing) >= self._limits.associations:
                return False
            if standing.count(connection.address) >= self._limits.associations_per_address:
                return False
            connection.associated = True
            return True

    def leave(self, connection: Connection) -> None:
        """Count a connection out; more than once is no harm."""
        with self._lock:
            self._open.pop(connection, None)

    def cut_waiting(self) -> None:
        """End every connection without an association."""
        with self._lock:
            waiting = [item for item in self._open if not item.associated]
        for item in waiting:
            item.cut()

    @property
    def waiting(self) -> int:
        """Connections without an association."""
        with self._lock:
            return sum(not item.associated for item in self._open)

    def _dispensable(self, address: str) -> Connection | None:
        waiting = [item for item in self._open if not item.associated]
        by_address = Counter(item.address for item in waiting)
        crowded = address
        if by_address[address] <= self._limits.waiting_per_address:
            if len(waiting) <= self._limits.waiting:
                return None
            crowded = by_address.most_common(1)[0][0]
        return next(item for item in waiting if item.address == crowded)
