"""Conflicts in the database: which there are, and what a person decided about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlmodel import Session, col, select

from oncopixel_pacs.domain import Instance, JobState, StudyHeader, StudyState
from oncopixel_pacs.domain.conflicts import Conflict
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.store.catalogue import unknown_study
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.rows import dump_facts, name_study
from oncopixel_pacs.store.tables import ConflictRow, InstanceRow, JobRow, StudyRow

_MOST_NAMED = 3
#: In these a job may yet read the images; one that delivers has done so, however long that takes.
_AT_WORK = (JobState.QUEUED, JobState.ANALYSING)


class Conflicts:
    """Other content under UIDs that are held; every method that writes is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_study(self, study_instance_uid: str) -> tuple[Conflict, ...]:
        """List the conflicts of a study, the oldest first.

        Raises
        ------
        NotFound
            When nothing of it was received.
        """
        with self._database.read() as session:
            if session.get(StudyRow, study_instance_uid) is None:
                raise unknown_study(study_instance_uid)
            found = session.exec(
                select(ConflictRow, InstanceRow.path)
                .join(
                    InstanceRow, col(InstanceRow.sop_instance_uid) == ConflictRow.sop_instance_uid
                )
                .where(ConflictRow.study_instance_uid == study_instance_uid)
                .order_by(col(ConflictRow.id))
            ).all()
        return tuple(_to_conflict(row, path) for row, path in found)

    def alarm(self) -> str:
        """Say which studies have a conflict that nobody settled; empty while none has."""
        uids = self.studies(_MOST_NAMED + 1)
        if not uids:
            return ""
        named = ", ".join(uids[:_MOST_NAMED]) + (", …" if len(uids) > _MOST_NAMED else "")
        return (
            "Images came again under their UID with other content, as when a side or a name is "
            "corrected, and what came first is what was analysed. Say on the page of the study "
            f"which is right: {named}."
        )

    def studies(self, most: int) -> Sequence[str]:
        """List some studies that have a conflict, by Study Instance UID."""
        query = select(ConflictRow.study_instance_uid).distinct()
        with self._database.read() as session:
            return session.exec(
                query.order_by(col(ConflictRow.study_instance_uid)).limit(most)
            ).all()

    def dismiss(self, study_instance_uid: str, dismissed: Sequence[Conflict]) -> None:
        """Forget these; what is held stays. Their files are the caller's.

        Raises
        ------
        ConfigurationError
            When one of them was settled meanwhile.
        """
        with self._database.write() as session:
            _forget(session, _locked(session, study_instance_uid), dismissed)

    def require_rest(self, study_instance_uid: str) -> None:
        """Raise `ConfigurationError` while a job of the study is at work."""
        with self._database.read() as session:
            _require_rest(session, study_instance_uid)

    def take(
        self,
        study_instance_uid: str,
        taken: Sequence[tuple[Conflict, Instance]],
        dismissed: Sequence[Conflict],
        header: StudyHeader,
        now: datetime,
    ) -> None:
        """Put these in place of what is held; the study waits to be read again.

        The files of what was held, and of what is dismissed, are the caller's.

        Parameters
        ----------
        taken
            Each with what its file says of it.
        header
            What the study is called from now on.

        Raises
        ------
        ConfigurationError
            When one of them was settled meanwhile, or a job of the study is at work.
        """
        with self._database.write() as session:
            study = _locked(session, study_instance_uid)
            _require_rest(session, study_instance_uid)
            _forget(session, study, [*(item for item, _ in taken), *dismissed])
            for _, instance in taken:
                _replace(session, instance)
            name_study(study, header)
            study.state = StudyState.RECEIVING
            study.last_received_at = max(study.last_received_at, now)
            study.unsettled_since = study.unsettled_since or now


def _to_conflict(row: ConflictRow, held_path: str) -> Conflict:
    assert row.id is not None  # noqa: S101 - it was read
    return Conflict(
        id=row.id,
        sop_instance_uid=row.sop_instance_uid,
        study_instance_uid=row.study_instance_uid,
        path=row.path,
        digest=row.digest,
        held_path=held_path,
        received_at=row.received_at,
        calling_ae_title=row.calling_ae_title,
    )


def _locked(session: Session, study_instance_uid: str) -> StudyRow:
    # The study before its instances, as in `arrivals`.
    study = session.get(StudyRow, study_instance_uid, with_for_update=True)
    if study is None:
        raise unknown_study(study_instance_uid)
    return study


def _require_rest(session: Session, study_instance_uid: str) -> None:
    at_work = select(JobRow.id).where(
        JobRow.study_instance_uid == study_instance_uid, col(JobRow.state).in_(_AT_WORK)
    )
    if session.exec(at_work.limit(1)).first() is not None:
        raise ConfigurationError(
            f"Study {study_instance_uid} is being read just now; "
            "wait until its results are written."
        )


def _forget(session: Session, study: StudyRow, conflicts: Sequence[Conflict]) -> None:
    for conflict in conflicts:
        row = session.get(ConflictRow, conflict.id, with_for_update=True)
        held = session.get(InstanceRow, conflict.sop_instance_uid, with_for_update=True)
        if row is None or held is None or held.path != conflict.held_path:
            raise ConfigurationError("Someone else settled this conflict meanwhile; look again.")
        session.delete(row)
    study.conflicts -= len(conflicts)


def _replace(session: Session, instance: Instance) -> None:
    facts = instance.facts
    row = session.get(InstanceRow, facts.sop_instance_uid)
    assert row is not None  # noqa: S101 - it was locked before
    row.path, row.digest = instance.path, instance.digest
    row.size_bytes = instance.size_bytes
    row.received_at, row.calling_ae_title = instance.received_at, instance.calling_ae_title
    row.association_at = None
    # It is part of the next revision, and of none before.
    row.revision = None
    row.series_instance_uid = facts.series_instance_uid
    row.sop_class_uid, row.modality = facts.sop_class_uid, facts.modality
    row.facts = dump_facts(replace(facts, edition=instance.digest))
