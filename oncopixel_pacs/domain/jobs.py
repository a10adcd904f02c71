"""The work on one revision of a study, and the deliveries of what it wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from oncopixel_pacs.domain.kinds import DeliveryState
from oncopixel_pacs.domain.results import ResultObject, StudyResult


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
class Delivery:
    """One result object for one destination.

    `status` is the peer's answer in its own terms, e.g. ``0x0000`` or ``HTTP 200``.
    `retracted_by` is the rejection note that took the object back there, by its UID.
    `proof` is how the object was found there, or has to be where that failed; `unconfirmed_at`
    since when that is overdue.
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
    superseded
        SOP Instance UIDs of those of its objects that a later reading of its images replaced.
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
    superseded: frozenset[str] = frozenset()

    @property
    def current(self) -> tuple[ResultObject, ...]:
        """Its objects, without what was written when it was read before."""
        return tuple(i for i in self.objects if i.sop_instance_uid not in self.superseded)
