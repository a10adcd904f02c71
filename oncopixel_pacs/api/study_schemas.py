"""What the API answers about studies."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, Field

from oncopixel_pacs.api import examples
from oncopixel_pacs.api.schemas import JobSummary, shape
from oncopixel_pacs.domain import (
    Instance,
    Laterality,
    Study,
    StudyHeader,
    StudyState,
    View,
)
from oncopixel_pacs.domain.briefs import JobBrief, StudyBrief


class HeaderAnswer(BaseModel):
    """Patient and study attributes as received. Plain text: escape it before showing it."""

    model_config = shape(examples.HEADER)

    patient_name: str
    patient_id: str
    description: str
    accession_number: str
    study_date: str

    @classmethod
    def of(cls, header: StudyHeader) -> Self:
        """Answer for the header of a study."""
        return cls.model_validate(header)


class InstanceAnswer(BaseModel):
    """One image as it was received."""

    model_config = shape(examples.INSTANCE)

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    laterality: Laterality | None
    view: View | None
    rows: int
    columns: int
    size_bytes: int
    received_at: datetime
    calling_ae_title: str

    @classmethod
    def of(cls, instance: Instance) -> Self:
        """Answer for an instance."""
        facts = instance.facts
        return cls(
            sop_instance_uid=facts.sop_instance_uid,
            sop_class_uid=facts.sop_class_uid,
            series_instance_uid=facts.series_instance_uid,
            laterality=facts.laterality,
            view=facts.view,
            rows=facts.rows,
            columns=facts.columns,
            size_bytes=instance.size_bytes,
            received_at=instance.received_at,
            calling_ae_title=instance.calling_ae_title,
        )


class StudySummary(BaseModel):
    """A study in a list."""

    model_config = shape(examples.STUDY_SUMMARY)

    study_instance_uid: str
    state: StudyState
    revision: int
    """0 until the study settles for the first time."""
    image_count: int
    views: tuple[str, ...]
    waiting_for: str
    """In words; empty once settled."""
    declared_complete: bool
    """Whether someone said that nothing more will come; it settles within a second."""
    conflicts: int
    """Objects that came under a SOP Instance UID we hold with other content."""
    first_received_at: datetime
    last_received_at: datetime
    header: HeaderAnswer
    latest_job: JobSummary | None

    @classmethod
    def of(cls, study: StudyBrief, latest: JobBrief | None) -> Self:
        """Summary of a study and its newest job."""
        return cls(**_study_summary(study, latest))


class StudyAnswer(StudySummary):
    """A study with its images and its newest jobs."""

    model_config = shape(examples.STUDY)

    instances: tuple[InstanceAnswer, ...]
    jobs: tuple[JobSummary, ...]
    """The newest first, at most 200."""

    @classmethod
    def with_jobs(cls, study: Study, jobs: tuple[JobBrief, ...]) -> Self:
        """Answer for a study and its jobs, the newest first."""
        return cls(
            **_study_summary(StudyBrief.of(study), jobs[0] if jobs else None),
            instances=tuple(InstanceAnswer.of(item) for item in study.instances),
            jobs=tuple(JobSummary.line(item) for item in jobs),
        )


class StudyList(BaseModel):
    """Part of the list of studies, the one that received an image last first."""

    model_config = shape({"items": [examples.STUDY_SUMMARY], "next_cursor": None})

    items: tuple[StudySummary, ...]
    next_cursor: str | None = Field(description="Fetches what follows; null at the end.")


def _study_summary(study: StudyBrief, latest: JobBrief | None) -> dict[str, Any]:
    return {
        "study_instance_uid": study.study_instance_uid,
        "state": study.state,
        "revision": study.revision,
        "image_count": len(study.views),
        "views": study.views,
        "waiting_for": study.waiting_for,
        "declared_complete": study.declared_complete,
        "conflicts": study.conflicts,
        "first_received_at": study.first_received_at,
        "last_received_at": study.last_received_at,
        "header": HeaderAnswer.of(study.header),
        "latest_job": None if latest is None else JobSummary.line(latest),
    }
