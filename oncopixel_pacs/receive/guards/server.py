"""The association server: it gives each association our parts instead of the library's."""

from __future__ import annotations

import sys
import time
from typing import Any

from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from oncopixel_pacs.receive.floods import Connection, Gate
from oncopixel_pacs.receive.guards.association_socket import BoundedSocket
from oncopixel_pacs.receive.guards.event_requests import AskingDimse
from oncopixel_pacs.receive.guards.state_machine import EndingStateMachine, stop_waiting
from oncopixel_pacs.receive.guards.store_provider import StoreService, StoringProvider
from oncopixel_pacs.receive.limits import Limits
from oncopixel_pacs.receive.tls_door import TlsDoor


class SpoolingRequestHandler(RequestHandler):
    """Gives each new association our socket and our providers."""

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
        assoc.dul = StoringProvider(assoc, self.server.service, self.server.limits)
        # The timers of the provider that was there before had these from the library.
        assoc.acse_timeout = self.ae.acse_timeout
        assoc.network_timeout = self.ae.network_timeout
        assoc.dul.state_machine = EndingStateMachine(assoc.dul)
        assoc.dul.socket = BoundedSocket(assoc, self.request, self.server.limits)
        assoc.dimse = AskingDimse(assoc)
        self.server.associations.append(assoc)
        made: Association = assoc
        return made


class SpoolingServer(ThreadedAssociationServer):
    """Association server that serves C-STORE by a `StoreService`.

    Parameters
    ----------
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
        service: StoreService,
        limits: Limits,
        gate: Gate,
        door: TlsDoor | None,
        **kwargs: Any,
    ) -> None:
        self.service = service
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
                stop_waiting(assoc)
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
        stop_waiting(event.assoc)


def make_server(
    ae: ApplicationEntity,
    address: tuple[str, int],
    handlers: list[Any],
    service: StoreService,
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
        service=service,
        limits=limits,
        gate=gate,
        door=door,
    )
    # `shutdown` takes it out of this list again.
    ae._servers.append(server)
    server.contexts = SharedContexts(server.contexts)
    bound: SpoolingServer = server
    return bound
