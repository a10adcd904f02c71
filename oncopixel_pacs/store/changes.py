"""What has changed in the ledger since one last looked; for whoever watches."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from sqlalchemy import func, select
from sqlmodel import Session, col

from oncopixel_pacs.domain import JobState
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.tables import DeliveryRow, JobObjectRow, JobRow, StepRow, StudyRow

#: Studies and jobs that are looked at besides the unfinished ones.
_LATEST = 100
_FINAL = [state for state in JobState if state.final]

#: Of each study, by its UID, values that differ once anything that is shown of it changed.
Marks = dict[str, frozenset[tuple[Hashable, ...]]]


class Changes:
    """Looks at the studies that may change: the latest ones, and those that are being worked on.

    Nobody tells of changes, for several processes may share the ledger; so it is asked. A look
    costs a few indexed reads, however many studies there are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def look(self) -> Marks:
        """Give the marks as they are now."""
        found: dict[str, set[tuple[Hashable, ...]]] = {}
        with self._database.read() as session:
            for row in _studies(session):
                found.setdefault(row[0], set()).add(("study", *row[1:]))
            jobs = _jobs(session)
            for row in jobs:
                found.setdefault(row[1], set()).add(("job", row[0], *row[2:]))
            working = {row[0]: row[1] for row in jobs if row[2] not in _FINAL}
            for job_id, mark in _progress(session, list(working)):
                found[working[job_id]].add(mark)
        return {study: frozenset(marks) for study, marks in found.items()}


def changed(before: Marks, after: Marks) -> frozenset[str]:
    """Study Instance UIDs of what changed between two looks.

    A study that is no longer looked at has been overtaken by newer ones, and counts as changed
    only if there was work on it: then that has ended.
    """
    return frozenset(
        {study for study, marks in after.items() if before.get(study) != marks}
        | {
            study
            for study, marks in before.items()
            if study not in after and any(_is_work(mark) for mark in marks)
        }
    )


def _is_work(mark: tuple[Hashable, ...]) -> bool:
    return mark[0] == "job" and mark[2] not in _FINAL


def _studies(session: Session) -> list[tuple[Any, ...]]:
    query = (
        select(
            col(StudyRow.study_instance_uid),
            col(StudyRow.state),
            col(StudyRow.revision),
            col(StudyRow.last_received_at),
            col(StudyRow.waiting_for),
        )
        .order_by(col(StudyRow.last_received_at).desc())
        .limit(_LATEST)
    )
    return [tuple(row) for row in session.execute(query)]


def _jobs(session: Session) -> list[tuple[Any, ...]]:
    made = select(
        col(JobRow.id),
        col(JobRow.study_instance_uid),
        col(JobRow.state),
        col(JobRow.run),
        col(JobRow.finished_at),
    )
    latest = made.order_by(col(JobRow.created_at).desc()).limit(_LATEST)
    working = made.where(col(JobRow.state).not_in(_FINAL))
    return [tuple(row) for query in (latest, working) for row in session.execute(query)]


def _progress(session: Session, job_ids: list[str]) -> list[tuple[str, tuple[Hashable, ...]]]:
    steps = select(
        col(StepRow.job_id), col(StepRow.name), col(StepRow.state), col(StepRow.attempts)
    ).where(col(StepRow.job_id).in_(job_ids))
    deliveries = (
        select(
            col(JobObjectRow.job_id),
            col(DeliveryRow.state),
            col(DeliveryRow.attempts),
            func.count(),
        )
        .join(DeliveryRow, col(DeliveryRow.sop_instance_uid) == col(JobObjectRow.sop_instance_uid))
        .where(col(JobObjectRow.job_id).in_(job_ids))
        .group_by(col(JobObjectRow.job_id), col(DeliveryRow.state), col(DeliveryRow.attempts))
    )
    return [(row[0], ("step", *row[1:])) for row in session.execute(steps)] + [
        (row[0], ("delivery", *row[1:])) for row in session.execute(deliveries)
    ]
