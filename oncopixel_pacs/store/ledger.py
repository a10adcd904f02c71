"""The ledger: what was done for each study revision, what came of it, and where it went."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from sqlmodel import Session, col, func, select

from oncopixel_pacs.domain import (
    Delivery,
    DeliveryState,
    Job,
    JobState,
    ObjectKind,
    Page,
    ResultObject,
    SegmentationForm,
    StepName,
    StepState,
    StudyResult,
)
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.store.catalogue import Enqueue
from oncopixel_pacs.store.cursors import encode_cursor
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.job_rows import (
    OPEN,
    Retraction,
    add_object,
    complete_jobs,
    conclude,
    end_step,
    is_chosen,
    job_row,
    object_uids,
    queue_again,
    queue_deliveries,
    retract,
    sort_out_rest,
    supersede,
    verdict,
)
from oncopixel_pacs.store.newest import NEWEST_JOB, is_followed, job_keys
from oncopixel_pacs.store.readings import forget_result, keep_result
from oncopixel_pacs.store.rows import to_delivery, to_object
from oncopixel_pacs.store.state_counts import state_counts
from oncopixel_pacs.store.tables import (
    DeliveryRow,
    JobObjectRow,
    JobRow,
    ObjectRow,
    StepRow,
)

#: Called inside a transaction: hand the delivery of a job to one destination to the engine.
EnqueueDelivery = Callable[[Session, str, str], None]


class Ledger:
    """Jobs, steps, result objects and deliveries in the database.

    Every method that writes is one transaction, committed durably when it returns.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def job(self, job_id: str) -> Job:
        """Return one job with its steps, objects and deliveries.

        Raises
        ------
        NotFound
            When there is no such job.
        """
        with self._database.read() as session:
            return complete_jobs(session, [job_row(session, job_id)])[0]

    def jobs(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        study_instance_uid: str | None = None,
        states: Collection[JobState] = (),
    ) -> Page[Job]:
        """List jobs, the newest first."""
        with self._database.read() as session:
            keys = job_keys(session, study_instance_uid, states, cursor, limit + 1)
            rows = session.exec(
                select(JobRow).where(col(JobRow.id).in_(keys[:limit])).order_by(*NEWEST_JOB)
            ).all()
            items = tuple(complete_jobs(session, rows))
        last = items[-1] if len(keys) > limit else None
        return Page(items, None if last is None else encode_cursor(last.created_at, last.id))

    def latest_jobs(self, study_instance_uids: Sequence[str]) -> dict[str, Job]:
        """Find the newest job of each of these studies, by study; one without a job is left out."""
        with self._database.read() as session:
            rows = session.exec(
                select(JobRow)
                .where(col(JobRow.study_instance_uid).in_(study_instance_uids))
                .order_by(col(JobRow.created_at), col(JobRow.id))
            ).all()
            newest = {row.study_instance_uid: row for row in rows}
            jobs = complete_jobs(session, list(newest.values()))
        return {job.study_instance_uid: job for job in jobs}

    def unfinished(self) -> tuple[tuple[str, int], ...]:
        """Id and run of every job that is not in a final state."""
        final = [state for state in JobState if state.final]
        with self._database.read() as session:
            found = select(JobRow.id, JobRow.run).where(col(JobRow.state).not_in(final))
            return tuple((job_id, run) for job_id, run in session.exec(found).all())

    def current_run(self, job_id: str) -> int:
        """Count how often a job was queued; work of an earlier run is out of date."""
        with self._database.read() as session:
            return job_row(session, job_id).run

    def begin_step(self, job_id: str, name: StepName, now: datetime) -> int:
        """Note that a step starts; returns which attempt it is, from 1."""
        with self._database.write() as session:
            row = session.get(StepRow, (job_id, name))
            if row is None:
                row = StepRow(job_id=job_id, name=name, state=StepState.RUNNING, started_at=now)
                session.add(row)
            row.state = StepState.RUNNING
            row.attempts += 1
            row.started_at = now
            row.finished_at = None
            return row.attempts

    def end_step(
        self, job_id: str, name: StepName, now: datetime, detail: Mapping[str, float] | None = None
    ) -> None:
        """Note that a step is done, with seconds per part in `detail`."""
        with self._database.write() as session:
            end_step(session, job_id, name, now, StepState.DONE, detail=detail or {})

    def fail_step(self, job_id: str, name: StepName, now: datetime, error: str) -> None:
        """Note that an attempt at a step failed, and why."""
        with self._database.write() as session:
            end_step(session, job_id, name, now, StepState.FAILED, error=error)

    def set_state(self, job_id: str, state: JobState, error: str | None = None) -> None:
        """Move a job to a state that is not final, unless it has ended elsewhere.

        With it may go why the job cannot go on now; what is said stays without one.
        """
        with self._database.write() as session:
            row = job_row(session, job_id, lock=True)
            if not JobState(row.state).final:
                row.state = state
                row.error = row.error if error is None else error

    def save_result(self, job_id: str, result: StudyResult, models_digest: str = "") -> None:
        """Keep what the models said, and which they were where that is told."""
        with self._database.write() as session:
            keep_result(session, job_row(session, job_id), result, models_digest)

    def count_takeover(self, job_id: str) -> int:
        """Count that a host stopped over a job; returns how often since it was queued."""
        with self._database.write() as session:
            row = job_row(session, job_id, lock=True)
            row.takeovers += 1
            return row.takeovers

    def give_up(self, job_id: str, now: datetime, error: str) -> None:
        """End a job that nobody shall take up again."""
        with self._database.write() as session:
            row = job_row(session, job_id, lock=True)
            if not JobState(row.state).final:
                row.state, row.error, row.finished_at = JobState.FAILED, error, now

    def note_error(self, job_id: str, error: str) -> None:
        """Say what went wrong with a job that goes on, to report it."""
        with self._database.write() as session:
            job_row(session, job_id).error = error

    def note_repairs(self, job_id: str, repairs: Iterable[str]) -> None:
        """Add what was repaired in the headers of a job's images; each sentence stands once."""
        with self._database.write() as session:
            row = job_row(session, job_id)
            row.repairs = list(dict.fromkeys([*(row.repairs or ()), *repairs]))

    def finish(self, job_id: str, state: JobState, now: datetime, error: str = "") -> None:
        """Move a job to a final state."""
        with self._database.write() as session:
            row = job_row(session, job_id)
            row.state = state
            row.error = error
            row.finished_at = now

    def stored_object(self, sop_instance_uid: str) -> ResultObject | None:
        """Return the result object with this UID, if one is stored."""
        with self._database.read() as session:
            row = session.get(ObjectRow, sop_instance_uid)
            return None if row is None else to_object(row)

    def earlier_reports(
        self, job: Job, kind: ObjectKind = ObjectKind.SR
    ) -> tuple[ResultObject, ...]:
        """List the reports of earlier revisions of a job's study, the oldest first."""
        with self._database.read() as session:
            rows = session.exec(
                select(ObjectRow)
                .join(
                    JobObjectRow,
                    col(JobObjectRow.sop_instance_uid) == col(ObjectRow.sop_instance_uid),
                )
                .join(JobRow, col(JobRow.id) == col(JobObjectRow.job_id))
                .where(
                    JobRow.study_instance_uid == job.study_instance_uid,
                    JobRow.revision < job.revision,
                    ObjectRow.kind == kind,
                )
                .order_by(col(JobRow.revision), col(JobObjectRow.position))
            ).all()
            return tuple(to_object(row) for row in rows)

    def add_objects(
        self,
        job_id: str,
        objects: Sequence[ResultObject],
        destinations: Mapping[str, Collection[ObjectKind]],
        now: datetime,
        enqueue: EnqueueDelivery,
        *,
        forms: Mapping[str, SegmentationForm] = MappingProxyType({}),
        retractions: Mapping[str, Retraction] = MappingProxyType({}),
    ) -> None:
        """Record a job's result objects and queue their deliveries, in one transaction.

        An object that an earlier revision delivered already is not sent twice; one that it
        could not deliver is tried again. A job with nothing to send is over.

        Parameters
        ----------
        destinations
            Kinds of objects that each destination takes, by name, those with notes among them.
        forms
            Form of segmentations that each destination takes; binary where it is not named.
        retractions
            Rejection note for each destination that has results which no longer hold.
        """
        with self._database.write() as session:
            before = len(object_uids(session, job_id))
            new = {
                item.sop_instance_uid
                for position, item in enumerate(objects, start=before)
                if add_object(session, job_id, item, position)
            }
            retract(session, retractions)
            supersede(session, job_id, {item.sop_instance_uid for item in objects})
            open_at = []
            for name, kinds in destinations.items():
                note = retractions[name].note_uid if name in retractions else ""
                wanted = [
                    item
                    for item in objects
                    if item.sop_instance_uid == note
                    or is_chosen(session, name, item, kinds, forms.get(name))
                ]
                if queue_deliveries(session, name, wanted, new, now):
                    open_at.append(name)
            open_at += sort_out_rest(session, job_id, destinations, forms)
            row = job_row(session, job_id)
            row.written = True
            row.state, row.finished_at = JobState.DELIVERING, None
            if not open_at:
                conclude(session, row, now)
            for name in open_at:
                enqueue(session, job_id, name)

    def open_deliveries(
        self, job_id: str, destination: str
    ) -> tuple[tuple[ResultObject, Delivery], ...]:
        """List the objects of a job that are to be sent to a destination now, in writing order.

        Those that wait for another attempt are the outbox's.
        """
        with self._database.read() as session:
            rows = session.exec(
                select(ObjectRow, DeliveryRow)
                .join(
                    JobObjectRow,
                    col(JobObjectRow.sop_instance_uid) == ObjectRow.sop_instance_uid,
                )
                .join(DeliveryRow, col(DeliveryRow.sop_instance_uid) == ObjectRow.sop_instance_uid)
                .where(
                    JobObjectRow.job_id == job_id,
                    DeliveryRow.destination == destination,
                    col(DeliveryRow.state).in_(OPEN),
                    col(DeliveryRow.next_attempt_at).is_(None),
                )
                .order_by(col(JobObjectRow.position))
            ).all()
            return tuple((to_object(item), to_delivery(sent)) for item, sent in rows)

    def begin_delivery(self, destination: str, sop_instance_uids: Iterable[str]) -> None:
        """Note that an attempt to send these objects starts."""
        with self._database.write() as session:
            for uid in sop_instance_uids:
                row = session.get_one(DeliveryRow, (destination, uid), with_for_update=True)
                if row.state not in OPEN:
                    continue  # another host sent it meanwhile
                row.state = DeliveryState.SENDING
                row.attempts += 1
                row.next_attempt_at = None

    def record_delivery(self, delivery: Delivery) -> None:
        """Keep the outcome of one attempt to send one object."""
        with self._database.write() as session:
            row = session.get_one(DeliveryRow, (delivery.destination, delivery.sop_instance_uid))
            row.state, row.status, row.error = delivery.state, delivery.status, delivery.error
            row.next_attempt_at = delivery.next_attempt_at
            row.finished_at = delivery.finished_at
            row.ask_at = delivery.ask_at
            if row.state == DeliveryState.ACCEPTED and row.ask_at is None:
                row.unconfirmed_at = None  # nobody asks for it, so nobody misses it

    def close_delivery(self, job_id: str, now: datetime) -> bool:
        """Finish a job whose every delivery has ended; returns whether it has."""
        with self._database.write() as session:
            return conclude(session, job_row(session, job_id), now)

    def restart(
        self,
        job_id: str,
        enqueue: Enqueue,
        states: Collection[JobState] = tuple(JobState),
        *,
        anew: bool = False,
        resend: Collection[str] = (),
    ) -> Job:
        """Queue a job again; failed deliveries start anew with the same bytes.

        A job that has written nothing yet, or of which nothing could be analysed, is analysed
        anew as well.

        Parameters
        ----------
        states
            In these it may be; two who ask at once get one run.
        anew
            Whether images are read again that have results.
        resend
            Destinations to which what they accepted is sent again, unless it was taken back since.

        Raises
        ------
        ConfigurationError
            When the job is in another state.
        """
        with self._database.write() as session:
            row = job_row(session, job_id, lock=True)
            if row.state not in states:
                raise ConfigurationError(
                    f"Job {job_id} is {row.state}; only {', '.join(states)} jobs start again."
                )
            if anew or not row.written or verdict(row) is not JobState.DONE:
                # Nothing came of it, or it shall be read again.
                forget_result(session, row)
            row.state = JobState.QUEUED
            row.run += 1
            row.takeovers = 0
            row.error = ""
            row.finished_at = None
            queue_again(session, job_id, resend)
            job = complete_jobs(session, [row])[0]
            enqueue(session, job, row.run)
            return job

    def replaced_by(self, job_id: str) -> str:
        """Id of the job whose results took the place of this one's; empty where none did."""
        with self._database.read() as session:
            job = job_row(session, job_id)
            of_study = JobRow.study_instance_uid == job.study_instance_uid
            later = (of_study, JobRow.revision > job.revision, col(JobRow.written))
            newest = select(JobRow.id).where(*later).order_by(col(JobRow.revision).desc())
            return session.exec(newest).first() or ""

    def failed(self) -> int:
        """Count the failed jobs that no later revision of their study made up for."""
        alone = select(func.count()).where(JobRow.state == JobState.FAILED, ~is_followed())
        with self._database.read() as session:
            return session.exec(alone).one()

    def counts(self) -> dict[JobState, int]:
        """Count jobs by state."""
        with self._database.read() as session:
            found = state_counts(session, "job")
        return {JobState(state): number for (_, state), number in found.items()}
