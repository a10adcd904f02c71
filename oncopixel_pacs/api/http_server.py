"""The HTTP listener: uvicorn in a thread, started and stopped like every other part."""

from __future__ import annotations

import socket
import ssl
import threading
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI

from oncopixel_pacs.api.http_connections import (
    HEAD_SECONDS,
    MOST_WAITING,
    RESTING_SECONDS,
    BoundedSocket,
    Connections,
    GuardedProtocol,
)
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.settings import ApiSettings, TlsSettings
from oncopixel_pacs.tls import RenewingContext

_START_SECONDS = 30.0
#: Requests that are still being answered at a stop get so long.
_GRACE_SECONDS = 5
#: Connections in all; those that wait are fewer, see `http_connections`.
_CONNECTIONS = 512


class _Listener(uvicorn.Server):
    """Says when it listens, so that nobody has to poll."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


def https_context(settings: ApiSettings) -> ssl.SSLContext | None:
    """Context of the HTTPS server, ``None`` for plain HTTP; callers show no certificate.

    Each handshake shows the certificate that the files then hold, so that it can be renewed
    while the server runs.

    Raises
    ------
    ConfigurationError
        When certificate or key cannot be used.
    """
    if settings.certificate is None:
        return None
    renewing = RenewingContext(
        TlsSettings(
            certificate=settings.certificate, key=settings.key, require_peer_certificate=False
        )
    )

    def renew(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = renewing.latest()

    context = renewing.current()
    # Called for every handshake, with a server name or without.
    context.sni_callback = renew
    return context


class HttpServer:
    """Serves an application from a thread of its own.

    Parameters
    ----------
    port
        0 picks a free one.
    tls
        What to encrypt with; plain HTTP when absent.
    head_seconds
        How long a connection may take to ask something.
    resting_seconds
        How long a connection over which someone was let in may be idle.
    """

    def __init__(
        self,
        app: FastAPI,
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        head_seconds: float = HEAD_SECONDS,
        resting_seconds: int = RESTING_SECONDS,
    ) -> None:
        self._app = app
        self._host = host
        self._port = port
        self._connections = Connections()
        protocol: Any = partial(GuardedProtocol, self._connections, head_seconds, resting_seconds)
        self._listener = _Listener(
            uvicorn.Config(
                app,
                loop="asyncio",
                http=protocol,
                ws="none",
                lifespan="off",
                # Records go to whoever configured logging; a request line may hold a UID.
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=_CONNECTIONS,
                backlog=MOST_WAITING,
                timeout_graceful_shutdown=_GRACE_SECONDS,
                ssl_context_factory=None if tls is None else lambda _config, _default: tls,
            )
        )
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> int:
        """Listen, and return once requests are answered.

        Returns
        -------
        int
            Port that is really bound.

        Raises
        ------
        ConfigurationError
            When the address cannot be bound.
        """
        bound = self._bind()
        self._socket = bound
        self._thread = threading.Thread(
            target=self._listener.run, args=([bound],), name="http", daemon=True
        )
        self._thread.start()
        if not self._listener.listening.wait(_START_SECONDS):
            self.stop()
            raise ConfigurationError(
                f"HTTP did not start within {_START_SECONDS:.0f} s; see the log."
            )
        return int(bound.getsockname()[1])

    def stop(self) -> None:
        """Answer what is under way, then close. Harmless when not started."""
        # Answers that have no end of their own look at this.
        self._app.state.stopping = True
        self._listener.should_exit = True
        if self._thread is not None:
            self._thread.join()
        if self._socket is not None:
            self._socket.close()

    def _bind(self) -> socket.socket:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            bound = BoundedSocket(family, kind, protocol)
            bound.connections = self._connections
        except OSError as exc:
            raise self._refused(exc) from exc
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen()
        except OSError as exc:
            bound.close()
            raise self._refused(exc) from exc
        return bound

    def _refused(self, exc: OSError) -> ConfigurationError:
        return ConfigurationError(
            f"HTTP cannot listen on {self._host}:{self._port} ({exc.strerror or exc}); "
            "free the port or set http_host and http_port."
        )
