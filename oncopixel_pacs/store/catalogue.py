"""The catalogue: what has been received, by study."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from sqlalchemy import bindparam, text, update
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlmodel import Session, col, select

from oncopixel_pacs.domain import (
    Instance,
    IntakeOutcome,
    Job,
    JobState,
    Page,
    Study,
    StudyHeader,
    StudyState,
)
from oncopixel_pacs.domain.facts import says_nothing_new
from oncopixel_pacs.errors import NotFound, OutOfResources
from oncopixel_pacs.store.arrivals import MoreArrivals, record
from oncopixel_pacs.store.cursors import encode_cursor
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.holdings import Holding, holdings_of
from oncopixel_pacs.store.newest import NEWEST_STUDY, study_keys
from oncopixel_pacs.store.open_studies import OpenStudy, open_studies
from oncopixel_pacs.store.rows import name_study, to_job, to_study
from oncopixel_pacs.store.state_counts import state_counts
from oncopixel_pacs.store.study_filter import EVERY_STUDY, StudyFilter
from oncopixel_pacs.store.tables import ConflictRow, DeletionRow, InstanceRow, JobRow, StudyRow

#: Called inside the transaction that makes a job, to hand it to the workflow engine.
Enqueue = Callable[[Session, Job, int], None]


#: Rows that another association may commit first: the study, the instance, the conflict.
_RACES = 3
#: Fewer than any database's limit of parameters in one statement.
_UIDS_AT_A_TIME = 500
_MOST_WAITING = 1000
#: One that was settled in the meantime waits for nothing.
_WAIT_FOR = (
    update(StudyRow)
    .where(
        col(StudyRow.study_instance_uid) == bindparam("uid"),
        col(StudyRow.state) == StudyState.RECEIVING,
    )
    .values(waiting_for=bindparam("words"))
)


class Catalogue:
    """Studies and instances in the database.

    Every method that writes is one transaction, committed durably when it returns.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        # A guess, and no more: another process may have settled them, or deleted them.
        self._waiting: set[str] = set()
        self._more = MoreArrivals(database.engine.dialect)

    def add_instance(self, instance: Instance, header: StudyHeader) -> IntakeOutcome:
        """Record one received instance; its study waits again for what else may come.

        The file must be in its place already: its path holds the digest, so other content
        under the same UID lies beside the first and is recorded as a conflict.

        Raises
        ------
        OutOfResources
            When the database cannot take it; nothing is recorded then.
        """
        for _ in range(_RACES):
            try:
                return self._record([(instance, header)])[0]
            except OutOfResources as exc:
                if not isinstance(exc.__cause__, IntegrityError):
                    raise
        return self._record([(instance, header)])[0]

    def add_instances(
        self, batch: Sequence[tuple[Instance, StudyHeader]]
    ) -> list[IntakeOutcome | Exception]:
        """Record several as `add_instance` does each, in one transaction where that can be.

        Returns
        -------
        list
            For each what became of it, or why it was not recorded: one that the database does
            not take stands in no other's way.
        """
        if len(batch) > 1:
            try:
                return list(self._record(batch))
            except OutOfResources as exc:
                if isinstance(exc.__cause__, OperationalError | InterfaceError):
                    return [exc] * len(batch)  # no fault of any of them
        return [self._added(instance, header) for instance, header in batch]

    def _added(self, instance: Instance, header: StudyHeader) -> IntakeOutcome | Exception:
        try:
            return self.add_instance(instance, header)
        except Exception as exc:  # given to whoever waits for this one
            return exc

    def _record(self, batch: Sequence[tuple[Instance, StudyHeader]]) -> list[IntakeOutcome]:
        if self._recorded_more(batch):
            return [IntakeOutcome.NEW] * len(batch)
        with self._database.write_rows() as connection:
            outcomes = record(connection, batch)
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting.clear()
        self._waiting |= {instance.facts.study_instance_uid for instance, _ in batch}
        return outcomes

    def _recorded_more(self, batch: Sequence[tuple[Instance, StudyHeader]]) -> bool:
        """Take the short way, most often right, for studies that were written to just before."""
        if not all(instance.facts.study_instance_uid in self._waiting for instance, _ in batch):
            return False
        try:
            with self._database.write_directly() as cursor:
                if not (taken := self._more.record(cursor, batch)):
                    cursor.connection.rollback()
                return taken
        except OutOfResources as exc:
            if isinstance(exc.__cause__, IntegrityError):
                return False
            raise

    def holdings(self, sop_instance_uids: Sequence[str]) -> dict[str, Holding]:
        """Find what is recorded under these UIDs, other content under the same UID included."""
        found: dict[str, Holding] = {}
        with self._database.read() as session:
            for begin in range(0, len(sop_instance_uids), _UIDS_AT_A_TIME):
                uids = sop_instance_uids[begin : begin + _UIDS_AT_A_TIME]
                found |= holdings_of(session, uids)
        return found

    def forget_conflict(self, sop_instance_uid: str, digest: str) -> bool:
        """Forget other content under a UID that turned out to be the same object.

        Returns
        -------
        bool
            Whether it was recorded; its file has no row any more, and is the caller's.
        """
        with self._database.write() as session:
            row = session.exec(
                select(ConflictRow)
                .where(
                    ConflictRow.sop_instance_uid == sop_instance_uid, ConflictRow.digest == digest
                )
                .with_for_update()
            ).first()
            if row is None:
                return False
            study = session.get(StudyRow, row.study_instance_uid, with_for_update=True)
            if study is not None:
                study.conflicts -= 1
            session.delete(row)
            return True

    def receiving(self) -> tuple[OpenStudy, ...]:
        """Every study that is not settled, oldest first."""
        with self._database.read() as session:
            return open_studies(session)

    def those(self, study_instance_uids: Sequence[str]) -> tuple[Study, ...]:
        """Return the studies of these UIDs that are there, in any order."""
        found: list[Study] = []
        with self._database.read() as session:
            for begin in range(0, len(study_instance_uids), _UIDS_AT_A_TIME):
                uids = study_instance_uids[begin : begin + _UIDS_AT_A_TIME]
                rows = session.exec(
                    select(StudyRow).where(col(StudyRow.study_instance_uid).in_(uids))
                ).all()
                found += _with_instances(session, rows)
        return tuple(found)

    def has_open_work(self) -> bool:
        """Whether any study waits for images, or any job has not ended."""
        with self._database.read() as session:
            if any(state == StudyState.RECEIVING for _, state in state_counts(session, "study")):
                return True
            return any(not JobState(state).final for _, state in state_counts(session, "job"))

    def note_waiting(self, waiting_for: Mapping[str, str]) -> None:
        """Keep in words what studies wait for, by their UIDs."""
        changes = [{"uid": uid, "words": words} for uid, words in sorted(waiting_for.items())]
        if changes:
            with self._database.write() as session:
                session.connection().execute(_WAIT_FOR, changes)

    def rename(self, study_instance_uid: str, header: StudyHeader) -> None:
        """Keep what a study is called from now on."""
        with self._database.write() as session:
            row = session.get(StudyRow, study_instance_uid, with_for_update=True)
            if row is not None:
                name_study(row, header)

    def mark_complete(self, study_instance_uid: str, now: datetime) -> bool:
        """Note that nothing more will come: the study settles without waiting any longer.

        It holds for the next revision alone; an image that comes afterwards is waited for anew.

        Returns
        -------
        bool
            False when the study is settled already, and there is nothing to wait for.

        Raises
        ------
        NotFound
            When nothing of it was received.
        """
        with self._database.write() as session:
            row = session.get(StudyRow, study_instance_uid, with_for_update=True)
            if row is None:
                raise unknown_study(study_instance_uid)
            if row.state != StudyState.RECEIVING:
                return False
            row.completed_at = row.completed_at or now
            return True

    def settle(
        self, study: Study, models_digest: str, job_id: str, now: datetime, enqueue: Enqueue
    ) -> Job | None:
        """Close a study for its next revision and hand over its job, in one transaction.

        Returns
        -------
        Job or None
            ``None`` when the study changed since it was read, or someone else settled it; or when
            what came says nothing new of its images, as selections of key objects do.
        """
        with self._database.write() as session:
            row = session.exec(
                select(StudyRow)
                .where(StudyRow.study_instance_uid == study.study_instance_uid)
                .with_for_update()
            ).one()
            instances = _instances_of(session, row.study_instance_uid)
            # Not by time: an image may be recorded after one that was received later.
            unchanged = {item.sop_instance_uid for item in instances} == {
                item.facts.sop_instance_uid for item in study.instances
            }
            if row.state != StudyState.RECEIVING or not unchanged:
                return None
            new = {item.sop_instance_uid for item in instances if item.revision is None}
            changed = not says_nothing_new([item.facts for item in study.instances], new)
            row.state = StudyState.SETTLED
            row.revision += changed
            row.unsettled_since = None
            row.completed_at = None
            row.waiting_for = ""
            for instance in instances:
                if instance.revision is None:
                    instance.revision = row.revision
            if not changed:
                return None
            job = _add_job(session, study, row.revision, models_digest, job_id, now)
            enqueue(session, to_job(job), job.run)
            return to_job(job)

    def study(self, study_instance_uid: str) -> Study:
        """Return one study.

        Raises
        ------
        NotFound
            When nothing of it was received.
        """
        with self._database.read() as session:
            row = session.get(StudyRow, study_instance_uid)
            if row is None:
                raise unknown_study(study_instance_uid)
            return to_study(row, _instances_of(session, study_instance_uid))

    def studies(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        wanted: StudyFilter = EVERY_STUDY,
    ) -> Page[Study]:
        """List the studies that are wanted, the one that received an image last first."""
        with self._database.read() as session:
            keys = study_keys(session, wanted, cursor, limit + 1)
            rows = session.exec(
                select(StudyRow)
                .where(col(StudyRow.study_instance_uid).in_(keys[:limit]))
                .order_by(*NEWEST_STUDY)
            ).all()
            items = tuple(_with_instances(session, rows))
        last = items[-1] if len(keys) > limit else None
        return Page(
            items,
            None if last is None else encode_cursor(last.last_received_at, last.study_instance_uid),
        )

    def holds_older_digests(self) -> bool:
        """Whether any object is known by a digest of another algorithm than the one in use."""
        older = select(InstanceRow.sop_instance_uid).where(text("length(digest) = 64"))
        with self._database.read() as session:
            return session.exec(older.limit(1)).first() is not None

    def digest_of(self, sop_instance_uid: str) -> str | None:
        """Digest under which an object is held; ``None`` when it is not."""
        held = select(InstanceRow.digest).where(InstanceRow.sop_instance_uid == sop_instance_uid)
        with self._database.read() as session:
            return session.exec(held).first()

    def known_paths(self) -> set[str]:
        """Relative path of every file that has a row."""
        with self._database.read() as session:
            held = session.exec(select(InstanceRow.path)).all()
            apart = session.exec(select(ConflictRow.path)).all()
            return {*held, *apart}

    def was_deleted(self, study_instance_uid: str) -> bool:
        """Whether a study of this UID was ever deleted by policy."""
        found = select(DeletionRow.id).where(DeletionRow.study_instance_uid == study_instance_uid)
        with self._database.read() as session:
            return session.exec(found.limit(1)).first() is not None

    def check_writable(self) -> None:
        """Begin, read in and commit a transaction that may write.

        Raises
        ------
        OutOfResources
            When the database is locked, full, read-only or gone.
        """
        with self._database.write() as session:
            query = select(StudyRow.study_instance_uid).limit(1)
            # A lock that holds nobody up; PostgreSQL refuses it where nothing may be written.
            session.exec(query.with_for_update(read=True, key_share=True, skip_locked=True)).first()

    def counts(self) -> dict[StudyState, int]:
        """Count studies by state."""
        with self._database.read() as session:
            found = state_counts(session, "study")
        return {StudyState(state): number for (_, state), number in found.items()}


