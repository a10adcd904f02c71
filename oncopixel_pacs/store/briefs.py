"""Lists of studies and jobs: only the columns that a line shows are read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import select
from sqlmodel import Session, col

from oncopixel_pacs.domain import JobState, Page, StudyState
from oncopixel_pacs.domain.briefs import JobBrief, StudyBrief
from oncopixel_pacs.domain.facts import view_name
from oncopixel_pacs.store.cursors import encode_cursor
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.job_rows import deliveries_of, resting
from oncopixel_pacs.store.newest import NEWEST_JOB, NEWEST_STUDY, job_keys, study_keys
from oncopixel_pacs.store.rows import to_delivery, to_header, waiting_for
from oncopixel_pacs.store.study_filter import EVERY_STUDY, StudyFilter
from oncopixel_pacs.store.tables import InstanceRow, JobRow, StudyRow

_JOB = tuple(
    col(getattr(JobRow, name))
    for name in (
        "id",
        "study_instance_uid",
        "revision",
        "state",
        "created_at",
        "finished_at",
        "error",
        "probability",
        "finding_count",
    )
)
_STUDY = tuple(
    col(getattr(StudyRow, name))
    for name in (
        "study_instance_uid",
        "state",
        "revision",
        "first_received_at",
        "last_received_at",
        "waiting_for",
        "conflicts",
        "completed_at",
        "header",
    )
)


class Briefs:
    """Studies and jobs as lines of lists, the newest first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def studies(
        self, *, limit: int = 50, cursor: str | None = None, wanted: StudyFilter = EVERY_STUDY
    ) -> Page[StudyBrief]:
        """List the studies that are wanted, the one that received an image last first.

        Raises
        ------
        NotFound
            When the cursor is not one of ours.
        """
        with self._database.read() as session:
            keys = study_keys(session, wanted, cursor, limit + 1)
            items = _studies(session, keys[:limit])
        last = items[-1] if len(keys) > limit else None
        return Page(
            items,
            None if last is None else encode_cursor(last.last_received_at, last.study_instance_uid),
        )

    def jobs(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        study_instance_uid: str | None = None,
        states: Collection[JobState] = (),
    ) -> Page[JobBrief]:
        """List jobs, the newest first.

        Raises
        ------
        NotFound
            When the cursor is not one of ours.
        """
        with self._database.read() as session:
            keys = job_keys(session, study_instance_uid, states, cursor, limit + 1)
            items = _jobs(session, col(JobRow.id).in_(keys[:limit]))
        last = items[-1] if len(keys) > limit else None
        return Page(items, None if last is None else encode_cursor(last.created_at, last.id))

    def latest_jobs(self, study_instance_uids: Sequence[str]) -> dict[str, JobBrief]:
        """Find the newest job of each of these studies, by study; one without is left out."""
        with self._database.read() as session:
            jobs = _jobs(session, col(JobRow.study_instance_uid).in_(study_instance_uids))
        return {job.study_instance_uid: job for job in reversed(jobs)}


def _studies(session: Session, uids: Sequence[str]) -> tuple[StudyBrief, ...]:
    mine = col(StudyRow.study_instance_uid).in_(uids)
    views = _views(session, uids)
    return tuple(
        StudyBrief(
            study_instance_uid=row.study_instance_uid,
            state=StudyState(row.state),
            revision=row.revision,
            views=tuple(views.get(row.study_instance_uid, ())),
            first_received_at=row.first_received_at,
            last_received_at=row.last_received_at,
            waiting_for=row.waiting_for if row.state == StudyState.RECEIVING else "",
            conflicts=row.conflicts,
            declared_complete=row.completed_at is not None,
            header=to_header(row.header),
        )
        for row in session.execute(select(*_STUDY).where(mine).order_by(*NEWEST_STUDY))
    )


def _views(session: Session, uids: Sequence[str]) -> dict[str, list[str]]:
    facts = col(InstanceRow.facts)
    query = (
        select(
            col(InstanceRow.study_instance_uid),
            facts["modality"].as_string(),
            facts["instance_number"].as_string(),
            facts["laterality"].as_string(),
            facts["view"].as_string(),
        )
        .where(col(InstanceRow.study_instance_uid).in_(uids))
        .order_by(col(InstanceRow.sop_instance_uid))
    )
    found: dict[str, list[str]] = {}
    for uid, *named in session.execute(query):
        found.setdefault(uid, []).append(view_name(*named))
    return found


def _jobs(session: Session, mine: Any) -> tuple[JobBrief, ...]:
    rows = session.execute(select(*_JOB).where(mine).order_by(*NEWEST_JOB)).all()
    waiting = [row.id for row in rows if row.state == JobState.DELIVERING]
    sent = deliveries_of(session, waiting)
    rests = resting(session) if waiting else {}
    return tuple(
        JobBrief(
            **{
                **row._mapping,
                "state": (state := JobState(row.state)),
                "waiting_for": waiting_for(
                    state, row.error, map(to_delivery, sent.get(row.id, ())), rests
                ),
            }
        )
        for row in rows
    )
