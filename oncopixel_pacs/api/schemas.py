"""What the API answers about jobs: the shapes, and how they are made from domain values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Self
from urllib.parse import quote

from pydantic import BaseModel, Field

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.api import examples
from oncopixel_pacs.api.picture_schemas import PictureReply as PictureReply
from oncopixel_pacs.api.rendering import seconds_between, sop_class_name
from oncopixel_pacs.api.shape import shape as shape
from oncopixel_pacs.domain import (
    Algorithm,
    Delivery,
    DeliveryState,
    Finding,
    ImageResult,
    Job,
    JobState,
    Laterality,
    ModelTask,
    ObjectKind,
    Reason,
    ResultObject,
    SegmentationForm,
    Skip,
    Step,
    StepName,
    StepState,
    StudyResult,
    View,
)
from oncopixel_pacs.domain.briefs import JobBrief
from oncopixel_pacs.imaging.hanging import hanging_order

Probability = float | None


class DeliveryAnswer(BaseModel):
    """How far one result object has come on its way to one destination."""

    model_config = shape(examples.DELIVERY)

    destination: str
    state: DeliveryState
    attempts: int
    status: str
    """The destination's answer in its own terms, such as ``0x0000`` or ``HTTP 200``."""
    error: str
    queued_at: datetime | None
    """When it was queued first."""
    next_attempt_at: datetime | None
    finished_at: datetime | None
    retracted_by: str
    """SOP Instance UID of the rejection note that took the object back there; mostly empty."""
    proof: str
    """How it was found there, such as ``storage commitment`` or ``C-FIND``; empty until it was."""
    confirmed_at: datetime | None
    unconfirmed_at: datetime | None
    """Since when it is overdue that the destination shows that it has the object."""
    resends: int
    """How often it was sent again, since it was accepted and not found."""


class ObjectAnswer(BaseModel):
    """One result object and its deliveries."""

    model_config = shape(examples.OBJECT)

    kind: ObjectKind
    sop_instance_uid: str
    sop_class_uid: str
    sop_class_name: str
    series_instance_uid: str
    series_description: str
    size_bytes: int
    sha256: str
    form: SegmentationForm | None
    """Of the segmentations that it is or refers to; null where it is neither."""
    deliveries: tuple[DeliveryAnswer, ...]

    @classmethod
    def of(cls, item: ResultObject, deliveries: tuple[Delivery, ...]) -> Self:
        """Answer for an object, given every delivery of its job."""
        return cls(
            kind=item.kind,
            sop_instance_uid=item.sop_instance_uid,
            sop_class_uid=item.sop_class_uid,
            sop_class_name=sop_class_name(item.sop_class_uid),
            series_instance_uid=item.series_instance_uid,
            series_description=item.series_description,
            size_bytes=item.size_bytes,
            sha256=item.sha256,
            form=item.form,
            deliveries=tuple(
                DeliveryAnswer.model_validate(sent)
                for sent in deliveries
                if sent.sop_instance_uid == item.sop_instance_uid
            ),
        )


class FindingAnswer(BaseModel):
    """One lesion candidate. Points are ``(row, column)`` in stored pixels."""

    model_config = shape(examples.FINDING)

    number: int
    tracking_id: str
    tracking_uid: str
    probability: float
    centre: tuple[float, float]
    outline: tuple[tuple[float, float], ...]
    """Closed polygon; the first point equals the last."""
    area_mm2: float
    long_axis_mm: float
    short_axis_mm: float

    @classmethod
    def of(cls, finding: Finding) -> Self:
        """Answer for a finding."""
        return cls.model_validate(finding)


class SkipAnswer(BaseModel):
    """One model that did not read an image, and why."""

    model_config = shape(examples.SKIP)

    model: str
    task: ModelTask
    reason: Reason
    sentence: str
    detail: str

    @classmethod
    def of(cls, skip: Skip) -> Self:
        """Answer for a model that did not read an image."""
        return cls(
            model=skip.model,
            task=skip.task,
            reason=skip.reason,
            sentence=skip.reason.sentence,
            detail=skip.detail,
        )


class ImageAnswer(BaseModel):
    """What the models say of one image, or why they do not."""

    model_config = shape(examples.IMAGE)

    sop_instance_uid: str
    laterality: Laterality | None
    view: View | None
    rows: int
    columns: int
    spacing_mm: tuple[float, float] | None
    """Size of a pixel in the breast plane, ``(row, column)``."""
    probability: Probability
    reason: Reason | None
    """Why no model read the image; null when one did."""
    reason_sentence: str
    reason_detail: str
    skipped: tuple[SkipAnswer, ...]
    """Every model that did not read the image, with its own reason."""
    findings: tuple[FindingAnswer, ...]
    picture: PictureReply | None
    """What models of pictures say; null for a mammogram."""
    overlay: str | None
    """Path of the picture with the findings outlined; null when not analysed."""

    @classmethod
    def of(cls, job_id: str, image: ImageResult) -> Self:
        """Answer for an image of a job."""
        facts = image.facts
        return cls(
            sop_instance_uid=facts.sop_instance_uid,
            laterality=facts.laterality,
            view=facts.view,
            rows=facts.rows,
            columns=facts.columns,
            spacing_mm=facts.spacing_mm,
            probability=image.probability,
            reason=image.reason,
            reason_sentence=image.reason.sentence if image.reason else "",
            reason_detail=image.reason_detail,
            skipped=tuple(SkipAnswer.of(item) for item in image.skipped),
            findings=tuple(FindingAnswer.of(item) for item in image.findings),
            picture=None if image.picture is None else PictureReply.model_validate(image.picture),
            overlay=overlay_path(job_id, facts.sop_instance_uid) if image.analysed else None,
        )


