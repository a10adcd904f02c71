"""Proof: which accepted deliveries are still to be confirmed, and what asking for them gave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, func
from sqlmodel import Session, col, select, update

from oncopixel_pacs.domain import Delivery, DeliveryState, JobState, ObjectKind, ResultObject
from oncopixel_pacs.domain.proofs import COMMITMENT, CommitmentReport, Proof, Verdict
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.rows import to_delivery, to_object
from oncopixel_pacs.store.tables import (
    CircuitRow,
    CommitmentRow,
    DeliveryRow,
    JobObjectRow,
    JobRow,
    ObjectRow,
)

#: Called inside a transaction: have the engine ask a destination for these objects.
EnqueueProof = Callable[[Session, str, list[str]], None]

#: Objects that are asked for at a time.
OBJECTS_AT_A_TIME = 100
#: A report that comes later than this after its request is not expected any more.
TRANSACTION_DAYS = 7
_TAKEN = (DeliveryState.ACCEPTED, DeliveryState.CONFIRMED)
#: Failure Reasons that do not say that an object is missing: commitment of its class is not
#: supported, the Transaction UID is in use (PS3.3 C.14.1.1).
_NOT_COMMITTING = frozenset({0x0122, 0x0131})
_ALARMING = (DeliveryState.QUEUED, DeliveryState.SENDING, DeliveryState.ACCEPTED)


class Proofs:
    """Accepted deliveries on their way to be confirmed, but for those that were taken back.

    Archives that know IOCM hide what a rejection note takes back; the note is asked for.
    Every method that writes is one transaction, committed durably when it returns.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def destinations_due(self, now: datetime) -> tuple[str, ...]:
        """Name the destinations that are to be asked at or before `now`; none that rests."""
        resting = select(CircuitRow.destination).where(col(CircuitRow.opened_at).is_not(None))
        with self._database.read() as session:
            names = session.exec(
                select(DeliveryRow.destination)
                .where(
                    DeliveryRow.state == DeliveryState.ACCEPTED,
                    DeliveryRow.retracted_by == "",
                    col(DeliveryRow.ask_at) <= now,
                    col(DeliveryRow.destination).not_in(resting),
                )
                .distinct()
            ).all()
        return tuple(sorted(names))

    def hand_over(
        self,
        destination: str,
        now: datetime,
        ask_again: Callable[[int], datetime],
        enqueue: EnqueueProof,
    ) -> int:
        """Have the engine ask for what is due, the longest due first.

        Parameters
        ----------
        ask_again
            When to ask again if this comes to nothing, by how often it was asked.

        Returns
        -------
        int
            For how many objects.
        """
        with self._database.write() as session:
            rows = session.exec(
                select(DeliveryRow)
                .where(
                    DeliveryRow.destination == destination,
                    DeliveryRow.state == DeliveryState.ACCEPTED,
                    DeliveryRow.retracted_by == "",
                    col(DeliveryRow.ask_at) <= now,
                )
                .order_by(col(DeliveryRow.ask_at))
                .limit(OBJECTS_AT_A_TIME)
                .with_for_update(skip_locked=True)
            ).all()
            for row in rows:
                row.asked += 1
                row.ask_at = ask_again(row.asked)
            if rows:
                enqueue(session, destination, [row.sop_instance_uid for row in rows])
            return len(rows)

    def unconfirmed(
        self, destination: str, sop_instance_uids: Sequence[str]
    ) -> tuple[tuple[ResultObject, Delivery], ...]:
        """List those of these objects that are accepted and not confirmed."""
        with self._database.read() as session:
            rows = session.exec(
                select(ObjectRow, DeliveryRow)
                .join(
                    DeliveryRow,
                    col(DeliveryRow.sop_instance_uid) == col(ObjectRow.sop_instance_uid),
                )
                .where(
                    DeliveryRow.destination == destination,
                    DeliveryRow.state == DeliveryState.ACCEPTED,
                    DeliveryRow.retracted_by == "",
                    col(DeliveryRow.sop_instance_uid).in_(sop_instance_uids),
                )
                .order_by(col(ObjectRow.sop_instance_uid))
            ).all()
            return tuple((to_object(item), to_delivery(sent)) for item, sent in rows)

    def begin_transaction(
        self, transaction_uid: str, destination: str, uids: Iterable[str], now: datetime
    ) -> None:
        """Remember a storage commitment request before it is sent, and forget very old ones."""
        with self._database.write() as session:
            session.exec(
                delete(CommitmentRow).where(
                    col(CommitmentRow.requested_at) < now - timedelta(days=TRANSACTION_DAYS)
                )
            )
            session.add(
                CommitmentRow(
                    transaction_uid=transaction_uid,
                    destination=destination,
                    requested_at=now,
                    sop_instance_uids=list(uids),
                )
            )

    def report(self, report: CommitmentReport, now: datetime, resends: int) -> bool:
        """Keep what a storage commitment report says of our objects.

        What the destination does not have is sent again at once, up to so many `resends`, also
        where a search had found it; unless it was sent again since the request.

        Returns
        -------
        bool
            False when the request is none of ours.
        """
        with self._database.write() as session:
            asked = session.get(CommitmentRow, report.transaction_uid)
            if asked is None:
                return False
            for uid in asked.sop_instance_uids:
                row = session.get(DeliveryRow, (asked.destination, uid))
                if row is None or row.state not in _TAKEN:
                    continue
                code = report.failed.get(uid)
                if code is None:
                    if uid in report.committed and row.state == DeliveryState.ACCEPTED:
                        _confirm(row, COMMITMENT, now)
                elif row.retracted_by or not _was_sent_before(row, asked.requested_at):
                    continue
                elif code in _NOT_COMMITTING:
                    _search(row, f"{asked.destination} does not commit it (0x{code:04X}).", now)
                else:
                    _doubt(row, now)
                    row.error = (
                        f"{asked.destination} accepted the object and did not commit it "
                        f"(reason 0x{code:04X})."
                    )
                    if session.get_one(ObjectRow, uid).kind != ObjectKind.REJECTION:
                        row.proof = COMMITMENT  # no search makes up for that
                    _miss(session, row, now, resends)
            if report.committed:
                _ask_anew(session, asked.destination, now)
            return True

    def record(self, destination: str, proof: Proof, now: datetime, ask_at: datetime) -> None:
        """Keep what asking for one object gave.

        Parameters
        ----------
        ask_at
            When to ask again for what is pending.
        """
        with self._database.write() as session:
            row = session.get(DeliveryRow, (destination, proof.sop_instance_uid))
            if row is None or row.state != DeliveryState.ACCEPTED:
                return
            if proof.verdict is Verdict.PRESENT:
                _confirm(row, proof.how, now)
            elif proof.verdict is Verdict.UNPROVABLE:
                if row.unconfirmed_at is not None:
                    row.error = ""
                row.ask_at = row.unconfirmed_at = None
            elif proof.verdict is Verdict.PENDING:
                row.ask_at = ask_at
            else:
                row.error = proof.sentence

    def ask_anew(self, destination: str, now: datetime) -> None:
        """Have a destination that takes questions asked for what it took none about before."""
        with self._database.write() as session:
            _ask_anew(session, destination, now)

    def expire(
        self,
        destination: str,
        uids: Iterable[str],
        now: datetime,
        limit_seconds: float,
        resends: int,
    ) -> tuple[str, ...]:
        """Raise the alarm for what stayed unconfirmed for too long, and send it again.

        Returns
        -------
        tuple of str
            SOP Instance UIDs of those.
        """
        accepted_before = now - timedelta(seconds=limit_seconds)
        missed = []
        with self._database.write() as session:
            for uid in uids:
                row = session.get(DeliveryRow, (destination, uid))
                if row is None or row.state != DeliveryState.ACCEPTED or row.ask_at is None:
                    continue
                if row.retracted_by:
                    continue
                if row.finished_at is not None and row.finished_at <= accepted_before:
                    if row.unconfirmed_at is None or row.resends < resends:
                        missed.append(uid)
                    _miss(session, row, now, resends)
        return tuple(missed)

    def alarm(self) -> str:
        """Say what is accepted and stayed unconfirmed; empty while there is nothing."""
        found = self.overdue()
        if not found:
            return ""
        places = ", ".join(f"{name} ({number})" for name, number in found.items())
        return (
            f"Results were accepted and are not found afterwards: {places}. "
            "Look at that archive; they are kept here, and sent again as often as delivery.resends "
            "says."
        )

    def overdue(self) -> dict[str, int]:
        """Count what is accepted and stayed unconfirmed, by destination."""
        with self._database.read() as session:
            return dict(
                session.exec(
                    select(DeliveryRow.destination, func.count())
                    .where(
                        col(DeliveryRow.unconfirmed_at).is_not(None),
                        DeliveryRow.retracted_by == "",
                        col(DeliveryRow.state).in_(_ALARMING),
                    )
                    .group_by(DeliveryRow.destination)
                    .order_by(DeliveryRow.destination)
                ).all()
            )


