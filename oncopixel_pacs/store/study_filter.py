"""What a person looks for in the list of studies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, exists, func, literal, select
from sqlmodel import Session, col

from oncopixel_pacs.domain import JobState, StudyState
from oncopixel_pacs.store.tables import JobRow, StudyRow

#: Fewer jobs than this are looked for first; of more, every newest study soon has one.
_FEW = 5000
_LAST_CHARACTER = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class StudyFilter:
    """Which studies to list; what is empty or ``None`` is not asked.

    Attributes
    ----------
    job_state
        State of the job of the study's last revision.
    patient_id, accession_number
        The beginning of it, as written.
    date_from, date_to
        First and last Study Date (0008,0020), ``YYYYMMDD``.
    score_from, score_to
        Least and greatest probability of malignancy of the last revision, 0 to 1.
    """

    state: StudyState | None = None
    job_state: JobState | None = None
    patient_id: str = ""
    accession_number: str = ""
    date_from: str = ""
    date_to: str = ""
    score_from: float | None = None
    score_to: float | None = None


EVERY_STUDY = StudyFilter()


def conditions(session: Session, wanted: StudyFilter) -> Iterator[ColumnElement[bool]]:
    """Conditions on rows of studies, all of which must hold; they may join each with its job."""
    if wanted.state is not None:
        yield col(StudyRow.state) == wanted.state
    for column, beginning in (
        (col(StudyRow.patient_id), wanted.patient_id),
        (col(StudyRow.accession_number), wanted.accession_number),
    ):
        if beginning:
            # Both columns are in the order of bytes, so that an index finds what begins so.
            yield column >= beginning
            yield column < beginning + _LAST_CHARACTER
    if wanted.date_from:
        yield col(StudyRow.study_date) >= wanted.date_from
    if wanted.date_to:
        yield col(StudyRow.study_date) <= wanted.date_to
        yield col(StudyRow.study_date) != ""
    if of_job := list(_of_job(wanted)):
        yield from _has_job(session, of_job)


def _has_job(
    session: Session, of_job: Sequence[ColumnElement[bool]]
) -> Iterator[ColumnElement[bool]]:
    """Whether the job of the last revision fits; a revision has one."""
    own = (
        col(JobRow.study_instance_uid) == col(StudyRow.study_instance_uid),
        col(JobRow.revision) == col(StudyRow.revision),
    )
    few = select(literal(1)).select_from(JobRow).where(*of_job).limit(_FEW)
    count = session.execute(select(func.count()).select_from(few.subquery())).scalar_one()
    if count < _FEW:
        # A join begins with them, which spares a walk over every study.
        yield from (*own, *of_job)
    else:
        yield exists().where(*own, *of_job)


def _of_job(wanted: StudyFilter) -> Iterator[ColumnElement[bool]]:
    if wanted.job_state is not None:
        yield col(JobRow.state) == wanted.job_state
    if wanted.score_from is not None:
        yield col(JobRow.probability) >= wanted.score_from
    if wanted.score_to is not None:
        yield col(JobRow.probability) <= wanted.score_to
