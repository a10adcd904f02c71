"""Rows of jobs, and of what hangs on them, inside the caller's session."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from oncopixel_pacs.domain import (
    DeliveryState,
    Job,
    JobState,
    ObjectKind,
    Reason,
    ResultObject,
    SegmentationForm,
    StepName,
    StepState,
)
from oncopixel_pacs.errors import NotFound
from oncopixel_pacs.store.rows import to_job
from oncopixel_pacs.store.tables import (
    CircuitRow,
    DeliveryRow,
    JobObjectRow,
    JobRow,
    ObjectRow,
    StepRow,
)


@dataclass(frozen=True, slots=True)
class Retraction:
    """A rejection note and what it takes back, each by SOP Instance UID."""

    note_uid: str
    taken_back: tuple[str, ...]


#: A delivery in one of these states is not over.
OPEN = (DeliveryState.QUEUED, DeliveryState.SENDING)


def job_row(session: Session, job_id: str, *, lock: bool = False) -> JobRow:
    """Row of a job, locked until the transaction ends when asked; raises `NotFound`."""
    row = session.get(JobRow, job_id, with_for_update=lock)
    if row is None:
        raise NotFound(f"There is no job {job_id}.")
    return row


def end_step(
    session: Session,
    job_id: str,
    name: StepName,
    now: datetime,
    state: StepState,
    *,
    error: str = "",
    detail: Mapping[str, float] | None = None,
) -> None:
    """Note how a step ended, if it began."""
    row = session.get(StepRow, (job_id, name))
    if row is None:
        return
    row.state = state
    row.finished_at = now
    row.error = error
    row.detail = dict(detail or {})


def verdict(row: JobRow) -> JobState:
    """State in which a job ends whose results are all delivered."""
    reasons = [image.get("reason") for image in (row.result or {}).get("images", ())]
    if not reasons or None in reasons:
        return JobState.DONE
    failed = Reason.ANALYSIS_FAILED in reasons
    return JobState.FAILED if failed else JobState.NOT_ANALYSED


def undelivered(destinations: Sequence[str]) -> str:
    """Say that these destinations did not take every result of a job."""
    return (
        f"Not every result was delivered to {', '.join(destinations)}; "
        "see the deliveries for the reasons, then retry the job."
    )


def failed_destinations(rows: Iterable[DeliveryRow]) -> list[str]:
    """Name the destinations that did not take every one of these."""
    return sorted({row.destination for row in rows if row.state == DeliveryState.FAILED})


def conclude(session: Session, job: JobRow, now: datetime) -> bool:
    """End a job that delivers, when every delivery has ended; returns whether they have."""
    rows = deliveries_of(session, [job.id]).get(job.id, [])
    if any(row.state in OPEN for row in rows):
        return False
    if job.state != JobState.DELIVERING:
        return True
    failed = failed_destinations(rows)
    job.state = JobState.FAILED if failed else verdict(job)
    job.finished_at = now
    if failed and undelivered(failed) not in job.error:
        job.error = f"{job.error} {undelivered(failed)}".lstrip()
    state = StepState.FAILED if failed else StepState.DONE
    error = job.error if failed else ""
    end_step(session, job.id, StepName.DELIVER, now, state, error=error)
    return True


def object_uids(session: Session, job_id: str) -> Sequence[str]:
    """List what a job has written."""
    return session.exec(
        select(JobObjectRow.sop_instance_uid).where(JobObjectRow.job_id == job_id)
    ).all()


def is_chosen(
    session: Session,
    destination: str,
    item: ResultObject,
    kinds: Collection[ObjectKind],
    form: SegmentationForm | None,
) -> bool:
    """Whether an object goes to a destination; a rejection note only where it was made for."""
    known = (destination, item.sop_instance_uid)
    if item.kind is ObjectKind.REJECTION and session.get(DeliveryRow, known) is None:
        return False
    return is_wanted(item.kind, item.form, kinds, form)


def add_object(session: Session, job_id: str, item: ResultObject, position: int) -> bool:
    """Record an object and that it is the job's; returns whether it was not before."""
    if session.get(ObjectRow, item.sop_instance_uid) is None:
        session.add(
            ObjectRow(
                sop_instance_uid=item.sop_instance_uid,
                kind=item.kind,
                sop_class_uid=item.sop_class_uid,
                series_instance_uid=item.series_instance_uid,
                series_description=item.series_description,
                path=item.path,
                sha256=item.sha256,
                size_bytes=item.size_bytes,
                form=item.form,
            )
        )
        session.flush()
    known = session.get(JobObjectRow, (job_id, item.sop_instance_uid))
    if known is not None:
        known.position = max(known.position, -1 - known.position)  # it may hold again
        return False
    session.add(
        JobObjectRow(job_id=job_id, sop_instance_uid=item.sop_instance_uid, position=position)
    )
    return True


