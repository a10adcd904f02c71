"""The composition root: settings in, running parts out. Nothing else builds parts."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from enum import StrEnum

import structlog

from oncopixel_pacs import __version__
from oncopixel_pacs.child_process import loading
from oncopixel_pacs.opening import Store, begin_duties, open_store, upkeep_of, utc_now
from oncopixel_pacs.settings import Settings
from oncopixel_pacs.store.installation import require_mounted
from oncopixel_pacs.store.restore import require_restored
from oncopixel_pacs.syslog import begin_audit
from oncopixel_pacs.workflow.repeated import Repeated

log = structlog.get_logger()

CACHE_EVERY_SECONDS = 60.0


class Role(StrEnum):
    """What a server process does; several hosts may share a database and split the roles."""

    RECEIVE = "receive"
    WORK = "work"
    API = "api"


@dataclass(frozen=True)
class Addresses:
    """Ports that the server really listens on; ``None`` for a role it does not have."""

    dimse_port: int | None = None
    dimse_tls_port: int | None = None
    http_port: int | None = None
    metrics_port: int | None = None
    """Of a process without the role ``api``, where one is configured."""


@dataclass
class Server:
    """A server with some or all roles. `start` brings everything up, `stop` takes it down."""

    settings: Settings
    roles: Collection[Role] = tuple(Role)
    _closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def start(self) -> Addresses:
        """Start the parts that the roles need.

        Raises
        ------
        ConfigurationError
            When a port is taken, the database is away, or a setting is wrong.
        ModelRefused
            When a model is not the one that the settings pin.
        """
        try:
            return self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop in the reverse order; work in flight is taken up at the next start."""
        self._stopping.set()
        self._closing.close()

    def _start(self) -> Addresses:
        # First of all: a second server would sweep away what the first one is receiving.
        duties = {Role.RECEIVE: "receive", Role.WORK: f"work-{self.settings.executor}"}
        begin_duties(
            self.settings, [duties[role] for role in duties if role in self.roles], self._closing
        )
        require_restored(self.settings.data_dir)
        store = open_store(self.settings)
        self._closing.callback(store.database.close)
        require_mounted(store.database, store.files)
        begin_audit(store.audit, self.settings, utc_now, self._closing, Role.API in self.roles)
        if (tidy := upkeep_of(store, self.settings)) is not None:
            keeper = Repeated("cache", tidy, CACHE_EVERY_SECONDS)
            keeper.start()
            self._closing.callback(keeper.stop)
        addresses = self._start_roles(store)
        # What is loaded by now stays: the collector need not look at it again with every image.
        gc.collect()
        gc.freeze()
        log.info(
            "server.started",
            roles=[str(role) for role in self.roles],
            **asdict(addresses),
            version=__version__,
        )
        return addresses

    def _start_roles(self, store: Store) -> Addresses:
        settings, closing = self.settings, self._closing
        working, receiving, telling = (
            role in self.roles for role in (Role.WORK, Role.RECEIVE, Role.API)
        )
        # A role's parts are loaded where it is played, and all before the first of them works.
        with loading():
            from oncopixel_pacs.infer.cards import read_algorithms
            from oncopixel_pacs.workflow.engine import WorkQueue

            if working:
                from oncopixel_pacs.work_server import WorkServer
            if receiving:
                from oncopixel_pacs.receive_server import start_receive
            if telling or settings.metrics.port is not None:
                from oncopixel_pacs.api_server import start_api, start_metrics
        # Receiving goes on where weights are damaged or not mounted.
        algorithms = read_algorithms(settings.active_models) if working or telling else ()
        queue = closing.enter_context(contextlib.closing(WorkQueue(store.database.engine)))
        device = None
        ports: dict[str, int | None] = {}
        if working:
            parts = (settings, store, queue, algorithms, closing, self._stopping)
            device = WorkServer(*parts).start()
        if receiving:
            dimse = start_receive(settings, store, closing)
            ports |= {"dimse_port": dimse.plain, "dimse_tls_port": dimse.tls}
        if telling:
            ports["http_port"] = start_api(settings, store, queue, algorithms, device, closing)
        elif settings.metrics.port is not None:
            ports["metrics_port"] = start_metrics(settings, store, closing)
        return Addresses(**ports)
