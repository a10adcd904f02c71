"""The outbox: which deliveries are due at which destination, and which destinations rest.

A delivery that is queued is in one of two hands. With a time of its next attempt it waits here;
without one the engine has it. It changes hands in one transaction, so it is never in both and
never in neither.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy import and_, func, literal_column, or_, text
from sqlalchemy import select as sa_select
from sqlmodel import Session, col, select, update

from oncopixel_pacs.domain import Delivery, DeliveryState, Job, JobState
from oncopixel_pacs.domain.backlog import Backlog, Circuit
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.job_rows import OPEN
from oncopixel_pacs.store.newest import is_followed
from oncopixel_pacs.store.rows import to_delivery, to_job
from oncopixel_pacs.store.state_counts import state_counts
from oncopixel_pacs.store.tables import CircuitRow, DeliveryRow, JobObjectRow, JobRow

#: Called inside a transaction: hand a job's delivery to the engine, by id, run and destination.
HandOver = Callable[[Session, str, int, str], None]

_FIRST_CIRCUIT = text(
    "INSERT INTO circuit (destination, failures, probe_job_id, reason) "
    "VALUES (:destination, 0, '', '') ON CONFLICT (destination) DO NOTHING"
)
#: Jobs of one destination that are handed over at a time.
JOBS_AT_A_TIME = 50


class Outbox:
    """Deliveries that wait, and the circuit breaker of each destination.

    Every method that writes is one transaction, committed durably when it returns.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def destinations_due(self, now: datetime) -> tuple[str, ...]:
        """Name the destinations that have something to be tried at or before `now`."""
        with self._database.read() as session:
            resting = {
                row.destination: row.next_probe_at
                for row in session.exec(select(CircuitRow)).all()
                if row.opened_at is not None
            }
            first = session.exec(
                select(DeliveryRow.destination, func.min(DeliveryRow.next_attempt_at))
                .where(
                    DeliveryRow.state == DeliveryState.QUEUED,
                    col(DeliveryRow.next_attempt_at).is_not(None),
                )
                .group_by(DeliveryRow.destination)
            ).all()
        # A destination that rests is tried when its rest is over, whatever its jobs wait for.
        times = ((name, resting.get(name) or moment) for name, moment in first)
        return tuple(sorted(name for name, moment in times if moment and moment <= now))

    def hand_over(
        self, destination: str, now: datetime, probe_until: datetime, enqueue: HandOver
    ) -> int:
        """Hand jobs with deliveries that are due to the engine, the longest due first.

        Of a destination that rests only one job goes, as a probe.

        Parameters
        ----------
        probe_until
            When another probe may go, should nothing be heard of this one.

        Returns
        -------
        int
            How many jobs were handed over.
        """
        with self._database.write() as session:
            # Locked, so that two hosts never hand over parts of one job.
            circuit = _circuit_row(session, destination)
            probing = circuit.opened_at is not None
            if probing and circuit.next_probe_at is not None and circuit.next_probe_at > now:
                return 0
            jobs = _waiting_jobs(session, destination, None if probing else now)
            handed = 0
            for job_id, run in jobs[:1] if probing else jobs:
                if not _take(session, destination, job_id):
                    continue
                enqueue(session, job_id, run, destination)
                handed += 1
                if probing:
                    circuit.probe_job_id, circuit.next_probe_at = job_id, probe_until
            return handed

    def rests(self, destination: str, job_id: str) -> bool:
        """Whether a destination rests, and this job is not the one that tries it."""
        with self._database.read() as session:
            row = session.get(CircuitRow, destination)
            return row is not None and row.opened_at is not None and row.probe_job_id != job_id

    def put_back(self, destination: str, sop_instance_uids: Iterable[str], now: datetime) -> None:
        """Take deliveries back from the engine that were not tried, since the destination rests.

        Should its rest have ended in between, they are due at once.
        """
        with self._database.write() as session:
            circuit = _circuit_row(session, destination)
            next_attempt_at = now
            if circuit.opened_at is not None and circuit.next_probe_at is not None:
                next_attempt_at = max(circuit.next_probe_at, now)
            for uid in sop_instance_uids:
                row = session.get_one(DeliveryRow, (destination, uid))
                if row.state in OPEN:
                    row.state = DeliveryState.QUEUED
                    row.next_attempt_at = next_attempt_at

    def put_off_notes(
        self, destination: str, notes: Collection[str], later: datetime
    ) -> frozenset[str]:
        """Have rejection notes wait while what they take back is yet to be sent there.

        Else an archive would get it after its note, and show it as valid.

        Parameters
        ----------
        later
            When they are tried again, unless what they wait for is tried later than that.

        Returns
        -------
        frozenset of str
            SOP Instance UIDs of those that wait.
        """
        on_its_way = (
            select(DeliveryRow.retracted_by, func.max(DeliveryRow.next_attempt_at))
            .join(
                JobObjectRow,
                col(JobObjectRow.sop_instance_uid) == col(DeliveryRow.sop_instance_uid),
            )
            .join(JobRow, col(JobRow.id) == col(JobObjectRow.job_id))
            .where(
                DeliveryRow.destination == destination,
                col(DeliveryRow.retracted_by).in_(notes),
                col(DeliveryRow.state).in_(OPEN),
                JobRow.state == JobState.DELIVERING,
            )
            .group_by(col(DeliveryRow.retracted_by))
        )
        with self._database.read() as session:
            if not session.exec(on_its_way).first():
                return frozenset()
        with self._database.write() as session:
            found = dict(session.exec(on_its_way).all())
            for note, due in found.items():
                row = session.get_one(DeliveryRow, (destination, note), with_for_update=True)
                if row.state in OPEN:
                    row.state = DeliveryState.QUEUED
                    row.next_attempt_at = max(later, due or later)
            return frozenset(found)

    def note_failure(
        self,
        destination: str,
        now: datetime,
        reason: str,
        *,
        opens_after: int,
        wait_until: Callable[[int], datetime],
    ) -> Circuit:
        """Note that a destination as a whole could not be used.

        Parameters
        ----------
        opens_after
            Failures in a row after which it rests.
        wait_until
            Until when, by the number of failures.
        """
        with self._database.write() as session:
            row = _circuit_row(session, destination)
            row.failures += 1
            row.reason = reason
            row.probe_job_id = ""
            if row.failures >= opens_after:
                row.opened_at = row.opened_at or now
                row.next_probe_at = wait_until(row.failures)
            return _to_circuit(row)

    def note_answer(self, destination: str, now: datetime) -> bool:
        """Note that a destination answers; what waited for it is due at once.

        Returns
        -------
        bool
            Whether it rested until now.
        """
        with self._database.read() as session:
            known = session.get(CircuitRow, destination)
            if known is None or not known.failures:
                return False
        with self._database.write() as session:
            row = _circuit_row(session, destination)
            rested = row.opened_at is not None
            row.failures, row.reason, row.probe_job_id = 0, "", ""
            row.opened_at = row.next_probe_at = None
            if rested:
                session.exec(
                    update(DeliveryRow)
                    .where(
                        col(DeliveryRow.destination) == destination,
                        col(DeliveryRow.state) == DeliveryState.QUEUED,
                        col(DeliveryRow.next_attempt_at) > now,
                    )
                    .values(next_attempt_at=now)
                )
            return rested

    def sharing(self, job_id: str) -> tuple[str, ...]:
        """List the jobs under way that have an object of this one; it is the first."""
        own = select(JobObjectRow.sop_instance_uid).where(JobObjectRow.job_id == job_id)
        with self._database.read() as session:
            others = session.exec(
                select(JobRow.id)
                .join(JobObjectRow, col(JobObjectRow.job_id) == col(JobRow.id))
                .where(
                    col(JobObjectRow.sop_instance_uid).in_(own),
                    JobRow.state == JobState.DELIVERING,
                    JobRow.id != job_id,
                )
                .distinct()
            ).all()
        return (job_id, *others)

    def waiting_jobs(self) -> frozenset[str]:
        """Jobs that wait here whole, at every destination, so that the engine need not have them.

        A job with one delivery here and another in the engine's hands is not among them.
        """
        with self._database.read() as session:
            return frozenset(
                session.exec(
                    select(JobObjectRow.job_id)
                    .join(
                        DeliveryRow,
                        col(DeliveryRow.sop_instance_uid) == col(JobObjectRow.sop_instance_uid),
                    )
                    .where(col(DeliveryRow.state).in_(OPEN))
                    .group_by(col(JobObjectRow.job_id))
                    .having(func.count() == func.count(col(DeliveryRow.next_attempt_at)))
                ).all()
            )

    def backlogs(self) -> dict[str, Backlog]:
        """Tell what waits, by destination; one that was never used is left out."""
        with self._database.read() as session:
            circuits = {
                row.destination: _to_circuit(row) for row in session.exec(select(CircuitRow)).all()
            }
            # SQLModel's own select knows no more than four columns.
            rows = (
                session.connection()
                .execute(
                    sa_select(
                        col(DeliveryRow.destination),
                        func.count(),
                        func.min(DeliveryRow.queued_at),
                        func.min(DeliveryRow.next_attempt_at),
                        func.count(col(DeliveryRow.next_attempt_at)),
                    )
                    .where(col(DeliveryRow.state).in_(OPEN))
                    .group_by(col(DeliveryRow.destination))
                )
                .all()
            )
        found = {name: Backlog(circuit=circuit) for name, circuit in circuits.items()}
        for name, number, oldest, due, put_off in rows:
            circuit = circuits.get(name, Circuit())
            following = (circuit.next_probe_at or due) if put_off == number else None
            found[name] = Backlog(number, oldest, following, circuit)
        return found

    def oldest_problem(self, destination: str) -> tuple[Job, Delivery] | None:
        """Find the delivery with an error that has waited longest, with the job it belongs to.

        One that failed for good counts while its job is the newest of its study and not cancelled.
        The job comes without its steps, objects and deliveries.
        """
        waited_for = and_(~is_followed(), col(JobRow.state) != JobState.CANCELLED)
        with self._database.read() as session:
            found = session.exec(
                select(JobRow, DeliveryRow)
                .join(JobObjectRow, col(JobObjectRow.job_id) == JobRow.id)
                .join(
                    DeliveryRow,
                    col(DeliveryRow.sop_instance_uid) == JobObjectRow.sop_instance_uid,
                )
                .where(
                    DeliveryRow.destination == destination,
                    col(DeliveryRow.state).in_((*OPEN, DeliveryState.FAILED)),
                    or_(col(DeliveryRow.state).in_(OPEN), waited_for),
                    # As the index of those with an error has it, which a parameter is not.
                    col(DeliveryRow.error) != literal_column("''"),
                )
                .order_by(col(JobRow.created_at), col(JobObjectRow.position))
                .limit(1)
            ).first()
            return None if found is None else (to_job(found[0]), to_delivery(found[1]))

    def counts(self) -> dict[str, dict[DeliveryState, int]]:
        """Count deliveries by destination and state."""
        with self._database.read() as session:
            found = state_counts(session, "delivery")
        counts: dict[str, dict[DeliveryState, int]] = {}
        for (destination, state), number in found.items():
            counts.setdefault(destination, {})[DeliveryState(state)] = number
        return counts


