"""Storage Commitment Push Model as SCP: takes the request, checks, and reports back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from io import BytesIO
from typing import Any

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.dsutils import encode
from pynetdicom.presentation import build_context, build_role

from oncopixel_pacs.deliver.association import Peer, opened
from oncopixel_pacs.errors import ConfigurationError, DeliveryFailed, OutOfResources
from oncopixel_pacs.receive import commitment
from oncopixel_pacs.receive.contexts import STORAGE_COMMITMENT
from oncopixel_pacs.receive.guards.event_requests import AskingDimse
from oncopixel_pacs.receive.peers import PeerBook
from oncopixel_pacs.settings import Settings
from oncopixel_pacs.store.pending_reports import PendingReport, PendingReports
from oncopixel_pacs.tls import requestor_context

log = structlog.get_logger()

#: A peer that asks and leaves has so long to do so, lest our report cross its release.
GRACE_SECONDS = 0.5
ANSWER_SECONDS = 30.0
#: Waits before each attempt on an association of our own.
ATTEMPT_WAITS: tuple[float, ...] = (0.0, 5.0, 30.0, 120.0, 600.0)
MOST_TRANSACTIONS = 64
_POLL_SECONDS = 0.05

#: Verdicts on the instances of a request, true at the time of the call.
Judge = Callable[[commitment.Request], tuple[commitment.Verdict, ...]]


class CommitmentScp:
    """Answers N-ACTION and reports by N-EVENT-REPORT.

    The report goes out on the association of the request while that lasts, and else on one of
    our own to the peer's port. What is owed is in the database before the request is answered,
    so that a restart of the server loses none of it.

    Parameters
    ----------
    judge
        Called before each attempt, so that a report is true when it is sent.
    peers
        Who is called back, and where.
    owed
        Where reports wait until they were told.
    now
        Clock, timezone-aware UTC.
    attempt_waits
        Seconds before each attempt on an association of our own.
    """

    def __init__(
        self,
        settings: Settings,
        judge: Judge,
        peers: PeerBook,
        owed: PendingReports,
        now: Callable[[], datetime],
        attempt_waits: Sequence[float],
    ) -> None:
        self._settings = settings
        self._judge = judge
        self._peers = peers
        self._owed = owed
        self._now = now
        self._attempt_waits = attempt_waits
        self._places = threading.BoundedSemaphore(MOST_TRANSACTIONS)
        self._judging = threading.Lock()
        self._stopping = threading.Event()
        self._workers: list[threading.Thread] = []

    def stop(self) -> None:
        """Begin nothing new; what waits for its next attempt is given up."""
        self._stopping.set()

    def join(self, seconds: float) -> None:
        """Wait until what was begun has ended."""
        deadline = time.monotonic() + seconds
        for worker in self._workers:
            worker.join(max(deadline - time.monotonic(), 0.0))

    def resume(self) -> None:
        """Begin to tell what was owed when the server stopped; called once, at the start."""
        try:
            owed = self._owed.all()
        except OutOfResources as exc:
            log.warning("commitment.owed_unread", reason=exc.for_log)
            return
        for report in owed[:MOST_TRANSACTIONS]:
            self._places.acquire()
            self._begin(self._call_back, report)

    def on_action(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """Answer an N-ACTION request; the report follows the answer."""
        request: Any = event.request
        if request.RequestedSOPInstanceUID != commitment.SOP_INSTANCE:
            return commitment.NO_SUCH_SOP_INSTANCE, None
        if request.ActionTypeID != commitment.REQUEST_COMMITMENT:
            return commitment.NO_SUCH_ACTION, None
        wanted = commitment.read_request(event.action_information)
        if wanted is None:
            return commitment.INVALID_ARGUMENT_VALUE, None
        if not self._places.acquire(blocking=False):
            return commitment.RESOURCE_LIMITATION, None
        report = self._owed_to(event.assoc, wanted)
        try:
            self._owed.add(report)
        except OutOfResources as exc:
            self._places.release()
            log.warning("commitment.refused", reason=exc.for_log)
            return commitment.RESOURCE_LIMITATION, None
        answered = threading.Event()
        dimse: Any = event.assoc.dimse
        dimse.after_answer(answered.set)
        self._begin(self._tell_soon, report, event.assoc, event.context, answered)
        return commitment.SUCCESS, None

    def _begin(self, tell: Callable[..., bool], report: PendingReport, *details: Any) -> None:
        worker = threading.Thread(
            target=self._work, args=(tell, report, *details), name="commitment", daemon=True
        )
        self._workers = [item for item in self._workers if item.is_alive()] + [worker]
        worker.start()

    def _work(self, tell: Callable[..., bool], report: PendingReport, *details: Any) -> None:
        try:
            told = tell(report, *details)
        finally:
            self._places.release()
        about = {
            "calling_ae_title": report.calling_ae_title,
            "transaction_uid": report.transaction_uid,
            "instances": len(report.instances),
        }
        if told:
            log.info("commitment.reported", **about)
        elif self._stopping.is_set():
            log.info("commitment.postponed", **about)
            return
        else:
            log.warning("commitment.unreported", **about)
        try:
            self._owed.remove(report)
        except OutOfResources as exc:
            # It is told once more after the next start, which is no harm: it will be true then.
            log.warning("commitment.owed_unwritten", reason=exc.for_log)

    def _tell_soon(
        self, report: PendingReport, assoc: Association, context: Any, answered: threading.Event
    ) -> bool:
        while assoc.is_established and not answered.wait(_POLL_SECONDS):
            pass
        return self._tell_here(assoc, context, report) or self._call_back(report)

    def _tell_here(self, assoc: Association, context: Any, wanted: PendingReport) -> bool:
        dimse = assoc.dimse
        if not isinstance(dimse, AskingDimse):
            return False
        event_type, information = self._report(wanted)
        end_of_grace = time.monotonic() + GRACE_SECONDS
        while assoc.is_established and time.monotonic() < end_of_grace:
            if self._stopping.wait(_POLL_SECONDS):
                return False
        if not assoc.is_established:
            return False
        syntax = UID(context.transfer_syntax)
        encoded = encode(information, syntax.is_implicit_VR, syntax.is_little_endian)
        request = N_EVENT_REPORT()
        request.MessageID = 1
        request.AffectedSOPClassUID = UID(STORAGE_COMMITMENT)
        request.AffectedSOPInstanceUID = UID(commitment.SOP_INSTANCE)
        request.EventTypeID = event_type
        request.EventInformation = BytesIO(encoded or b"")
        return dimse.ask(request, context.context_id, ANSWER_SECONDS) == commitment.SUCCESS

    def _call_back(self, report: PendingReport) -> bool:
        for seconds in self._attempt_waits:
            if self._stopping.wait(seconds):
                return False
            title, address = report.calling_ae_title, report.address
            known = self._peers.called_back(title, address)
            if known is None or known.port is None:
                return False
            try:
                context = requestor_context(self._settings.tls) if known.tls else None
                ours = self._settings.ae_title
                place = (known.address or address, known.port)
                if self._report_on_own(Peer(title, *place, title, ours, context), report):
                    return True
            except (ConfigurationError, DeliveryFailed) as exc:
                log.warning("commitment.attempt_failed", reason=exc.for_log)
        return False

    def _report_on_own(self, peer: Peer, wanted: PendingReport) -> bool:
        """Report on an association of our own, as SCP (PS3.4 J.3.3, PS3.7 D.3.3.4)."""
        event_type, information = self._report(wanted)
        role = build_role(STORAGE_COMMITMENT, scu_role=False, scp_role=True)
        context = build_context(STORAGE_COMMITMENT)
        with opened(peer, [context], ANSWER_SECONDS, [role]) as assoc:
            if not assoc.is_established:
                raise DeliveryFailed(
                    f"{peer.name} ({peer.place}) takes no storage commitment reports; allow "
                    "them there.",
                    permanent=False,
                )
            answer, _ = assoc.send_n_event_report(
                information, event_type, STORAGE_COMMITMENT, commitment.SOP_INSTANCE
            )
        return bool(answer.get("Status") == commitment.SUCCESS)

    def _report(self, wanted: PendingReport) -> tuple[int, Dataset]:
        references = tuple(commitment.Reference(*item) for item in wanted.instances)
        request = commitment.Request(wanted.transaction_uid, references)
        # One at a time: it reads every byte of every file.
        with self._judging:
            verdicts = self._judge(request)
        return commitment.report(wanted.transaction_uid, verdicts)

    def _owed_to(self, assoc: Association, wanted: commitment.Request) -> PendingReport:
        return PendingReport(
            str(assoc.requestor.ae_title).strip(),
            str(assoc.requestor.address),
            wanted.transaction_uid,
            tuple((item.sop_class_uid, item.sop_instance_uid) for item in wanted.references),
            self._now(),
        )
