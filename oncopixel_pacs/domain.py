"""What the product talks about, in plain frozen values. Standard library only.

Six ideas: Instance, Study, Model, Result, Destination, Job. Every other module speaks in
these types; none of them knows a database row, a DICOM data set or a tensor.

Coordinates are stored-pixel ``(row, column)``, zero-based, pixel centres at whole numbers,
unless a name ends in ``_mm``. Probabilities are in ``[0, 1]``. Times are timezone-aware UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

from oncopixel_pacs.algorithms import Algorithm as Algorithm  # part of the domain, as are
from oncopixel_pacs.algorithms import ModelTask as ModelTask
from oncopixel_pacs.algorithms import Subject as Subject
from oncopixel_pacs.answers import ClassScore as ClassScore
from oncopixel_pacs.answers import Concept as Concept
from oncopixel_pacs.answers import PictureAnswer as PictureAnswer
from oncopixel_pacs.answers import Tissue as Tissue
from oncopixel_pacs.facts import ImageFacts as ImageFacts
from oncopixel_pacs.facts import Laterality as Laterality
from oncopixel_pacs.facts import Ordered as Ordered
from oncopixel_pacs.facts import View as View
from oncopixel_pacs.kinds import DeliveryState as DeliveryState
from oncopixel_pacs.kinds import ObjectKind as ObjectKind
from oncopixel_pacs.kinds import SegmentationForm as SegmentationForm
from oncopixel_pacs.reasons import Reason as Reason

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Instance:
    """One SOP instance as we hold it: the facts of its header and where its bytes lie.

    Attributes
    ----------
    path
        Part 10 file, relative to the data directory.
    digest
        Of the data set as received (`digests`): the bytes after the file meta information, so
        that a re-sent object is the same object whoever wrote its file.
    association_at
        When the association began that it came by; ``None`` where it came another way.
    """

    facts: ImageFacts
    path: str
    digest: str
    size_bytes: int
    received_at: datetime
    calling_ae_title: str = ""
    called_ae_title: str = ""
    association_at: datetime | None = None


class IntakeOutcome(StrEnum):
    """What became of an instance that was handed to the catalogue."""

    NEW = "new"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class StudyHeader:
    """Patient and study attributes of a received object, for the admin's eyes; never logged."""

    patient_name: str = ""
    patient_id: str = ""
    description: str = ""
    accession_number: str = ""
    study_date: str = ""
    study_time: str = ""
    study_id: str = ""
    referring_physician_name: str = ""


class StudyState(StrEnum):
    """Where a study stands: still waiting for images, or settled for its latest revision."""

    RECEIVING = "receiving"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class Study:
    """A study and the images we hold of it.

    Attributes
    ----------
    revision
        0 until the study settles for the first time; one more each time it settles again.
    waiting_for
        In words, what the study waits for before it is analysed; empty once settled.
    conflicts
        Objects that came under a SOP Instance UID we hold with other content; kept apart.
    declared_complete
        Whether someone said that nothing more will come for the next revision.
    """

    study_instance_uid: str
    state: StudyState
    revision: int
    instances: tuple[Instance, ...]
    first_received_at: datetime
    last_received_at: datetime
    waiting_for: str = ""
    conflicts: int = 0
    declared_complete: bool = False
    header: StudyHeader = StudyHeader()

    @property
    def images(self) -> tuple[Instance, ...]:
        """What we hold of it, without documents that speak of it."""
        return tuple(item for item in self.instances if not item.facts.is_document)


class JobState(StrEnum):
    """State of the work on one study revision."""

    QUEUED = "queued"
    ANALYSING = "analysing"
    DELIVERING = "delivering"
    DONE = "done"
    NOT_ANALYSED = "not-analysed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing more happens without a person."""
        return self not in (JobState.QUEUED, JobState.ANALYSING, JobState.DELIVERING)


class StepName(StrEnum):
    """The steps of the study workflow, in order."""

    ANALYSE = "analyse"
    WRITE = "write"
    DELIVER = "deliver"


class StepState(StrEnum):
    """State of one step of a job."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a job, with the times of its last attempt and the number of attempts.

    `detail` splits the time where that is known, in seconds, e.g. ``{"decode": 0.4}``.
    """

    name: StepName
    state: StepState
    attempts: int
    started_at: datetime
    finished_at: datetime | None = None
    error: str = ""
    detail: Mapping[str, float] = field(default_factory=dict)


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


@dataclass(frozen=True, slots=True)
class Delivery:
    """One result object for one destination.

    `status` is the peer's answer in its own terms, e.g. ``0x0000`` or ``HTTP 200``.
    `retracted_by` is the rejection note that took the object back there, by its UID.
    `proof` is how the object was found there, `unconfirmed_at` since when that is overdue.
    """

    destination: str
    sop_instance_uid: str
    state: DeliveryState
    attempts: int
    status: str = ""
    error: str = ""
    queued_at: datetime | None = None
    next_attempt_at: datetime | None = None
    finished_at: datetime | None = None
    retracted_by: str = ""
    proof: str = ""
    confirmed_at: datetime | None = None
    unconfirmed_at: datetime | None = None
    resends: int = 0
    ask_at: datetime | None = None
    asked: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """The work on one revision of one study with one set of models.

    Attributes
    ----------
    id
        Derived from study, revision and models: the same work has the same id everywhere.
    sop_instance_uids
        The images of this revision, sorted.
    waiting_for
        In words, what the job waits for; empty when it is running or finished.
    error
        One sentence; empty while nothing went wrong.
    written
        Whether the result objects of its result are written.
    repairs
        What was changed in copies of the images' headers so that results could be written, one
        sentence each, without values.
    """

    id: str
    study_instance_uid: str
    revision: int
    models_digest: str
    state: JobState
    sop_instance_uids: tuple[str, ...]
    created_at: datetime
    finished_at: datetime | None = None
    waiting_for: str = ""
    error: str = ""
    steps: tuple[Step, ...] = ()
    result: StudyResult | None = None
    objects: tuple[ResultObject, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    written: bool = False
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Part of a list. `next_cursor` fetches what follows; ``None`` at the end."""

    items: tuple[Item, ...]
    next_cursor: str | None = None
