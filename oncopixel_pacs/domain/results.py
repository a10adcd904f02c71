"""What the models say of a study, and the objects that say it to others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from oncopixel_pacs.domain.algorithms import Algorithm, ModelTask, Subject
from oncopixel_pacs.domain.answers import PictureAnswer
from oncopixel_pacs.domain.facts import ImageFacts, Laterality
from oncopixel_pacs.domain.kinds import ObjectKind, SegmentationForm
from oncopixel_pacs.domain.reasons import Reason


@dataclass(frozen=True, slots=True)
class Finding:
    """One lesion candidate on one image.

    Attributes
    ----------
    number
        1-based; the value of this finding's pixels in the image's label map and the
        segment number in its SEG.
    centre
        ``(row, column)`` of a stored pixel inside the mask, nearest to its centroid.
    outline
        Closed polygon of ``(row, column)`` points inside the image, first equals last.
    probability
        Of malignancy, as the model scores this region.
    """

    number: int
    tracking_id: str
    tracking_uid: str
    probability: float
    centre: tuple[float, float]
    outline: tuple[tuple[float, float], ...]
    area_mm2: float
    long_axis_mm: float
    short_axis_mm: float


@dataclass(frozen=True, slots=True)
class Skip:
    """One model that did not read one image, and why."""

    model: str
    task: ModelTask
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What the models say of one image: a score and findings, or the reason for neither.

    Attributes
    ----------
    reason
        Why no model read it; ``None`` when at least one did.
    skipped
        Every model that did not read it, with its own reason.
    picture
        What the models of pictures say; ``None`` for a mammogram.
    """

    facts: ImageFacts
    probability: float | None = None
    findings: tuple[Finding, ...] = ()
    reason: Reason | None = None
    reason_detail: str = ""
    skipped: tuple[Skip, ...] = ()
    picture: PictureAnswer | None = None

    @property
    def analysed(self) -> bool:
        """Whether a model read this image."""
        return self.reason is None


@dataclass(frozen=True, slots=True)
class StudyResult:
    """The one in-memory result that every result object is written from.

    Attributes
    ----------
    algorithms
        The models that were chosen for the study, one of each task at most.
    images
        Every image of the revision, analysed or not, in the order of their SOP Instance UIDs.
    breasts
        Probability per breast: the mean over its analysed images.
    probability
        Of the study: the highest breast; ``None`` when no image was analysed.
    timings_seconds
        Seconds spent per stage (``decode``, ``prepare``, ``classify``, ``segment``, …).
    subject
        What the images show; of pictures there are neither breasts nor a probability.
    """

    study_instance_uid: str
    revision: int
    algorithms: tuple[Algorithm, ...]
    images: tuple[ImageResult, ...]
    breasts: Mapping[Laterality, float]
    probability: float | None
    device: str = "cpu"
    timings_seconds: Mapping[str, float] = field(default_factory=dict)
    subject: Subject = Subject.BREAST

    @property
    def analysed(self) -> bool:
        """Whether the models read any of the images."""
        return any(image.analysed for image in self.images)

    @property
    def findings(self) -> tuple[tuple[ImageResult, Finding], ...]:
        """Every finding with the image it is on."""
        return tuple((image, finding) for image in self.images for finding in image.findings)


@dataclass(frozen=True, slots=True)
class ResultObject:
    """One result object as stored: these bytes, and no others, are sent and re-sent.

    `form` is that of the segmentations that it is or refers to; ``None`` where it is neither.
    """

    kind: ObjectKind
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    series_description: str
    #: Relative to the data directory.
    path: str
    sha256: str
    size_bytes: int
    form: SegmentationForm | None = None


@dataclass(frozen=True, slots=True)
class QuarantinedObject:
    """One result object that is held back: it, or another of its set, did not pass the gate.

    `problems` says what is wrong with it; empty where the fault is another's.
    """

    job_id: str
    kind: ObjectKind
    sop_instance_uid: str
    series_description: str
    path: str
    sha256: str
    size_bytes: int
    problems: tuple[str, ...]
    held_at: datetime
    resolved_at: datetime | None = None
