"""Which delivered results a new one supersedes, by destination."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import and_, exists, or_
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from oncopixel_pacs.domain import DeliveryState, Job, ObjectKind, ResultObject
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.rows import to_object
from oncopixel_pacs.store.tables import DeliveryRow, JobObjectRow, JobRow, ObjectRow


class Retractions:
    """Looks for results that a destination has and that no longer hold."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def stale(self, job: Job, current: Collection[str]) -> dict[str, tuple[ResultObject, ...]]:
        """List the results of a job's study that are not among the current ones.

        Those that a destination has or may yet get, and that were not taken back before by a note
        that it has or may yet get; what it refused for good is not there.

        Parameters
        ----------
        job
            The job that has just written; results of later revisions are left alone.
        current
            SOP Instance UIDs of what holds now.

        Returns
        -------
        dict
            By name of the destination, in the order of writing.
        """
        note = aliased(DeliveryRow)
        noted = and_(
            col(note.sop_instance_uid) == col(DeliveryRow.retracted_by),
            col(note.destination) == col(DeliveryRow.destination),
            col(note.state) != DeliveryState.FAILED,
        )
        query = (
            select(DeliveryRow.destination, ObjectRow)
            .join(ObjectRow, col(ObjectRow.sop_instance_uid) == col(DeliveryRow.sop_instance_uid))
            .join(
                JobObjectRow, col(JobObjectRow.sop_instance_uid) == col(ObjectRow.sop_instance_uid)
            )
            .join(JobRow, col(JobRow.id) == col(JobObjectRow.job_id))
            .where(
                JobRow.study_instance_uid == job.study_instance_uid,
                JobRow.revision <= job.revision,
                ObjectRow.kind != ObjectKind.REJECTION,
                DeliveryRow.state != DeliveryState.FAILED,
                or_(col(DeliveryRow.retracted_by) == "", ~exists().where(noted)),
            )
            .order_by(col(JobRow.revision), col(JobObjectRow.position))
        )
        found: dict[str, dict[str, ResultObject]] = {}
        with self._database.read() as session:
            for destination, row in session.exec(query).all():
                if row.sop_instance_uid not in current:
                    held = found.setdefault(destination, {})
                    held[row.sop_instance_uid] = to_object(row)
        return {name: tuple(items.values()) for name, items in found.items()}

    def taken_back(self, job: Job) -> frozenset[str]:
        """List the results of a job's study that notes of earlier revisions took back anywhere.

        Returns
        -------
        frozenset of str
            SOP Instance UIDs. Archives hide what comes under them for good (IHE IOCM).
        """
        of_study = (
            select(JobObjectRow.sop_instance_uid)
            .join(JobRow, col(JobRow.id) == col(JobObjectRow.job_id))
            .where(JobRow.study_instance_uid == job.study_instance_uid)
        )
        query = select(DeliveryRow.sop_instance_uid, DeliveryRow.retracted_by).where(
            col(DeliveryRow.sop_instance_uid).in_(of_study), DeliveryRow.retracted_by != ""
        )
        with self._database.read() as session:
            notes = set(session.exec(of_study.where(JobRow.revision < job.revision)).all())
            return frozenset(uid for uid, note in session.exec(query).all() if note in notes)
