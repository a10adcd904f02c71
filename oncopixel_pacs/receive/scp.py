"""The acceptor: association, C-ECHO, C-STORE, storage commitment. 0x0000 means safe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity

from oncopixel_pacs.audit import AuditEvent, unaudited
from oncopixel_pacs.receive.admission import Admission
from oncopixel_pacs.receive.commitment_reports import CommitmentReports
from oncopixel_pacs.receive.commitment_scp import ATTEMPT_WAITS, CommitmentScp
from oncopixel_pacs.receive.contexts import supported_contexts
from oncopixel_pacs.receive.floods import Gate
from oncopixel_pacs.receive.intake import Intake
from oncopixel_pacs.receive.limits import DEFAULT_LIMITS, Limits
from oncopixel_pacs.receive.listeners import Listeners, Ports
from oncopixel_pacs.receive.peers import PeerBook
from oncopixel_pacs.receive.privacy import quieten_libraries
from oncopixel_pacs.receive.rejections import RejectionRecorder
from oncopixel_pacs.receive.store_scp import StoreScp
from oncopixel_pacs.settings import Settings
from oncopixel_pacs.store.callers import Callers
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.free_space import FreeSpace, free_bytes
from oncopixel_pacs.store.peers import AllowedPeers
from oncopixel_pacs.store.pending_reports import PendingReports
from oncopixel_pacs.store.proofs import Proofs

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Records:
    """What is remembered of peers: who was rejected, who was allowed, who is owed a report."""

    callers: Callers
    allowed_peers: AllowedPeers
    pending_reports: PendingReports
    proofs: Proofs
    audit: Callable[[AuditEvent], object] = unaudited


def open_records(
    database: Database, executor: str, audit: Callable[[AuditEvent], object] = unaudited
) -> Records:
    """Return the records of one host."""
    reports = PendingReports(database, executor)
    return Records(Callers(database), AllowedPeers(database), reports, Proofs(database), audit)


class StorageScp:
    """Verification, storage and storage commitment SCP; takes reports of what we asked, too.

    Parameters
    ----------
    settings
        AE title, address and known peers.
    intake
        Where each object goes; its answer decides the status.
    records
        What is remembered of peers.
    now
        Clock, timezone-aware UTC.
    free_bytes
        Tells the free bytes of the volume that a folder lies on.
    attempt_waits
        Seconds before each attempt to report a commitment on an association of our own.
    """

    def __init__(
        self,
        settings: Settings,
        intake: Intake,
        records: Records,
        now: Callable[[], datetime],
        limits: Limits = DEFAULT_LIMITS,
        *,
        free_bytes: Callable[[Path], int] = free_bytes,
        attempt_waits: Sequence[float] = ATTEMPT_WAITS,
    ) -> None:
        self._settings = settings
        self._limits = limits
        space = FreeSpace(intake.incoming, settings.receive.least_free_bytes, free_bytes)
        self._store = StoreScp(intake, space, limits)
        self._peers = PeerBook(settings, records.allowed_peers)
        self._commitment = CommitmentScp(
            settings, intake.judge, self._peers, records.pending_reports, now, attempt_waits
        )
        resends = settings.delivery.resends
        self._reports = CommitmentReports(
            lambda report: records.proofs.report(report, now(), resends)
        )
        self._rejections = RejectionRecorder(records.callers, now, records.audit)
        self._listeners: Listeners | None = None

    def start(self) -> Ports:
        """Bind the addresses and accept associations until `stop`.

        Raises
        ------
        ConfigurationError
            When an address cannot be bound, or a file of ``[tls]`` is not what it should be.
        """
        quieten_libraries()
        entity = ApplicationEntity(self._settings.ae_title)
        entity.supported_contexts = supported_contexts(self._settings.receive.further_sop_classes)
        gate = Gate(self._limits)
        titles = (self._settings.ae_title, *self._settings.receive.further_ae_titles)
        admission = Admission(titles, self._peers, gate, self._rejections)
        handlers = [
            (evt.EVT_REQUESTED, admission.on_request),
            (evt.EVT_N_ACTION, self._commitment.on_action),
            (evt.EVT_N_EVENT_REPORT, self._reports.on_report),
        ]
        listeners = Listeners(
            entity,
            self._settings,
            handlers,
            self._store.service,
            gate,
            admission.on_tls_refused,
        )
        ports = listeners.start(self._limits)
        self._listeners = listeners
        self._rejections.start()
        self._commitment.resume()
        return ports

    @property
    def callers(self) -> frozenset[str]:
        """Calling AE titles that have an association open now."""
        listeners = self._listeners
        return frozenset() if listeners is None else listeners.callers

    def stop(self, grace_seconds: float = 10.0) -> None:
        """Stop accepting, end what is open, and wait for objects that are being stored.

        Safe to call when not started.
        """
        listeners, self._listeners = self._listeners, None
        if listeners is None:
            return
        self._commitment.stop()
        listeners.stop(grace_seconds)
        self._commitment.join(grace_seconds)
        self._rejections.stop()
