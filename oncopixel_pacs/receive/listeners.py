"""The ports that we listen on: the plain one, the TLS one, or both."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pynetdicom.ae import ApplicationEntity

from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.receive.floods import Gate
from oncopixel_pacs.receive.guards.server import SpoolingServer, make_server
from oncopixel_pacs.receive.guards.store_provider import StoreService
from oncopixel_pacs.receive.limits import Limits
from oncopixel_pacs.receive.tls_door import TlsDoor
from oncopixel_pacs.settings import Settings
from oncopixel_pacs.tls import RenewingContext

#: How often an accept loop cleans up and looks whether it should end.
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Ports:
    """Where we really listen; ``None`` where we do not."""

    plain: int | None
    tls: int | None


class Listeners:
    """One or two servers with the same handlers and one gate.

    Parameters
    ----------
    handlers
        Event handlers of each association.
    service
        Serves C-STORE.
    tls_refused
        Told of each TLS handshake that failed: address and reason.
    """

    def __init__(
        self,
        entity: ApplicationEntity,
        settings: Settings,
        handlers: list[Any],
        service: StoreService,
        gate: Gate,
        tls_refused: Callable[[str, str], None],
    ) -> None:
        self._entity = entity
        self._settings = settings
        self._handlers = handlers
        self._service = service
        self._gate = gate
        self._tls_refused = tls_refused
        self._running: list[tuple[SpoolingServer, threading.Thread]] = []

    def start(self, limits: Limits) -> Ports:
        """Bind, then accept until `stop`.

        Raises
        ------
        ConfigurationError
            When an address cannot be bound, or a file of ``[tls]`` is not what it should be.
        """
        plain = secured = None
        tls = self._settings.tls
        door = None
        if tls.listens:
            door = TlsDoor(RenewingContext(tls), limits.request_seconds, self._tls_refused)
        bound: list[SpoolingServer] = []
        try:
            if not tls.only:
                bound.append(self._bind("dimse_port", self._settings.dimse_port, limits, None))
                plain = _port(bound[-1])
            if door is not None:
                bound.append(self._bind("[tls] port", tls.port, limits, door))
                secured = _port(bound[-1])
        except ConfigurationError:
            for server in bound:
                server.server_close()
            raise
        for server in bound:
            thread = threading.Thread(
                target=server.serve_forever, args=(POLL_SECONDS,), name="dicom", daemon=True
            )
            thread.start()
            self._running.append((server, thread))
        return Ports(plain, secured)

    @property
    def callers(self) -> frozenset[str]:
        """Calling AE titles that have an association open now."""
        return frozenset(
            str(assoc.requestor.ae_title).strip()
            for server, _ in list(self._running)
            for assoc in list(server.associations)
            if assoc.is_established
        )

    def stop(self, grace_seconds: float) -> None:
        """Stop accepting, end what is open, and wait for objects that are being stored."""
        for server, thread in self._running:
            server.shutdown()
            thread.join()
        self._gate.cut_waiting()
        for server, _ in self._running:
            server.end_associations(grace_seconds)
        self._running.clear()

    def _bind(
        self, setting: str, port: int, limits: Limits, door: TlsDoor | None
    ) -> SpoolingServer:
        address = (self._settings.dimse_host, port)
        try:
            return make_server(
                self._entity, address, self._handlers, self._service, limits, self._gate, door
            )
        except OSError as exc:
            raise ConfigurationError(
                f"DICOM cannot listen on {address[0]} port {port} ({exc.strerror}); "
                f"free the port or set dimse_host and {setting}."
            ) from exc


def _port(server: SpoolingServer) -> int:
    return int(server.server_address[1])
