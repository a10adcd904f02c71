"""What a person looks for in the list of studies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, exists, select, tuple_
from sqlmodel import col

from oncopixel_pacs.domain import JobState, StudyState
from oncopixel_pacs.store.tables import JobRow, StudyRow


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


def conditions(wanted: StudyFilter) -> Iterator[ColumnElement[bool]]:
    """Conditions on rows of studies, all of which must hold."""
    if wanted.state is not None:
        yield col(StudyRow.state) == wanted.state
    if wanted.patient_id:
        yield col(StudyRow.patient_id).startswith(wanted.patient_id, autoescape=True)
    if wanted.accession_number:
        yield col(StudyRow.accession_number).startswith(wanted.accession_number, autoescape=True)
    if wanted.date_from:
        yield col(StudyRow.study_date) >= wanted.date_from
    if wanted.date_to:
        yield col(StudyRow.study_date) <= wanted.date_to
        yield col(StudyRow.study_date) != ""
    of_job = list(_of_job(wanted))
    if wanted.job_state not in (None, JobState.DONE):
        # Few jobs are in any other state: to begin with them spares a walk over every study.
        yield tuple_(col(StudyRow.study_instance_uid), col(StudyRow.revision)).in_(
            select(col(JobRow.study_instance_uid), col(JobRow.revision)).where(*of_job)
        )
    elif of_job:
        yield exists().where(
            col(JobRow.study_instance_uid) == col(StudyRow.study_instance_uid),
            # A revision has one job.
            col(JobRow.revision) == col(StudyRow.revision),
            *of_job,
        )


def _of_job(wanted: StudyFilter) -> Iterator[ColumnElement[bool]]:
    if wanted.job_state is not None:
        yield col(JobRow.state) == wanted.job_state
    if wanted.score_from is not None:
        yield col(JobRow.probability) >= wanted.score_from
    if wanted.score_to is not None:
        yield col(JobRow.probability) <= wanted.score_to
