"""Storage Commitment Push Model as SCP: takes the request, checks, and reports back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
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
from oncopixel_pacs.errors import DeliveryFailed
from oncopixel_pacs.receive import commitment
from oncopixel_pacs.receive.contexts import STORAGE_COMMITMENT
from oncopixel_pacs.receive.event_requests import AskingDimse
from oncopixel_pacs.receive.peers import called_back
from oncopixel_pacs.settings import Settings

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
    our own to the peer's configured port. Requests are kept in memory: after a restart a peer
    that heard nothing asks again, as after any time-out of its own.

    Parameters
    ----------
    judge
        Called before each attempt, so that a report is true when it is sent.
    attempt_waits
        Seconds before each attempt on an association of our own.
    """

    def __init__(self, settings: Settings, judge: Judge, attempt_waits: Sequence[float]) -> None:
        self._settings = settings
        self._judge = judge
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
        answered = threading.Event()
        dimse: Any = event.assoc.dimse
        dimse.after_answer(answered.set)
        worker = threading.Thread(
            target=self._work,
            args=(event.assoc, event.context, wanted, answered),
            name="commitment",
            daemon=True,
        )
        self._workers = [item for item in self._workers if item.is_alive()] + [worker]
        worker.start()
        return commitment.SUCCESS, None

    def _work(
        self,
        assoc: Association,
        context: Any,
        wanted: commitment.Request,
        answered: threading.Event,
    ) -> None:
        try:
            while assoc.is_established and not answered.wait(_POLL_SECONDS):
                pass
            told = self._tell_here(assoc, context, wanted) or self._call_back(assoc, wanted)
        finally:
            self._places.release()
        say = log.info if told else log.warning
        say(
            "commitment.reported" if told else "commitment.unreported",
            calling_ae_title=_calling(assoc),
            transaction_uid=wanted.transaction_uid,
            instances=len(wanted.references),
        )

    def _tell_here(self, assoc: Association, context: Any, wanted: commitment.Request) -> bool:
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

    def _call_back(self, assoc: Association, wanted: commitment.Request) -> bool:
        calling, address = _calling(assoc), str(assoc.requestor.address)
        known = called_back(self._settings.peers, calling, address)
        if known is None or known.port is None:
            return False
        peer = Peer(calling, known.address or address, known.port, calling, self._settings.ae_title)
        for seconds in self._attempt_waits:
            if self._stopping.wait(seconds):
                return False
            try:
                if self._report_to(peer, wanted):
                    return True
            except DeliveryFailed as exc:
                log.warning("commitment.attempt_failed", reason=str(exc))
        return False

    def _report_to(self, peer: Peer, wanted: commitment.Request) -> bool:
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

    def _report(self, wanted: commitment.Request) -> tuple[int, Dataset]:
        # One at a time: it reads every byte of every file.
        with self._judging:
            verdicts = self._judge(wanted)
        return commitment.report(wanted.transaction_uid, verdicts)


def _calling(assoc: Association) -> str:
    return str(assoc.requestor.ae_title).strip()
