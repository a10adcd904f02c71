"""Retention: which studies may be deleted, deleting them, and the record that stays of it.

A study may go when it is settled, its jobs have ended, and every delivery of every result is
confirmed by its destination, or taken back there by a note that is. What failed, what was merely
accepted, what conflicts and what went nowhere is kept, however old it is, unless it failed and a
later revision made up for it, or a person cancelled its job.
An object that no destination asks for, such as the segmentations
where only reports are sent, goes with those of its job that were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from oncopixel_pacs.domain import DeliveryState, JobState, StudyState
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.deletion_lock import deletion_lock
from oncopixel_pacs.store.files import FileStore
from oncopixel_pacs.store.newest import is_followed
from oncopixel_pacs.store.readings import ReadingRow
from oncopixel_pacs.store.removal import removal_of
from oncopixel_pacs.store.shadows import ShadowRow
from oncopixel_pacs.store.tables import (
    DeletionRow,
    DeliveryRow,
    InstanceRow,
    JobObjectRow,
    JobRow,
    ObjectRow,
    QuarantineRow,
    StepRow,
    StudyRow,
)

_ENDED_WELL = (JobState.DONE, JobState.NOT_ANALYSED)


@dataclass(frozen=True, slots=True)
class Expired:
    """A study that may be deleted.

    Attributes
    ----------
    images, results
        Number of received images and of result objects.
    size_bytes
        Of both.
    jobs
        Ids of the jobs on its revisions.
    """

    study_instance_uid: str
    revision: int
    last_received_at: datetime
    images: int
    results: int
    size_bytes: int
    jobs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deletion:
    """The record of a deleted study.

    Attributes
    ----------
    policy
        In words, the rule that it was deleted by.
    objects
        SOP Instance UID and SHA-256 of every deleted image and result.
    removed_at
        When the last of its files had left disk or bucket; ``None`` while some are there.
    """

    study_instance_uid: str
    revision: int
    images: int
    results: int
    size_bytes: int
    deleted_at: datetime
    policy: str
    objects: tuple[tuple[str, str], ...]
    removed_at: datetime | None


class Retention:
    """Finds and deletes studies whose every result is proven to be elsewhere."""

    def __init__(self, database: Database, files: FileStore) -> None:
        self._database = database
        self._files = files
        self._removal = removal_of(database, files)

    def expired(self, before: datetime, limit: int = 100) -> tuple[Expired, ...]:
        """List the studies that may go, the oldest first.

        Parameters
        ----------
        before
            Nothing of them was received, finished or confirmed since.
        """
        query = (
            select(StudyRow)
            .where(*_may_go(before))
            .order_by(col(StudyRow.last_received_at))
            .limit(limit)
        )
        with self._database.read() as session:
            return tuple(_to_expired(session, row) for row in session.exec(query).all())

    def held_back(self, before: datetime) -> int:
        """Count the studies that are as old and are kept all the same."""
        old = col(StudyRow.last_received_at) < before
        count = select(func.count()).select_from(StudyRow)
        with self._database.read() as session:
            every = session.exec(count.where(old)).one()
            return every - session.exec(count.where(*_may_go(before))).one()

    def delete(
        self, study: Expired, before: datetime, now: datetime, policy: str, *, wait: bool = True
    ) -> bool:
        """Delete a study for good, unless something of it changed since it was listed.

        Rows and record change in one transaction. Of files in a folder the rows tell afterwards
        whether they come back or go, of files in a bucket the record does.

        Parameters
        ----------
        wait
            Whether to wait while somebody else deletes, or needs every file to stay; else
            nothing is deleted meanwhile.

        Raises
        ------
        OutOfResources
            When the database cannot take it.
        OSError
            When disk or bucket do not.
        """
        with deletion_lock(self._database, self._files.data_dir, wait=wait) as held:
            if held is None:
                return False
            self._removal.mend(held)
            try:
                deleted = self._delete(study, before, now, policy)
            except BaseException:
                self._removal.mend(held)
                raise
            self._removal.finish(held)
        return deleted

    def mend(self) -> bool:
        """Finish what was interrupted, if nobody deletes now; returns whether that was so.

        Raises
        ------
        OutOfResources, OSError
            As `delete` does.
        """
        with deletion_lock(self._database, self._files.data_dir, wait=False) as held:
            if held is not None:
                self._removal.mend(held)
        return held is not None

    def recover(self) -> None:
        """See to it that no file of a deleted study is here.

        To be done before anything looks for files without a row, and on each host now and then
        while others may delete.
        """
        self._removal.recover()

    def deletions(self, limit: int = 100) -> tuple[Deletion, ...]:
        """List the records of what was deleted, the newest first."""
        newest = select(DeletionRow).order_by(
            col(DeletionRow.deleted_at).desc(), col(DeletionRow.id).desc()
        )
        with self._database.read() as session:
            return tuple(_to_deletion(row) for row in session.exec(newest.limit(limit)).all())

    def _delete(self, study: Expired, before: datetime, now: datetime, policy: str) -> bool:
        uid = study.study_instance_uid
        with self._database.write() as session:
            row = session.exec(
                select(StudyRow).where(StudyRow.study_instance_uid == uid).with_for_update()
            ).first()
            if row is None or session.exec(_still(uid, before)).first() is None:
                return False
            images, results = _images(session, uid), _results(session, uid)
            held = session.exec(
                select(QuarantineRow.path).where(col(QuarantineRow.job_id).in_(study.jobs))
            ).all()
            labels = [self._files.labels_path(job_id) for job_id in study.jobs]
            paths = [*(i.path for i in images), *(r.path for r in results), *held, *labels]
            self._removal.take(paths)
            _delete_rows(session, uid, study.jobs, [item.sop_instance_uid for item in results])
            session.add(
                DeletionRow(
                    study_instance_uid=uid,
                    revision=row.revision,
                    images=len(images),
                    results=len(results),
                    size_bytes=study.size_bytes,
                    deleted_at=now,
                    policy=policy,
                    objects=[
                        *([item.sop_instance_uid, item.digest] for item in images),
                        *([item.sop_instance_uid, item.sha256] for item in results),
                    ],
                    paths=None if self._removal.goes_with_rows else paths,
                    removed_at=now if self._removal.goes_with_rows else None,
                )
            )
        return True


def _may_go(before: datetime) -> list[ColumnElement[bool]]:
    """Conditions on `StudyRow`."""
    own = col(JobRow.study_instance_uid) == col(StudyRow.study_instance_uid)
    written = col(JobObjectRow.job_id) == col(JobRow.id)
    sent = col(DeliveryRow.sop_instance_uid) == col(JobObjectRow.sop_instance_uid)
    other = aliased(JobObjectRow)
    any_sent = and_(
        col(other.job_id) == col(JobRow.id),
        col(DeliveryRow.sop_instance_uid) == col(other.sop_instance_uid),
    )
    made_up_for = is_followed(_ENDED_WELL)
    has_failed = and_(col(JobRow.state) == JobState.FAILED, ~made_up_for)
    given_up = or_(made_up_for, col(JobRow.state) == JobState.CANCELLED)
    unfinished = or_(
        col(JobRow.state).not_in((*_ENDED_WELL, JobState.FAILED, JobState.CANCELLED)),
        has_failed,
        col(JobRow.finished_at).is_(None),
        col(JobRow.finished_at) >= before,
        # Its result is told nowhere but here.
        and_(col(JobRow.state) == JobState.DONE, ~exists().where(written)),
    )
    # What was taken back may be hidden; the note that did it is to be proven.
    hidden = and_(
        col(DeliveryRow.state) == DeliveryState.ACCEPTED, col(DeliveryRow.retracted_by) != ""
    )
    unproven = or_(
        and_(
            col(DeliveryRow.state).not_in((DeliveryState.CONFIRMED, DeliveryState.FAILED)), ~hidden
        ),
        and_(col(DeliveryRow.state) == DeliveryState.FAILED, ~given_up),
        col(DeliveryRow.finished_at) >= before,
    )
    return [
        col(StudyRow.state) == StudyState.SETTLED,
        col(StudyRow.conflicts) == 0,
        col(StudyRow.last_received_at) < before,
        exists().where(own),
        ~exists().where(own, unfinished),
        ~exists().where(own, written, sent, unproven),
        ~exists().where(own, exists().where(written), ~exists().where(any_sent)),
    ]


def _still(uid: str, before: datetime) -> Any:
    return select(StudyRow).where(StudyRow.study_instance_uid == uid, *_may_go(before))


def _images(session: Session, uid: str) -> Sequence[InstanceRow]:
    return session.exec(select(InstanceRow).where(InstanceRow.study_instance_uid == uid)).all()


def _results(session: Session, uid: str) -> Sequence[ObjectRow]:
    return session.exec(
        select(ObjectRow)
        .where(
            col(ObjectRow.sop_instance_uid).in_(
                select(JobObjectRow.sop_instance_uid)
                .join(JobRow, col(JobRow.id) == col(JobObjectRow.job_id))
                .where(JobRow.study_instance_uid == uid)
            )
        )
        .order_by(col(ObjectRow.sop_instance_uid))
    ).all()


def _delete_rows(session: Session, uid: str, jobs: Sequence[str], results: Sequence[str]) -> None:
    conditions: tuple[tuple[Any, ColumnElement[bool]], ...] = (
        (DeliveryRow, col(DeliveryRow.sop_instance_uid).in_(results)),
        (QuarantineRow, col(QuarantineRow.job_id).in_(jobs)),
        (StepRow, col(StepRow.job_id).in_(jobs)),
        (ShadowRow, col(ShadowRow.job_id).in_(jobs)),
        (ReadingRow, col(ReadingRow.job_id).in_(jobs)),
        (JobObjectRow, col(JobObjectRow.job_id).in_(jobs)),
        (ObjectRow, col(ObjectRow.sop_instance_uid).in_(results)),
        (JobRow, col(JobRow.id).in_(jobs)),
        (InstanceRow, col(InstanceRow.study_instance_uid) == uid),
        (StudyRow, col(StudyRow.study_instance_uid) == uid),
    )
    for table, condition in conditions:
        session.execute(delete(table).where(condition))


def _to_expired(session: Session, row: StudyRow) -> Expired:
    uid = row.study_instance_uid
    images, results = _images(session, uid), _results(session, uid)
    jobs = session.exec(select(JobRow.id).where(JobRow.study_instance_uid == uid)).all()
    return Expired(
        study_instance_uid=uid,
        revision=row.revision,
        last_received_at=row.last_received_at,
        images=len(images),
        results=len(results),
        size_bytes=sum(item.size_bytes for item in images)
        + sum(item.size_bytes for item in results),
        jobs=tuple(jobs),
    )


def _to_deletion(row: DeletionRow) -> Deletion:
    return Deletion(
        row.study_instance_uid,
        row.revision,
        row.images,
        row.results,
        row.size_bytes,
        row.deleted_at,
        row.policy,
        tuple((uid, digest) for uid, digest in row.objects),
        row.removed_at,
    )