def unknown_study(study_instance_uid: str) -> NotFound:
    """Say that there is no such study."""
    return NotFound(f"No image of study {study_instance_uid} was received.")


def _add_job(
    session: Session,
    study: Study,
    revision: int,
    models_digest: str,
    job_id: str,
    now: datetime,
) -> JobRow:
    row = JobRow(
        id=job_id,
        study_instance_uid=study.study_instance_uid,
        revision=revision,
        models_digest=models_digest,
        state=JobState.QUEUED,
        sop_instance_uids=[item.facts.sop_instance_uid for item in study.images],
        created_at=now,
    )
    session.add(row)
    session.flush()
    return row


def _instances_of(session: Session, study_instance_uid: str) -> list[InstanceRow]:
    return list(
        session.exec(
            select(InstanceRow).where(InstanceRow.study_instance_uid == study_instance_uid)
        ).all()
    )


def _with_instances(session: Session, rows: Sequence[StudyRow]) -> Iterator[Study]:
    uids = [row.study_instance_uid for row in rows]
    instances = session.exec(
        select(InstanceRow).where(col(InstanceRow.study_instance_uid).in_(uids))
    ).all()
    by_study: dict[str, list[InstanceRow]] = {uid: [] for uid in uids}
    for instance in instances:
        by_study[instance.study_instance_uid].append(instance)
    for row in rows:
        yield to_study(row, by_study[row.study_instance_uid])