def supersede(session: Session, job_id: str, current: Collection[str]) -> None:
    """Note which objects of a job its last reading took the place of, but for rejection notes.

    They are not sent any more, unless a note follows them.
    """
    rows = session.exec(
        select(JobObjectRow)
        .join(ObjectRow, col(ObjectRow.sop_instance_uid) == col(JobObjectRow.sop_instance_uid))
        .where(
            JobObjectRow.job_id == job_id,
            ObjectRow.kind != ObjectKind.REJECTION,
            col(JobObjectRow.sop_instance_uid).not_in(current),
        )
    ).all()
    for row in rows:
        row.position = min(row.position, -1 - row.position)
    on_their_way = select(DeliveryRow).where(
        col(DeliveryRow.sop_instance_uid).in_([row.sop_instance_uid for row in rows]),
        col(DeliveryRow.state).in_(OPEN),
        DeliveryRow.retracted_by == "",
    )
    for sent in session.exec(on_their_way).all():
        session.delete(sent)
    session.flush()


def queue_again(session: Session, job_id: str, resend: Collection[str]) -> None:
    """Queue what failed of a job, and for these destinations what they accepted and still holds."""
    former = superseded(session, [job_id]).get(job_id, ())
    for delivery in deliveries_of(session, [job_id]).get(job_id, []):
        holds = not delivery.retracted_by and delivery.sop_instance_uid not in former
        again = delivery.destination in resend and holds
        if again or delivery.state == DeliveryState.FAILED:
            delivery.state = DeliveryState.QUEUED
            delivery.error = ""


def superseded(session: Session, job_ids: Collection[str]) -> dict[str, set[str]]:
    """SOP Instance UIDs of what the last reading of each job took the place of."""
    found: dict[str, set[str]] = {}
    for row in session.exec(
        select(JobObjectRow).where(
            col(JobObjectRow.job_id).in_(job_ids), col(JobObjectRow.position) < 0
        )
    ).all():
        found.setdefault(row.job_id, set()).add(row.sop_instance_uid)
    return found


def queue_deliveries(
    session: Session,
    destination: str,
    objects: Sequence[ResultObject],
    new: Collection[str],
    now: datetime,
) -> bool:
    """Queue what a destination has not taken; returns whether it has anything to take."""
    waiting = False
    for item in objects:
        row = session.get(DeliveryRow, (destination, item.sop_instance_uid))
        if row is None:
            row = DeliveryRow(
                destination=destination,
                sop_instance_uid=item.sop_instance_uid,
                state=DeliveryState.QUEUED,
                queued_at=now,
            )
            session.add(row)
        elif row.state == DeliveryState.FAILED and item.sop_instance_uid in new:
            # An earlier job gave up. This job must not, should it come here twice: the engine
            # runs each of its deliveries once.
            row.state = DeliveryState.QUEUED
        if row.state == DeliveryState.QUEUED:
            # The engine is given it, whatever it waited for.
            row.next_attempt_at = None
        waiting = waiting or row.state in OPEN
    return waiting


