"""The role ``work`` of the composition: reads studies and sends what was found."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from oncopixel_pacs import __version__
from oncopixel_pacs.deliver.worklist import opened as open_worklist
from oncopixel_pacs.domain import Algorithm
from oncopixel_pacs.infer.cards import models_digest
from oncopixel_pacs.infer.device_pool import DevicePool
from oncopixel_pacs.opening import Store, utc_now
from oncopixel_pacs.settings import Settings
from oncopixel_pacs.store.associations import AssociationLeases
from oncopixel_pacs.store.audit_trail import AuditTrail
from oncopixel_pacs.store.hosts import Hosts
from oncopixel_pacs.store.outbox import Outbox
from oncopixel_pacs.store.process_locks import place_of
from oncopixel_pacs.store.proofs import Proofs
from oncopixel_pacs.store.pulls import Pulls
from oncopixel_pacs.store.quarantine import Quarantine
from oncopixel_pacs.store.retention import Retention
from oncopixel_pacs.store.retention_clock import RetentionClock
from oncopixel_pacs.store.retractions import Retractions
from oncopixel_pacs.store.shadows import Shadows
from oncopixel_pacs.store.traces import Traces
from oncopixel_pacs.store.workitems import Workitems
from oncopixel_pacs.traces.otlp import open_receiver
from oncopixel_pacs.workflow.analysis import StudySteps
from oncopixel_pacs.workflow.delivery import DeliverySteps
from oncopixel_pacs.workflow.dispatch import Dispatcher
from oncopixel_pacs.workflow.engine import Executor, WorkQueue
from oncopixel_pacs.workflow.forgetting import forgetter
from oncopixel_pacs.workflow.gate import Gate
from oncopixel_pacs.workflow.lease import HostLease
from oncopixel_pacs.workflow.pace import EVERY_SECONDS, Pace
from oncopixel_pacs.workflow.performed_step import Station
from oncopixel_pacs.workflow.performing import TIMEOUT_SECONDS as WORKLIST_TIMEOUT_SECONDS
from oncopixel_pacs.workflow.performing import TaskPerformer, Work, performing
from oncopixel_pacs.workflow.proving import ProofSteps
from oncopixel_pacs.workflow.purging import Purge, purger
from oncopixel_pacs.workflow.repeated import Repeated, stop_all
from oncopixel_pacs.workflow.settling import Reconciler, Settler, Watch, longest_wait
from oncopixel_pacs.workflow.shadowing import begin_shadowing
from oncopixel_pacs.workflow.steps import Steps
from oncopixel_pacs.workflow.takeover import Reaper
from oncopixel_pacs.workflow.telling import tellers
from oncopixel_pacs.workflow.tracing import Storyteller, StorytellerThread

#: Models that cannot be loaded are tried so often while no study asks for them.
_MEND_EVERY_SECONDS = 30.0


@dataclass(frozen=True)
class WorkServer:
    """The parts of one process that work.

    Attributes
    ----------
    closing
        Ends what was started, in the reverse order.
    stopping
        Set when the server is told to stop.
    """

    settings: Settings
    store: Store
    queue: WorkQueue
    algorithms: tuple[Algorithm, ...]
    closing: ExitStack
    stopping: threading.Event

    def start(self) -> DevicePool:
        """Start everything that takes part; `closing` ends it.

        Raises
        ------
        ConfigurationError
            When a setting is wrong.
        ModelRefused
            When a model is not the one that the settings pin.
        """
        settings, store, queue = self.settings, self.store, self.queue
        database = store.database
        places = {item.name: item for item in settings.destinations}
        store.files.sweep_writing()
        device = DevicePool(settings.active_models, settings.inference)
        self.closing.callback(device.close)
        store.meters.watch_models(partial(_ready, device))
        lease = self._start_lease(device)
        study = StudySteps(
            catalogue=store.catalogue,
            ledger=store.ledger,
            files=store.files,
            analyser=device,
            software_version=__version__,
            max_attempts=settings.inference.max_attempts,
            destinations=places,
            algorithms=self.algorithms,
            gate=Gate(Quarantine(database), store.files, settings.results, utc_now),
            retractions=Retractions(database),
            queue=queue,
            now=utc_now,
            stopping=self.stopping,
            leases=lease,
        )
        executor = Executor(
            database.engine,
            settings.executor,
            {name: item.concurrency for name, item in places.items()},
            self._steps(study, lease),
        )
        self.closing.callback(executor.stop)
        self.closing.callback(lease.interrupt)
        device.start()
        executor.start(settings.inference.studies_at_a_time)
        self._keep_doing(Repeated("models", lambda _stops: device.mend(), _MEND_EVERY_SECONDS))
        self._start_watch()
        self._keep_doing(forgetter(store.ledger, queue, utc_now))
        pace = Pace(store.catalogue.has_open_work, executor.rest)
        self._keep_doing(Repeated("pace", lambda _stops: pace.keep(), EVERY_SECONDS))
        parts = (store.catalogue, store.ledger, store.files, Shadows(database))
        begin_shadowing(settings, *parts, utc_now, self.closing)
        return device

    def _steps(self, study: StudySteps, lease: HostLease) -> Steps:
        settings, store = self.settings, self.store
        database, files = store.database, store.files
        places = {item.name: item for item in settings.destinations}
        how, title, tls = settings.delivery, settings.ae_title, settings.tls
        ledger, outbox = store.ledger, Outbox(database)
        note = AuditTrail(database, title).append
        send = DeliverySteps(ledger, outbox, files, places, how, title, utc_now, lease, tls, note)
        proof = ProofSteps(Proofs(database), files, places, how, title, utc_now, tls)
        return Steps(study.analyse, study.write, send.deliver, proof.prove)

    def _start_lease(self, device: DevicePool) -> HostLease:
        executor, queue = self.settings.executor, self.queue
        lease = HostLease(
            Hosts(self.store.database),
            executor,
            self.settings.takeover_seconds,
            lambda: queue.queue_again(queue.running_on(executor)),
            trouble=lambda: device.trouble,
            place=place_of(self.settings.data_dir),
            # As when it is told to stop; whoever starts it again reads why it may not.
            yields=partial(os.kill, os.getpid(), signal.SIGTERM),
        )
        lease.start()
        self.closing.callback(lease.stop)
        return lease

    def _start_watch(self) -> None:
        store, queue = self.store, self.queue
        settler = Settler(
            store.catalogue,
            AssociationLeases(store.database),
            queue,
            self.settings.completion,
            models_digest(self.algorithms, __version__),
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
        self.closing.callback(watch.stop)
        self._start_telling()
        if self.settings.retention.days is not None:
            retention = Retention(store.database, store.files)
            clock = RetentionClock(store.database, self.settings.executor)
            purge = Purge(retention, queue, self.settings.retention, utc_now, clock)
            self._keep_doing(purger(purge))

    def _keep_doing(self, duty: Repeated) -> None:
        duty.start()
        self.closing.callback(duty.stop)

    def _start_telling(self) -> None:
        """Tell others what ended: those who are called, and the collector of traces."""
        store = self.store
        told = tuple(tellers(self.settings, store.database, store.ledger, store.catalogue, utc_now))
        for teller in told:
            teller.start()
        self.closing.callback(stop_all, told)
        if self.settings.worklists:
            self._keep_doing(performing(self._performer()))
        if self.settings.tracing.endpoint:
            storyteller = self._storyteller()
            storyteller.start()
            self.closing.callback(storyteller.stop)

    def _performer(self) -> TaskPerformer:
        settings, store, database = self.settings, self.store, self.store.database
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

    def _storyteller(self) -> StorytellerThread:
        traces, settings = Traces(self.store.database), self.settings.tracing
        receiver = open_receiver(settings, self.settings.executor)
        return StorytellerThread(
            Storyteller(traces, self.store.ledger, receiver, settings.ratio, utc_now)
        )


def _ready(device: DevicePool) -> bool:
    return device.ready
