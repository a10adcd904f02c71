"""What lists show of studies and jobs: a line each, without images, steps and result objects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from oncopixel_pacs.domain.jobs import Job, JobState
from oncopixel_pacs.domain.studies import Study, StudyHeader, StudyState


@dataclass(frozen=True, slots=True)
class JobBrief:
    """One job as a line of a list; see `Job` for what is not explained here.

    Attributes
    ----------
    probability
        Of malignancy, 0 to 1; ``None`` when no mammogram was analysed.
    finding_count
        Findings on all images; ``None`` without a result.
    """

    id: str
    study_instance_uid: str
    revision: int
    state: JobState
    created_at: datetime
    finished_at: datetime | None
    waiting_for: str
    error: str
    probability: float | None
    finding_count: int | None

    @classmethod
    def of(cls, job: Job) -> Self:
        """Line of a job."""
        return cls(
            id=job.id,
            study_instance_uid=job.study_instance_uid,
            revision=job.revision,
            state=job.state,
            created_at=job.created_at,
            finished_at=job.finished_at,
            waiting_for=job.waiting_for,
            error=job.error,
            probability=job.result.probability if job.result else None,
            finding_count=len(job.result.findings) if job.result else None,
        )


@dataclass(frozen=True, slots=True)
class StudyBrief:
    """One study as a line of a list; see `Study` for what is not explained here.

    Attributes
    ----------
    views
        Name of each image, such as ``R CC``, in the order of their SOP Instance UIDs.
    """

    study_instance_uid: str
    state: StudyState
    revision: int
    views: tuple[str, ...]
    first_received_at: datetime
    last_received_at: datetime
    waiting_for: str
    conflicts: int
    declared_complete: bool
    header: StudyHeader

    @classmethod
    def of(cls, study: Study) -> Self:
        """Line of a study."""
        return cls(
            study_instance_uid=study.study_instance_uid,
            state=study.state,
            revision=study.revision,
            views=tuple(item.facts.name for item in study.instances),
            first_received_at=study.first_received_at,
            last_received_at=study.last_received_at,
            waiting_for=study.waiting_for,
            conflicts=study.conflicts,
            declared_complete=study.declared_complete,
            header=study.header,
        )
