"""Which studies and jobs a list holds: their keys, from indexes alone, the newest first."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement, Select, select, tuple_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from oncopixel_pacs.domain import JobState
from oncopixel_pacs.store.cursors import decode_cursor
from oncopixel_pacs.store.study_filter import StudyFilter, conditions
from oncopixel_pacs.store.tables import JobRow, StudyRow

NEWEST_STUDY = (col(StudyRow.last_received_at).desc(), col(StudyRow.study_instance_uid).desc())
NEWEST_JOB = (col(JobRow.created_at).desc(), col(JobRow.id).desc())


def is_followed(by: Collection[JobState] = ()) -> ColumnElement[bool]:
    """Whether a job's study has a later revision, which takes the place of what it says.

    Parameters
    ----------
    by
        States that the later job may be in; then it has results of its own, too.
    """
    later = aliased(JobRow)
    query = select(col(later.id)).where(
        col(later.study_instance_uid) == col(JobRow.study_instance_uid),
        col(later.revision) > col(JobRow.revision),
    )
    if by:
        query = query.where(col(later.state).in_(by), col(later.written))
    return query.exists()


def study_keys(session: Session, wanted: StudyFilter, cursor: str | None, limit: int) -> list[str]:
    """List the Study Instance UIDs of the studies that are wanted.

    Raises
    ------
    NotFound
        When the cursor is not one of ours.
    """
    query = select(col(StudyRow.study_instance_uid)).where(*conditions(session, wanted))
    if cursor is not None:
        place = tuple_(col(StudyRow.last_received_at), col(StudyRow.study_instance_uid))
        query = query.where(place < decode_cursor(cursor))
    return [uid for (uid,) in session.execute(query.order_by(*NEWEST_STUDY).limit(limit))]


def job_keys(
    session: Session,
    study_instance_uid: str | None,
    states: Collection[JobState],
    cursor: str | None,
    limit: int,
) -> list[str]:
    """List the ids of the jobs that are wanted.

    Raises
    ------
    NotFound
        When the cursor is not one of ours.
    """

    def newest(*wanted: ColumnElement[bool]) -> Select[str, datetime]:
        query = select(col(JobRow.id), col(JobRow.created_at)).where(*wanted)
        if study_instance_uid is not None:
            query = query.where(col(JobRow.study_instance_uid) == study_instance_uid)
        if cursor is not None:
            place = tuple_(col(JobRow.created_at), col(JobRow.id))
            query = query.where(place < decode_cursor(cursor))
        return query.order_by(*NEWEST_JOB).limit(limit)

    # Each state by itself: the newest jobs of one stand together in an index, of two they do not.
    parts = [newest(col(JobRow.state) == item) for item in set(states)] or [newest()]
    rows = [tuple(row) for part in parts for row in session.execute(part)]
    ordered = sorted(rows, key=lambda row: (row[1], row[0]), reverse=True)
    return [job_id for job_id, _ in ordered[:limit]]
