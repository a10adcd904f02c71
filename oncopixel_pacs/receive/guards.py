"""Where we bend pynetdicom: bounded PDUs, deadlines, and objects spooled to disk.

The library reads a PDU of any length, waits for its end for ever, and leaves temporary files
behind when a peer goes away (pynetdicom issue 1086). Nothing is patched in the library itself:
each association of a `SpoolingServer` gets our socket and our DIMSE provider instead of its
own. That leans on names inside pynetdicom 3.0.4; a test compares every one of them.
"""

from __future__ import annotations

import sys
import time
from socket import IPPROTO_TCP, TCP_NODELAY, socket
from typing import Any

from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from oncopixel_pacs.receive.floods import Connection, Gate
from oncopixel_pacs.receive.limits import Limits
from oncopixel_pacs.receive.spool import SpoolingDimse
from oncopixel_pacs.receive.tls_door import TlsDoor
from oncopixel_pacs.store.free_space import FreeSpace

PYNETDICOM_VERSION = "3.0.4"


class BoundedSocket(AssociationSocket):
    """Socket that reads no PDU longer than it should be, nor for longer."""

    def __init__(self, assoc: Association, client_socket: socket, limits: Limits) -> None:
        super().__init__(assoc, client_socket=client_socket)
        self._limits = limits
        # Without it each small response waits for a delayed acknowledgement, 40 ms.
        client_socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        client_socket.settimeout(limits.pdu_seconds)

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
        sock: Any = self.socket
        deadline = time.monotonic() + self._limits.pdu_seconds
        received = bytearray(nr_bytes)
        position = 0
        with memoryview(received) as view:
            while position < nr_bytes:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError("PDU not complete in time")
                sock.settimeout(left)
                count = sock.recv_into(view[position:])
                if count == 0:
                    break
                position += count
        sock.settimeout(self._limits.pdu_seconds)
        return received[:position]

    def _shutdown_socket(self) -> None:
        """Close even if the peer was first; the library leaves that to the garbage collector."""
        super()._shutdown_socket()
        if self.socket is not None:
            self.socket.close()


class SpoolingRequestHandler(RequestHandler):
    """Gives each new association our socket and our DIMSE provider."""

    server: SpoolingServer
    connection: Connection

    def handle(self) -> None:
        """Serve one connection, after its handshake; in a thread of its own, not the acceptor's."""
        gate, door = self.server.gate, self.server.door
        self.connection = gate.enter(self.request, self.client_address[0])
        try:
            if door is not None:
                self.request = door.open(self.connection)
            if self.request is not None:
                super().handle()
                return
        except BaseException:
            gate.leave(self.connection)
            raise
        gate.leave(self.connection)

    def _create_association(self) -> Association:
        assoc: Any = super()._create_association()
        assoc.connection = self.connection
        # Each socket announces the connection; the state machine may see that only once.
        assoc.dul.event_queue.get_nowait()
        assoc.dul.socket = BoundedSocket(assoc, self.request, self.server.limits)
        assoc.dimse = SpoolingDimse(assoc, self.server.space, self.server.limits)
        self.server.associations.append(assoc)
        made: Association = assoc
        return made


class SpoolingServer(ThreadedAssociationServer):
    """Association server whose data sets go to one folder, and nothing of them is left there.

    Parameters
    ----------
    space
        Where temporary files are written, on the volume where they will be kept, and how much
        room there must be before one is begun.
    gate
        Counts connections.
    door
        Shakes hands over TLS; ``None`` for plain connections.
    """

    request_queue_size = 64
    daemon_threads = True

    def __init__(
        self,
        *args: Any,
        space: FreeSpace,
        limits: Limits,
        gate: Gate,
        door: TlsDoor | None,
        **kwargs: Any,
    ) -> None:
        self.space = space
        self.limits = limits
        self.gate = gate
        self.door = door
        self.associations: list[Association] = []
        kwargs["request_handler"] = SpoolingRequestHandler
        super().__init__(*args, **kwargs)

    def service_actions(self) -> None:
        """Clean up behind associations that ended, however they did; called by the accept loop."""
        for assoc in list(self.associations):
            if assoc.ident and not assoc.is_alive() and not assoc.dul.is_alive():
                if isinstance(assoc.dimse, SpoolingDimse):
                    assoc.dimse.discard_spools()
                self.associations.remove(assoc)
                self.gate.leave(connection_of(assoc))

    def end_associations(self, grace_seconds: float) -> None:
        """Abort what is open; wait for objects that are being stored, then clean up."""
        deadline = time.monotonic() + grace_seconds
        still_open = list(self.associations)
        for assoc in still_open:
            if assoc.is_established:
                assoc.abort()
            else:
                _stop_waiting(assoc)
        for assoc in still_open:
            assoc.join(max(deadline - time.monotonic(), 0.0))
            assoc.dul.join(max(deadline - time.monotonic(), 0.0))
        self.service_actions()


class SharedContexts(list[Any]):
    """Contexts that every association reads and none changes, so that none needs a copy."""

    def __deepcopy__(self, _memo: dict[int, Any]) -> SharedContexts:
        return self


def connection_of(assoc: Association) -> Connection:
    """Return the connection that an association of a `SpoolingServer` runs over."""
    held: Any = assoc
    connection: Connection = held.connection
    return connection


def _on_close(event: evt.Event) -> None:
    server: Any = event.assoc._server
    server.gate.leave(connection_of(event.assoc))
    if event.assoc.requestor.primitive is None:
        _stop_waiting(event.assoc)


def _stop_waiting(assoc: Association) -> None:
    """End the wait for an association request, as if its time were over."""
    queue: Any = assoc.dul.to_user_queue
    queue.put(None)


def make_server(
    ae: ApplicationEntity,
    address: tuple[str, int],
    handlers: list[Any],
    space: FreeSpace,
    limits: Limits,
    gate: Gate,
    door: TlsDoor | None = None,
) -> SpoolingServer:
    """Bind a `SpoolingServer`; its `serve_forever` accepts, its `shutdown` stops that.

    Raises
    ------
    OSError
        When the address cannot be bound.
    """
    ae.maximum_pdu_size = limits.pdu_bytes
    # The gate counts; the library would count connections that never asked for anything.
    ae.maximum_associations = sys.maxsize
    ae.acse_timeout = limits.request_seconds
    ae.dimse_timeout = limits.idle_seconds
    ae.network_timeout = limits.idle_seconds
    server: Any = ae.make_server(
        address,
        evt_handlers=[*handlers, (evt.EVT_CONN_CLOSE, _on_close)],
        server_class=SpoolingServer,
        space=space,
        limits=limits,
        gate=gate,
        door=door,
    )
    # `shutdown` takes it out of this list again.
    ae._servers.append(server)
    server.contexts = SharedContexts(server.contexts)
    bound: SpoolingServer = server
    return bound