def _confirm(row: DeliveryRow, how: str, now: datetime) -> None:
    row.state = DeliveryState.CONFIRMED
    row.proof = how
    row.confirmed_at = now
    row.ask_at = row.unconfirmed_at = None
    row.error = ""


def _search(row: DeliveryRow, sentence: str, now: datetime) -> None:
    """Have an object that was not found yet asked for in another way; the first time at once."""
    if row.state == DeliveryState.ACCEPTED:
        row.error = sentence
        if row.asked <= 1:
            row.ask_at = now


def _ask_anew(session: Session, destination: str, now: datetime) -> None:
    session.exec(
        update(DeliveryRow)
        .where(
            col(DeliveryRow.destination) == destination,
            col(DeliveryRow.state) == DeliveryState.ACCEPTED,
            col(DeliveryRow.retracted_by) == "",
            col(DeliveryRow.ask_at).is_(None),
            # Nobody is to be asked for what was given up.
            col(DeliveryRow.asked) > 0,
        )
        .values(ask_at=now, asked=0)
    )


def _was_sent_before(row: DeliveryRow, moment: datetime) -> bool:
    return row.finished_at is None or row.finished_at <= moment


def _doubt(row: DeliveryRow, now: datetime) -> None:
    """Take it back that an object was found; it is asked for anew."""
    if row.state == DeliveryState.CONFIRMED:
        row.state, row.ask_at, row.asked = DeliveryState.ACCEPTED, now, 0
        row.proof, row.confirmed_at = "", None


def _miss(session: Session, row: DeliveryRow, now: datetime, resends: int) -> None:
    """Raise the alarm for an object, and have it sent again while that is allowed."""
    row.unconfirmed_at = row.unconfirmed_at or now
    if row.resends >= resends:
        return
    job = session.exec(
        select(JobRow)
        .join(JobObjectRow, col(JobObjectRow.job_id) == col(JobRow.id))
        .where(JobObjectRow.sop_instance_uid == row.sop_instance_uid)
        .order_by(col(JobRow.created_at).desc())
    ).first()
    if job is None or not (JobState(job.state).final or job.state == JobState.DELIVERING):
        return
    row.resends += 1
    row.state = DeliveryState.QUEUED
    row.queued_at = row.next_attempt_at = now
    row.ask_at = row.finished_at = None
    row.asked = 0
    if job.state != JobState.DELIVERING:
        job.state, job.finished_at = JobState.DELIVERING, None
