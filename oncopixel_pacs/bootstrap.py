"""The composition root: settings in, running parts out. Nothing else builds parts."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial

import structlog

from oncopixel_pacs import __version__
from oncopixel_pacs.api_server import start_api, start_metrics
from oncopixel_pacs.deliver.fhir import post_transaction
from oncopixel_pacs.deliver.worklist import opened as open_worklist
from oncopixel_pacs.domain import Algorithm
from oncopixel_pacs.infer.cards import models_digest, read_algorithms
from oncopixel_pacs.infer.device_pool import DevicePool
from oncopixel_pacs.metrics.counting_store import CountingCallers
from oncopixel_pacs.opening import Store as Store  # commands take them from here
from oncopixel_pacs.opening import open_store as open_store
from oncopixel_pacs.opening import upkeep_of
from oncopixel_pacs.opening import utc_now as utc_now
from oncopixel_pacs.receive.intake import Intake
from oncopixel_pacs.receive.listeners import Ports
from oncopixel_pacs.receive.open_associations import AssociationWatch
from oncopixel_pacs.receive.pull.puller import Puller, PullParts
from oncopixel_pacs.receive.scp import StorageScp, open_records
from oncopixel_pacs.settings import Settings
from oncopixel_pacs.store.associations import AssociationLeases
from oncopixel_pacs.store.audit_trail import AuditTrail
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.hosts import Hosts
from oncopixel_pacs.store.outbox import Outbox
from oncopixel_pacs.store.proofs import Proofs
from oncopixel_pacs.store.pulls import Pulls
from oncopixel_pacs.store.retention import Retention
from oncopixel_pacs.store.retractions import Retractions
from oncopixel_pacs.store.shadows import Shadows
from oncopixel_pacs.store.traces import Traces
from oncopixel_pacs.store.webhooks import Webhooks
from oncopixel_pacs.store.workitems import Workitems
from oncopixel_pacs.syslog import begin_audit
from oncopixel_pacs.traces.otlp import open_receiver
from oncopixel_pacs.workflow.analysis import StudySteps
from oncopixel_pacs.workflow.delivery import DeliverySteps
from oncopixel_pacs.workflow.dispatch import Dispatcher
from oncopixel_pacs.workflow.engine import Executor, Steps, WorkQueue
from oncopixel_pacs.workflow.exporting import FhirWriter
from oncopixel_pacs.workflow.lease import HostLease
from oncopixel_pacs.workflow.notifying import Notifier, notifying
from oncopixel_pacs.workflow.performed_step import Station
from oncopixel_pacs.workflow.performing import TIMEOUT_SECONDS as WORKLIST_TIMEOUT_SECONDS
from oncopixel_pacs.workflow.performing import TaskPerformer, Work, performing
from oncopixel_pacs.workflow.proving import ProofSteps
from oncopixel_pacs.workflow.purging import Purge, purger
from oncopixel_pacs.workflow.repeated import Repeated
from oncopixel_pacs.workflow.settling import Reconciler, Settler, Watch, longest_wait
from oncopixel_pacs.workflow.shadowing import begin_shadowing
from oncopixel_pacs.workflow.takeover import Reaper
from oncopixel_pacs.workflow.tracing import Storyteller, StorytellerThread

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

    dimse_port: int | None
    dimse_tls_port: int | None
    http_port: int | None
    metrics_port: int | None = None
    """Of a process without the role ``api``, where one is configured."""


@dataclass
class Server:
    """A server with some or all roles. `start` brings everything up, `stop` takes it down."""

    settings: Settings
    roles: Collection[Role] = tuple(Role)
    _closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _device: DevicePool | None = None

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
        store = open_store(self.settings)
        self._closing.callback(store.database.close)
        begin_audit(store.audit, self.settings, utc_now, self._closing, Role.API in self.roles)
        if (tidy := upkeep_of(store, self.settings)) is not None:
            self._keep_doing(Repeated("cache", tidy, CACHE_EVERY_SECONDS))
        algorithms = read_algorithms(self.settings.active_models)
        queue = self._closing.enter_context(contextlib.closing(WorkQueue(store.database.engine)))
        if Role.WORK in self.roles:
            self._start_work(store, queue, algorithms)
        dimse = Ports(None, None)
        if Role.RECEIVE in self.roles:
            dimse = self._start_receive(store)
        http_port = metrics_port = None
        if Role.API in self.roles:
            http_port = start_api(
                self.settings, store, queue, algorithms, self._device, self._closing
            )
        elif self.settings.metrics.port is not None:
            metrics_port = start_metrics(self.settings, store, self._closing)
        # What is loaded by now stays: the collector need not look at it again with every image.
        gc.collect()
        gc.freeze()
        log.info(
            "server.started",
            roles=[str(role) for role in self.roles],
            dimse_port=dimse.plain,
            dimse_tls_port=dimse.tls,
            http_port=http_port,
            metrics_port=metrics_port,
            version=__version__,
        )
        return Addresses(dimse.plain, dimse.tls, http_port, metrics_port)

    def _start_work(
        self, store: Store, queue: WorkQueue, algorithms: tuple[Algorithm, ...]
    ) -> None:
        settings, database = self.settings, store.database
        places = {item.name: item for item in settings.destinations}
        store.files.sweep_writing()
        self._device = DevicePool(settings.active_models, settings.inference)
        self._closing.callback(self._device.close)
        store.meters.watch_models(partial(_ready, self._device))
        lease = self._start_lease(database, queue)
        study = StudySteps(
            catalogue=store.catalogue,
            ledger=store.ledger,
            files=store.files,
            analyser=self._device,
            software_version=__version__,
            max_attempts=settings.inference.max_attempts,
            destinations=places,
            algorithms=algorithms,
            gate=store.gate(settings.results),
            retractions=Retractions(database),
            queue=queue,
            now=utc_now,
            stopping=self._stopping,
            leases=lease,
        )
        executor = Executor(
            database.engine,
            settings.executor,
            {name: item.concurrency for name, item in places.items()},
            self._steps(store, study, lease),
        )
        self._closing.callback(executor.stop)
        self._closing.callback(lease.interrupt)
        self._device.start()
        executor.start(settings.inference.studies_at_a_time)
        self._start_watch(store, queue, algorithms)
        parts = (store.catalogue, store.ledger, store.files, Shadows(database))
        begin_shadowing(settings, *parts, utc_now, self._closing)

    def _steps(self, store: Store, study: StudySteps, lease: HostLease) -> Steps:
        settings, database, files = self.settings, store.database, store.files
        places = {item.name: item for item in settings.destinations}
        how, title, tls = settings.delivery, settings.ae_title, settings.tls
        ledger, outbox = store.ledger, Outbox(database)
        note = AuditTrail(database, title).append
        send = DeliverySteps(ledger, outbox, files, places, how, title, utc_now, lease, tls, note)
        proof = ProofSteps(Proofs(database), files, places, how, title, utc_now, tls)
        return Steps(study.analyse, study.write, send.deliver, proof.prove)

    def _start_lease(self, database: Database, queue: WorkQueue) -> HostLease:
        executor = self.settings.executor
        lease = HostLease(
            Hosts(database),
            executor,
            self.settings.takeover_seconds,
            lambda: queue.queue_again(queue.running_on(executor)),
        )
        lease.start()
        self._closing.callback(lease.stop)
        return lease

    def _start_watch(
        self, store: Store, queue: WorkQueue, algorithms: tuple[Algorithm, ...]
    ) -> None:
        settler = Settler(
            store.catalogue,
            AssociationLeases(store.database),
            queue,
            self.settings.completion,
            models_digest(algorithms, __version__),
            utc_now,
            audit=store.audit.append,
        )
        outbox = Outbox(store.database)
        watch = Watch(
            settler,
            Reconciler(
                store.database, store.ledger, outbox, queue, utc_now, longest_wait(self.settings)
            ),
            Dispatcher(outbox, Proofs(store.database), queue, self.settings.delivery, utc_now),
            Reaper(
                Hosts(store.database),
                store.ledger,
                queue,
                self.settings.executor,
                self.settings.takeover_seconds,
                utc_now,
            ),
        )
        watch.start()
        self._closing.callback(watch.stop)
        self._start_telling(store)
        if self.settings.retention.days is not None:
            retention = Retention(store.database, store.files)
            self._keep_doing(purger(Purge(retention, queue, self.settings.retention, utc_now)))

    def _keep_doing(self, duty: Repeated) -> None:
        duty.start()
        self._closing.callback(duty.stop)

    def _start_telling(self, store: Store) -> None:
        """Tell others what ended: those who are called, and the collector of traces."""
        if self.settings.webhooks:
            called = Notifier(
                Webhooks(store.database), store.ledger, self.settings.webhooks, utc_now
            )
            self._keep_doing(notifying(called))
        for export in self.settings.exports:
            write = FhirWriter(export, store.catalogue.study)
            called = Notifier(
                Webhooks(store.database), store.ledger, [export], utc_now, post_transaction, write
            )
            self._keep_doing(notifying(called))
        if self.settings.worklists:
            self._keep_doing(performing(self._performer(store)))
        if self.settings.tracing.endpoint:
            teller = self._storyteller(store)
            teller.start()
            self._closing.callback(teller.stop)

    def _performer(self, store: Store) -> TaskPerformer:
        settings, database = self.settings, store.database
        work = Work(
            Workitems(database),
            store.catalogue,
            store.ledger,
            Pulls(database),
            partial(open_worklist, timeout_seconds=WORKLIST_TIMEOUT_SECONDS, tls=settings.tls),
            utc_now,
        )
        places = {item.name: item for item in settings.destinations}
        stations = {
            item.name: Station(item.station_name or settings.ae_title.strip(), places)
            for item in settings.worklists
        }
        return TaskPerformer(work, settings.worklists, stations)

    def _storyteller(self, store: Store) -> StorytellerThread:
        traces, settings = Traces(store.database), self.settings.tracing
        receiver = open_receiver(settings, self.settings.executor)
        return StorytellerThread(
            Storyteller(traces, store.ledger, receiver, settings.ratio, utc_now)
        )

    def _start_receive(self, store: Store) -> Ports:
        # Before files without a row are looked for: some of them may have to go.
        Retention(store.database, store.files).recover()
        swept = store.files.sweep_incoming()
        intake = Intake(store.files, store.catalogue, utc_now, store.meters.refuse)
        adopted = intake.adopt_orphans()
        if swept or adopted:
            log.info("intake.recovered", swept=swept, adopted=adopted)
        note = store.audit.append_if_possible
        records = replace(
            open_records(store.database, self.settings.executor, note),
            callers=CountingCallers(store.database, store.meters),
        )
        scp = StorageScp(self.settings, intake, records, utc_now)
        ports = scp.start()
        self._closing.callback(scp.stop)
        store.meters.watch_senders(lambda: len(scp.callers))
        watch = AssociationWatch(AssociationLeases(store.database), lambda: scp.callers, utc_now)
        watch.start()
        self._closing.callback(watch.stop)
        puller = Puller(
            PullParts(
                Pulls(store.database),
                store.catalogue,
                store.ledger,
                intake,
                self.settings,
                utc_now,
            )
        )
        puller.start()
        self._closing.callback(puller.stop)
        return ports


def _ready(device: DevicePool) -> bool:
    return device.ready