def sort_out_rest(
    session: Session,
    job_id: str,
    kinds: Mapping[str, Collection[ObjectKind]],
    forms: Mapping[str, SegmentationForm],
) -> list[str]:
    """See to what of a job is on its way where nobody wants it any more.

    What a destination is not to take any more is not sent there. A destination that is not
    configured is tried as others are, which ends with the reason; left alone it would wait for
    ever.

    Returns
    -------
    list of str
        Those that are not configured.
    """
    rows = session.exec(
        select(DeliveryRow, ObjectRow)
        .join(ObjectRow, col(ObjectRow.sop_instance_uid) == col(DeliveryRow.sop_instance_uid))
        .join(JobObjectRow, col(JobObjectRow.sop_instance_uid) == col(ObjectRow.sop_instance_uid))
        .where(JobObjectRow.job_id == job_id, col(DeliveryRow.state).in_(OPEN))
    ).all()
    former = set()
    for row, item in rows:
        if row.destination not in kinds:
            row.next_attempt_at = None
            former.add(row.destination)
        elif not is_wanted(
            item.kind, item.form, kinds[row.destination], forms.get(row.destination)
        ):
            session.delete(row)
    session.flush()
    return sorted(former)


def is_wanted(
    kind: str,
    form: str | None,
    kinds: Collection[ObjectKind],
    taken: SegmentationForm | None,
) -> bool:
    """Whether a destination that takes these kinds and that form takes an object."""
    return kind in kinds and form in (None, taken or SegmentationForm.BINARY)


def retract(session: Session, notes: Mapping[str, Retraction]) -> None:
    """Note at each destination which note takes back which results."""
    for destination, retraction in notes.items():
        for uid in retraction.taken_back:
            row = session.get(DeliveryRow, (destination, uid))
            if row is not None:
                row.retracted_by = retraction.note_uid


def deliveries_of(session: Session, job_ids: Sequence[str]) -> dict[str, list[DeliveryRow]]:
    """Deliveries of the objects of each job, to every destination."""
    rows = session.exec(
        select(JobObjectRow.job_id, DeliveryRow)
        .join(DeliveryRow, col(DeliveryRow.sop_instance_uid) == col(JobObjectRow.sop_instance_uid))
        .where(col(JobObjectRow.job_id).in_(job_ids))
    ).all()
    found: dict[str, list[DeliveryRow]] = {}
    for job_id, row in rows:
        found.setdefault(job_id, []).append(row)
    return found


def resting(session: Session) -> dict[str, datetime]:
    """When each destination that rests is tried next."""
    rows = session.exec(select(CircuitRow).where(col(CircuitRow.opened_at).is_not(None))).all()
    return {row.destination: row.next_probe_at for row in rows if row.next_probe_at is not None}


def complete_jobs(session: Session, rows: Sequence[JobRow]) -> list[Job]:
    """Jobs of these rows with their steps, objects and deliveries."""
    ids = [row.id for row in rows]
    steps: dict[str, list[StepRow]] = {}
    for step in session.exec(select(StepRow).where(col(StepRow.job_id).in_(ids))).all():
        steps.setdefault(step.job_id, []).append(step)
    objects: dict[str, list[ObjectRow]] = {}
    found = session.exec(
        select(JobObjectRow.job_id, ObjectRow)
        .join(ObjectRow, col(ObjectRow.sop_instance_uid) == col(JobObjectRow.sop_instance_uid))
        .where(col(JobObjectRow.job_id).in_(ids))
        .order_by(col(JobObjectRow.position))
    ).all()
    for job_id, item in found:
        objects.setdefault(job_id, []).append(item)
    former = superseded(session, ids)
    deliveries = deliveries_of(session, ids)
    waits = any(row.state == JobState.DELIVERING for row in rows)
    rests = resting(session) if waits else {}
    return [
        to_job(
            row,
            steps.get(row.id, ()),
            objects.get(row.id, ()),
            deliveries.get(row.id, ()),
            rests,
            former.get(row.id, ()),
        )
        for row in rows
    ]
