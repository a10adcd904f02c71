"""The step that asks a destination for what it accepted, and sends again what it lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog
from pydicom.uid import generate_uid

from oncopixel_pacs.deliver import PLAIN, OutgoingObject
from oncopixel_pacs.deliver.asking import REPORT_SECONDS, Asking, prove
from oncopixel_pacs.deliver.dimse_status import COERCED
from oncopixel_pacs.domain import Delivery, ResultObject
from oncopixel_pacs.domain.proofs import COMMITMENT, CommitmentReport, Proof, Verdict
from oncopixel_pacs.errors import DeliveryFailed, OutOfResources
from oncopixel_pacs.settings import DeliverySettings, DestinationSettings, TlsSettings
from oncopixel_pacs.store.files import FileStore
from oncopixel_pacs.store.proofs import Proofs

log = structlog.get_logger()

#: A destination that reports later is asked so many times within the limit.
_REQUESTS_WITHIN_LIMIT = 3
#: A destination of which one of these is known takes questions.
_ANSWERS = frozenset({Verdict.PRESENT, Verdict.ABSENT, Verdict.PENDING})
_COERCED = f"0x{COERCED:04X}"
_MAY_BE_ELSEWHERE = (
    f"It answered {_COERCED}, so it changed attributes: look there whether it changes UIDs."
)


@dataclass(frozen=True)
class ProofSteps:
    """Asks for accepted objects; running it twice does no harm."""

    proofs: Proofs
    files: FileStore
    destinations: Mapping[str, DestinationSettings]
    settings: DeliverySettings
    calling_ae_title: str
    now: Callable[[], datetime]
    tls: TlsSettings = PLAIN
    report_seconds: float = REPORT_SECONDS

    def prove(self, destination: str, sop_instance_uids: Sequence[str]) -> None:
        """Ask for these objects, as far as they are accepted and not confirmed."""
        found = self.proofs.unconfirmed(destination, sop_instance_uids)
        waiting = [item for item, _ in found]
        place = self.destinations.get(destination)
        if not waiting or place is None:
            return
        if place.proof == "none":
            # It was, when they were accepted.
            proofs = [Proof(item.sop_instance_uid, Verdict.UNPROVABLE, "") for item in waiting]
        else:
            proofs = self._ask(place, found)
        answers = {sent.sop_instance_uid: sent.status for _, sent in found}
        for proof in proofs:
            if proof.verdict is Verdict.ABSENT:
                log.warning("delivery.not_found", destination=destination)
                if answers[proof.sop_instance_uid] == _COERCED:
                    # The answer itself gives way to what the search says.
                    proof = replace(proof, sentence=f"{proof.sentence} {_MAY_BE_ELSEWHERE}")
            self.proofs.record(destination, proof, self.now(), self._after_request())
        if any(proof.verdict in _ANSWERS for proof in proofs):
            self.proofs.ask_anew(destination, self.now())
        promised = {p.sop_instance_uid for p in proofs if p.verdict is Verdict.PENDING}
        missed = self.proofs.expire(
            destination,
            # Asked for the first time long after it was sent, the archive has yet to report.
            [
                sent.sop_instance_uid
                for _, sent in found
                if sent.asked > 1 or sent.sop_instance_uid not in promised
            ],
            self.now(),
            self.settings.confirm_seconds,
            self.settings.resends,
        )
        if missed:
            log.error("delivery.unconfirmed", destination=destination, objects=len(missed))

    def _ask(
        self, place: DestinationSettings, asked: Sequence[tuple[ResultObject, Delivery]]
    ) -> list[Proof]:
        waiting = [item for item, _ in asked]
        limit = self.now() - timedelta(seconds=self.settings.confirm_seconds)
        transaction_uid = str(generate_uid(prefix=None))
        if place.type == "cstore" and place.proof in ("auto", "commitment"):
            # Before the request: its report may be here before the answer is.
            uids = [item.sop_instance_uid for item in waiting]
            self.proofs.begin_transaction(transaction_uid, place.name, uids, self.now())
        asking = Asking(
            calling_ae_title=self.calling_ae_title,
            timeout_seconds=self.settings.timeout_seconds,
            tls=self.tls,
            transaction_uid=transaction_uid,
            on_report=self._on_report,
            asked_before=[sent.sop_instance_uid for _, sent in asked if sent.asked > 1],
            refused=[sent.sop_instance_uid for _, sent in asked if sent.proof == COMMITMENT],
            overdue=[
                sent.sop_instance_uid
                for _, sent in asked
                if sent.finished_at is not None and sent.finished_at <= limit
            ],
            report_seconds=self.report_seconds,
        )
        found: list[Proof] = []
        try:
            for proof in prove([self._outgoing(item) for item in waiting], place, asking):
                found.append(proof)
        except DeliveryFailed as exc:
            log.warning("delivery.not_asked", destination=place.name, error=exc.for_log)
        except Exception:
            # A defect in asking must not stop what is found from being recorded.
            log.exception("delivery.proof_defect", destination=place.name)
        return found

    def _on_report(self, report: CommitmentReport) -> bool:
        try:
            return self.proofs.report(report, self.now(), self.settings.resends)
        except OutOfResources as exc:
            log.warning("delivery.report_unwritten", error=exc.for_log)
            return False

    def _after_request(self) -> datetime:
        return self.now() + timedelta(
            seconds=self.settings.confirm_seconds / _REQUESTS_WITHIN_LIMIT
        )

    def _outgoing(self, item: ResultObject) -> OutgoingObject:
        return OutgoingObject(
            sop_instance_uid=item.sop_instance_uid,
            sop_class_uid=item.sop_class_uid,
            path=self.files.absolute(item.path),
        )