def _circuit_row(session: Session, destination: str) -> CircuitRow:
    row = session.get(CircuitRow, destination, with_for_update=True)
    if row is not None:
        return row
    # Another host may be first.
    session.connection().execute(_FIRST_CIRCUIT, {"destination": destination})
    return session.get_one(CircuitRow, destination, with_for_update=True)


def _waiting_jobs(
    session: Session, destination: str, due: datetime | None
) -> Sequence[tuple[str, int]]:
    """Jobs that wait here, with their run, the longest due first.

    Those of which the engine has a part are left to it: nothing is sent by two at a time.
    """
    open_here = (
        select(
            col(JobObjectRow.job_id).label("job_id"),
            func.min(DeliveryRow.next_attempt_at).label("due"),
            func.count().label("open"),
            func.count(col(DeliveryRow.next_attempt_at)).label("waiting"),
        )
        .join(
            DeliveryRow,
            col(DeliveryRow.sop_instance_uid) == col(JobObjectRow.sop_instance_uid),
        )
        .where(DeliveryRow.destination == destination, col(DeliveryRow.state).in_(OPEN))
        .group_by(col(JobObjectRow.job_id))
        .subquery()
    )
    query = (
        select(JobRow.id, JobRow.run)
        .join(open_here, open_here.c.job_id == JobRow.id)
        .where(JobRow.state == JobState.DELIVERING, open_here.c.open == open_here.c.waiting)
        .order_by(open_here.c.due, JobRow.id)
        .limit(JOBS_AT_A_TIME)
    )
    if due is not None:
        query = query.where(open_here.c.due <= due)
    return session.exec(query).all()


def _take(session: Session, destination: str, job_id: str) -> bool:
    """Take a job's deliveries out; false when another job that shares an object has one."""
    rows = session.exec(
        select(DeliveryRow)
        .join(
            JobObjectRow,
            col(JobObjectRow.sop_instance_uid) == col(DeliveryRow.sop_instance_uid),
        )
        .where(
            DeliveryRow.destination == destination,
            JobObjectRow.job_id == job_id,
            col(DeliveryRow.state).in_(OPEN),
        )
    ).all()
    if any(row.next_attempt_at is None for row in rows):
        return False
    for row in rows:
        row.next_attempt_at = None
    return True


def _to_circuit(row: CircuitRow) -> Circuit:
    return Circuit(row.failures, row.opened_at, row.next_probe_at, row.reason)