class ModelAnswer(BaseModel):
    """One model, as it stands in every result object."""

    model_config = shape(examples.MODEL)

    name: str
    version: str
    task: ModelTask
    manufacturer: str
    threshold: float
    """Operating point: probability at or above which the model calls a finding."""
    weights_sha256: str
    preprocessing_sha256: str
    configuration_sha256: str
    """Of what the bundle states beside the weights; empty where it was not kept."""

    @classmethod
    def of(cls, algorithm: Algorithm) -> Self:
        """Answer for a model."""
        return cls.model_validate(algorithm)


class ResultAnswer(BaseModel):
    """What the models say of a study."""

    model_config = shape(examples.RESULT)

    notice: str = RESEARCH_NOTICE
    probability: Probability
    """Of malignancy: the highest breast; null when no image was analysed."""
    breasts: Mapping[Laterality, float]
    device: str
    timings_seconds: Mapping[str, float]
    models: tuple[ModelAnswer, ...]
    images: tuple[ImageAnswer, ...]

    @classmethod
    def of(cls, job_id: str, result: StudyResult) -> Self:
        """Answer for the result of a job."""
        return cls(
            probability=result.probability,
            breasts=result.breasts,
            device=result.device,
            timings_seconds=result.timings_seconds,
            models=tuple(ModelAnswer.of(item) for item in result.algorithms),
            images=tuple(
                ImageAnswer.of(job_id, item)
                for item in sorted(result.images, key=lambda item: hanging_order(item.facts))
            ),
        )


class StepAnswer(BaseModel):
    """One step of a job; the times are those of its last attempt."""

    model_config = shape(examples.STEP)

    name: StepName
    state: StepState
    attempts: int
    started_at: datetime
    finished_at: datetime | None
    seconds: float | None
    error: str
    detail: Mapping[str, float]
    """Seconds per part, where they are known."""

    @classmethod
    def of(cls, step: Step) -> Self:
        """Answer for a step."""
        return cls(
            name=step.name,
            state=step.state,
            attempts=step.attempts,
            started_at=step.started_at,
            finished_at=step.finished_at,
            seconds=seconds_between(step.started_at, step.finished_at),
            error=step.error,
            detail=step.detail,
        )


class JobSummary(BaseModel):
    """The work on one revision of a study, in a list."""

    model_config = shape(examples.JOB_SUMMARY)

    id: str
    study_instance_uid: str
    revision: int
    state: JobState
    created_at: datetime
    finished_at: datetime | None
    waiting_for: str
    """In words; empty when it is running or finished."""
    error: str
    """One sentence; empty while nothing went wrong."""
    probability: Probability
    finding_count: int | None

    @classmethod
    def line(cls, job: JobBrief) -> Self:
        """Summary of a job."""
        return cls.model_validate(job)


class JobAnswer(JobSummary):
    """The work on one revision of a study, with everything that came of it."""

    model_config = shape(examples.JOB)

    models_digest: str
    sop_instance_uids: tuple[str, ...]
    steps: tuple[StepAnswer, ...]
    repairs: tuple[str, ...]
    """What was changed in copies of the images' headers, in words, without values."""
    result: ResultAnswer | None
    objects: tuple[ObjectAnswer, ...]

    @classmethod
    def of(cls, job: Job) -> Self:
        """Answer for a job."""
        return cls(
            **JobSummary.line(JobBrief.of(job)).model_dump(),
            models_digest=job.models_digest,
            sop_instance_uids=job.sop_instance_uids,
            steps=tuple(StepAnswer.of(item) for item in job.steps),
            repairs=job.repairs,
            result=None if job.result is None else ResultAnswer.of(job.id, job.result),
            objects=tuple(ObjectAnswer.of(item, job.deliveries) for item in job.objects),
        )


class JobList(BaseModel):
    """Part of the list of jobs, the newest first."""

    model_config = shape({"items": [examples.JOB_SUMMARY], "next_cursor": None})

    items: tuple[JobSummary, ...]
    next_cursor: str | None = Field(description="Fetches what follows; null at the end.")


def overlay_path(job_id: str, sop_instance_uid: str) -> str:
    """Path of the picture of one image of a job."""
    return f"/api/v1/jobs/{quote(job_id)}/images/{quote(sop_instance_uid)}/overlay.png"
