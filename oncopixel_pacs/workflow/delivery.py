"""The step that sends a job's result objects to one destination, and sends them again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from oncopixel_pacs.audit import AuditEvent, AuditKind, AuditOutcome, unaudited
from oncopixel_pacs.deliver import PLAIN, Outcome, OutgoingObject, send
from oncopixel_pacs.domain import Delivery, DeliveryState, ObjectKind, ResultObject
from oncopixel_pacs.errors import DeliveryFailed, OutOfResources
from oncopixel_pacs.settings import DeliverySettings, DestinationSettings, TlsSettings
from oncopixel_pacs.store.files import FileStore
from oncopixel_pacs.store.ledger import Ledger
from oncopixel_pacs.store.outbox import Outbox
from oncopixel_pacs.workflow.backoff import wait_seconds
from oncopixel_pacs.workflow.lease import Leases, Ticket

log = structlog.get_logger()


_TAKEN = (DeliveryState.ACCEPTED, DeliveryState.CONFIRMED)


@dataclass(frozen=True)
class DeliverySteps:
    """Sends stored bytes, never re-runs a model. Each object has its own outcome."""

    ledger: Ledger
    outbox: Outbox
    files: FileStore
    destinations: Mapping[str, DestinationSettings]
    settings: DeliverySettings
    calling_ae_title: str
    now: Callable[[], datetime]
    leases: Leases
    tls: TlsSettings = PLAIN
    audit: Callable[[AuditEvent], object] = unaudited

    def deliver(self, job_id: str, run: int, destination: str) -> None:
        """Try once to send what a destination has not taken yet.

        What is not taken goes back to the outbox with the time of its next attempt; so does
        everything, untried, while the destination rests.
        """
        ticket = self.leases.ticket()
        if self.ledger.current_run(job_id) != run:
            return
        waiting = self.ledger.open_deliveries(job_id, destination)
        if destination not in self.destinations:
            # Nobody waits for one that is not there: whatever waits for it ends now.
            self.outbox.note_answer(destination, self.now())
        if waiting:
            if self.outbox.rests(destination, job_id):
                uids = [item.sop_instance_uid for item, _ in waiting]
                self.outbox.put_back(destination, uids, self.now())
            elif ready := self._ready(destination, waiting):
                self._send(destination, ready, ticket)
                self._note_sent(job_id, destination)
        for sharing in self.outbox.sharing(job_id):
            self.ledger.close_delivery(sharing, self.now())

    def _ready(
        self, destination: str, waiting: tuple[tuple[ResultObject, Delivery], ...]
    ) -> tuple[tuple[ResultObject, Delivery], ...]:
        """Leave out the rejection notes whose time has not come."""
        notes = {i.sop_instance_uid for i, _ in waiting if i.kind is ObjectKind.REJECTION}
        if not notes or destination not in self.destinations:
            return waiting
        later = self.now() + timedelta(seconds=self.settings.first_retry_seconds)
        early = self.outbox.put_off_notes(destination, notes, later)
        return tuple((item, sent) for item, sent in waiting if item.sop_instance_uid not in early)

    def _note_sent(self, job_id: str, destination: str) -> None:
        job = self.ledger.job(job_id)
        sent = [item for item in job.deliveries if item.destination == destination]
        taken = sum(item.state in _TAKEN for item in sent)
        outcome = AuditOutcome.SUCCESS if taken == len(sent) else AuditOutcome.REFUSED
        self.audit(
            AuditEvent(
                AuditKind.SENT,
                self.now(),
                self.calling_ae_title,
                "",
                outcome,
                job.study_instance_uid,
                detail=f"{taken} of {len(sent)} result objects are taken",
                other=destination,
            )
        )

    def _send(
        self,
        destination: str,
        waiting: tuple[tuple[ResultObject, Delivery], ...],
        ticket: Ticket,
    ) -> None:
        unanswered = {item.sop_instance_uid: sent.attempts + 1 for item, sent in waiting}
        self.ledger.begin_delivery(destination, unanswered)
        trouble = DeliveryFailed(
            f"{destination} gave no answer for the object; it is sent again.", permanent=False
        )
        answered = False
        try:
            outcomes = send(
                [self._outgoing(item) for item, _ in waiting],
                self._settings(destination),
                calling_ae_title=self.calling_ae_title,
                timeout_seconds=self.settings.timeout_seconds,
                tls=self.tls,
            )
            # Outcomes come in the order of the objects; one may lack its UID.
            for (item, _), outcome in zip(waiting, outcomes, strict=False):
                uid = item.sop_instance_uid
                # Before it is recorded, so that nothing is left open behind the last record.
                answered = answered or self._note_answer(destination, outcome)
                self._record(destination, uid, outcome, unanswered.pop(uid))
                # The next object is on its way when it is asked for.
                ticket.require()
        except DeliveryFailed as exc:
            trouble = exc
            log.warning("delivery.failed", destination=destination, error=exc.for_log)
        except OutOfResources:
            raise
        except Exception as exc:
            # A defect ends the delivery with a sentence; raised, it would be repeated for ever.
            log.exception("delivery.defect", destination=destination)
            trouble = DeliveryFailed(
                f"Unexpected {type(exc).__name__} on the way to {destination}; "
                "the server's log has the trace.",
                permanent=True,
            )
        ticket.require()
        if not answered and not trouble.permanent:
            self._note_failure(destination, str(trouble))
        for uid, attempt in unanswered.items():
            missed = Outcome(uid, False, trouble.status, str(trouble), trouble.permanent)
            self._record(destination, uid, missed, attempt)

    def _note_answer(self, destination: str, outcome: Outcome) -> bool:
        """Whether an outcome shows that the destination is there; then its rest is over."""
        if not (outcome.accepted or outcome.permanent or outcome.status):
            return False
        if self.outbox.note_answer(destination, self.now()):
            log.info("destination.answers", destination=destination)
        return True

    def _note_failure(self, destination: str, reason: str) -> None:
        circuit = self.outbox.note_failure(
            destination,
            self.now(),
            reason,
            opens_after=self.settings.circuit_failures,
            wait_until=lambda failures: self.now() + timedelta(seconds=self._wait(failures)),
        )
        if circuit.opened_at is not None:
            log.warning("destination.rests", destination=destination, failures=circuit.failures)

    def _settings(self, destination: str) -> DestinationSettings:
        try:
            return self.destinations[destination]
        except KeyError:
            raise DeliveryFailed(
                f"Destination {destination} is no longer configured; add it again under "
                "[[destinations]] and retry the job, or give up what waits for it: "
                f"oncopixel destinations forget {destination}.",
                permanent=True,
            ) from None

    def _outgoing(self, item: ResultObject) -> OutgoingObject:
        return OutgoingObject(
            sop_instance_uid=item.sop_instance_uid,
            sop_class_uid=item.sop_class_uid,
            path=self.files.absolute(item.path),
        )

    def _record(
        self, destination: str, sop_instance_uid: str, outcome: Outcome, attempts: int
    ) -> None:
        now, ask_at = self.now(), None
        if outcome.accepted:
            state, due = DeliveryState.ACCEPTED, None
            place = self.destinations.get(destination)
            if place is not None and place.proof != "none":
                # Soon, though not before the rest of its set is there.
                ask_at = now + timedelta(seconds=self.settings.first_retry_seconds)
        elif outcome.permanent:
            state, due = DeliveryState.FAILED, None
        else:
            state, due = DeliveryState.QUEUED, now + timedelta(seconds=self._wait(attempts))
        self.ledger.record_delivery(
            Delivery(
                destination=destination,
                sop_instance_uid=sop_instance_uid,
                state=state,
                attempts=attempts,
                status=outcome.status,
                error=outcome.error,
                next_attempt_at=due,
                finished_at=now if due is None else None,
                ask_at=ask_at,
            )
        )

    def _wait(self, failures: int) -> float:
        return wait_seconds(
            failures, self.settings.first_retry_seconds, self.settings.max_retry_seconds
        )
