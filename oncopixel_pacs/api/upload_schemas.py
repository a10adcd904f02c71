"""What the API answers about uploads."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Self
from urllib.parse import quote

from pydantic import BaseModel

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.api import examples
from oncopixel_pacs.api.schemas import ResultAnswer, shape
from oncopixel_pacs.domain import Job, JobState, Study, StudyState
from oncopixel_pacs.domain.uploads import FileOutcome, Upload, UploadedImage


class UploadState(StrEnum):
    """How far an upload has come; results are ready once it is ``done``."""

    WAITING = "waiting"
    ANALYSING = "analysing"
    DONE = "done"
    NOT_ANALYSED = "not-analysed"
    FAILED = "failed"


_STATE_OF = {
    JobState.QUEUED: UploadState.WAITING,
    JobState.ANALYSING: UploadState.ANALYSING,
    # The objects are written; a PACS that is away is no reason to withhold the answer.
    JobState.DELIVERING: UploadState.DONE,
    JobState.DONE: UploadState.DONE,
    JobState.NOT_ANALYSED: UploadState.NOT_ANALYSED,
    JobState.FAILED: UploadState.FAILED,
    JobState.CANCELLED: UploadState.FAILED,
}
#: The state of an upload is the first of these that one of its studies is in.
_ORDER = (
    UploadState.WAITING,
    UploadState.ANALYSING,
    UploadState.FAILED,
    UploadState.DONE,
    UploadState.NOT_ANALYSED,
)


class UploadedImageAnswer(BaseModel):
    """One file of an upload, or one entry of an archive in it."""

    model_config = shape(examples.UPLOADED_IMAGE)

    name: str
    outcome: FileOutcome
    sop_instance_uid: str
    study_instance_uid: str
    detail: str
    """One sentence where it is not analysed, or was here before."""


class UploadObjectAnswer(BaseModel):
    """One DICOM object to be fetched."""

    model_config = shape(examples.UPLOAD_OBJECT)

    kind: str
    sop_instance_uid: str
    series_description: str
    size_bytes: int
    href: str
    """Path of the DICOM file."""


class UploadStudyAnswer(BaseModel):
    """One study of an upload."""

    model_config = shape(examples.UPLOAD_STUDY)

    study_instance_uid: str
    state: UploadState
    reason: str
    """One sentence: what it waits for, why it was not analysed, or what went wrong."""
    job_id: str | None
    result: ResultAnswer | None
    """Scores, findings with outlines, and a picture of each image; null until it is there."""
    objects: tuple[UploadObjectAnswer, ...]

    @classmethod
    def of(cls, study: Study, job: Job | None) -> Self:
        """Answer for a study and the job that its uploaded images are in, if there is one."""
        if job is None:
            waits = bool(study.images) or study.state is StudyState.RECEIVING
            return cls(
                study_instance_uid=study.study_instance_uid,
                state=UploadState.WAITING if waits else UploadState.NOT_ANALYSED,
                reason=_waits(study) if waits else "It holds no image.",
                job_id=None,
                result=None,
                objects=(),
            )
        return cls(
            study_instance_uid=study.study_instance_uid,
            state=_STATE_OF[job.state],
            reason=_reason(job),
            job_id=job.id,
            result=None if job.result is None else ResultAnswer.of(job.id, job.result),
            objects=tuple(
                UploadObjectAnswer(
                    kind=item.kind,
                    sop_instance_uid=item.sop_instance_uid,
                    series_description=item.series_description,
                    size_bytes=item.size_bytes,
                    href=object_path(job.id, item.sop_instance_uid),
                )
                for item in job.current
            ),
        )


class UploadAnswer(BaseModel):
    """An upload, its files, and what came of them."""

    model_config = shape(examples.UPLOAD)

    notice: str = RESEARCH_NOTICE
    id: str
    state: UploadState
    created_at: datetime
    href: str
    """Path of this answer; ask again while it is waiting or analysing."""
    page: str
    """Path of the page that shows it to a person."""
    images: tuple[UploadedImageAnswer, ...]
    studies: tuple[UploadStudyAnswer, ...]

    @classmethod
    def of(cls, upload: Upload, studies: tuple[UploadStudyAnswer, ...]) -> Self:
        """Answer for an upload."""
        states = {item.state for item in studies}
        return cls(
            id=upload.id,
            # Nothing was held: it came to nothing that could be analysed.
            state=next((item for item in _ORDER if item in states), UploadState.NOT_ANALYSED),
            created_at=upload.created_at,
            href=upload_path(upload.id),
            page=f"/uploads/{quote(upload.id)}",
            images=tuple(_image(item) for item in upload.images),
            studies=studies,
        )


def upload_path(upload_id: str) -> str:
    """Path of an upload in the API."""
    return f"/api/v1/uploads/{quote(upload_id)}"


def object_path(job_id: str, sop_instance_uid: str) -> str:
    """Path of a result object of a job."""
    return f"/api/v1/jobs/{quote(job_id)}/objects/{quote(sop_instance_uid)}"


def _image(item: UploadedImage) -> UploadedImageAnswer:
    return UploadedImageAnswer.model_validate(item)


def _reason(job: Job) -> str:
    if job.state.final:
        return job.error
    return f"Waits for {job.waiting_for}." if job.waiting_for else ""


def _waits(study: Study) -> str:
    if study.state is StudyState.RECEIVING and study.waiting_for:
        return f"Waits for {study.waiting_for}."
    return "Waits to be analysed."
