"""The socket of an association: bounded in bytes and time, and read ahead into one buffer."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from socket import IPPROTO_TCP, TCP_NODELAY, socket
from typing import Any

from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

from oncopixel_pacs.receive.limits import Limits

#: Two of the longest PDUs, or sixteen of what most senders use.
BUFFER_BYTES = 256 << 10


class BoundedSocket(AssociationSocket):
    """Socket that reads no PDU longer than it should be, nor for longer.

    `recv` is what the library calls. The other methods are for reading in place: bytes that
    came lie in `buffered` until they are taken, and views of them hold until `compact`.
    """

    def __init__(self, assoc: Association, client_socket: socket, limits: Limits) -> None:
        super().__init__(assoc, client_socket=client_socket)
        self._limits = limits
        self._buffer = bytearray()
        self._view = memoryview(self._buffer)
        self._low = self._high = 0
        # Without it each small response waits for a delayed acknowledgement, 40 ms.
        client_socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        client_socket.settimeout(limits.pdu_seconds)

    @property
    def buffered(self) -> int:
        """Number of bytes that came and were not taken yet."""
        return self._high - self._low

    @property
    def room(self) -> int:
        """Number of bytes that fit behind those that are buffered."""
        return len(self._buffer) - self._high

    @property
    def ready(self) -> bool:
        """Whether there is anything to read."""
        return self._high > self._low or bool(super().ready)

    def recv(self, nr_bytes: int) -> bytearray:
        """Read `nr_bytes`, or fewer when the peer closes.

        Raises
        ------
        OSError
            When that is more than allowed, or takes too long.
        """
        limit = self._limits.request_pdu_bytes
        if self.assoc.is_established:
            limit = self._limits.pdu_bytes + 6
        if nr_bytes > limit:
            raise OSError(f"PDU of {nr_bytes} bytes, {limit} are allowed")
        deadline = time.monotonic() + self._limits.pdu_seconds
        received = bytearray(nr_bytes)
        position = min(nr_bytes, self.buffered)
        received[:position] = self.take(position)
        with memoryview(received) as view:
            while position < nr_bytes:
                count = self._recv_into(view[position:], deadline)
                if count == 0:
                    break
                position += count
        return received[:position]

    def fill(self, deadline: float) -> None:
        """Buffer what comes, at least one byte; there must be `room`.

        Parameters
        ----------
        deadline
            By the monotonic clock.

        Raises
        ------
        OSError
            When the peer closed, or nothing came in time.
        """
        if not self._buffer:
            self._buffer = bytearray(BUFFER_BYTES)
            self._view = memoryview(self._buffer)
        count = self._recv_into(self._view[self._high :], deadline)
        if count == 0:
            raise ConnectionResetError("the peer closed the connection")
        self._high += count

    def peek(self, count: int) -> memoryview:
        """View of buffered bytes, which stay."""
        return self._view[self._low : self._low + count]

    def take(self, count: int) -> memoryview:
        """View of buffered bytes, which are gone with the next `compact`."""
        begin = self._low
        self._low += count
        return self._view[begin : self._low]

    def compact(self) -> None:
        """Make room: move what is buffered to the front; ends every view."""
        rest = self._high - self._low
        if rest:
            self._view[:rest] = bytes(self._view[self._low : self._high])
        self._low, self._high = 0, rest

    def drop(self) -> None:
        """Forget what is buffered."""
        self._low = self._high = 0

    def release(self) -> None:
        """Give the buffer back; the association may linger until garbage is collected."""
        self._view = memoryview(b"")
        self._buffer = bytearray()
        self._low = self._high = 0

    def pending(self) -> bool:
        """Whether bytes wait that no poll sees: a TLS record is decrypted as a whole."""
        pending = getattr(self.socket, "pending", None)
        return bool(pending and pending())

    def _recv_into(self, view: memoryview, deadline: float) -> int:
        sock: Any = self.socket
        if sock is None:
            raise ConnectionResetError("the connection is closed")
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("PDU not complete in time")
        if type(sock) is socket:  # what TLS has decrypted is nothing that the system knows of
            with suppress(BlockingIOError):
                return os.readv(sock.fileno(), (view,))
        sock.settimeout(left)
        try:
            return int(sock.recv_into(view))
        finally:
            # Another thread may have closed it meanwhile.
            if sock.fileno() != -1:
                sock.settimeout(self._limits.pdu_seconds)

    def _shutdown_socket(self) -> None:
        """Close even if the peer was first; the library leaves that to the garbage collector."""
        super()._shutdown_socket()
        if self.socket is not None:
            self.socket.close()
