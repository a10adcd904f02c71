"""What the product talks about, in plain frozen values. Standard library only.

Six ideas: Instance, Study, Model, Result, Destination, Job. Every other module speaks in
these types; none of them knows a database row, a DICOM data set or a tensor. What everybody
needs is exported here, the rest stays in its module.

Coordinates are stored-pixel ``(row, column)``, zero-based, pixel centres at whole numbers,
unless a name ends in ``_mm``. Probabilities are in ``[0, 1]``. Times are timezone-aware UTC.
"""

from oncopixel_pacs.domain.algorithms import Algorithm, ModelMode, ModelTask, Subject
from oncopixel_pacs.domain.answers import ClassScore, Concept, PictureAnswer, Tissue
from oncopixel_pacs.domain.facts import ImageFacts, Laterality, Ordered, View
from oncopixel_pacs.domain.jobs import Delivery, Job, JobState, Step, StepName, StepState
from oncopixel_pacs.domain.kinds import DeliveryState, ObjectKind, SegmentationForm
from oncopixel_pacs.domain.paging import Page
from oncopixel_pacs.domain.reasons import Reason
from oncopixel_pacs.domain.results import (
    Finding,
    ImageResult,
    QuarantinedObject,
    ResultObject,
    Skip,
    StudyResult,
)
from oncopixel_pacs.domain.studies import (
    Instance,
    IntakeOutcome,
    Study,
    StudyHeader,
    StudyState,
)

__all__ = [
    "Algorithm",
    "ClassScore",
    "Concept",
    "Delivery",
    "DeliveryState",
    "Finding",
    "ImageFacts",
    "ImageResult",
    "Instance",
    "IntakeOutcome",
    "Job",
    "JobState",
    "Laterality",
    "ModelMode",
    "ModelTask",
    "ObjectKind",
    "Ordered",
    "Page",
    "PictureAnswer",
    "QuarantinedObject",
    "Reason",
    "ResultObject",
    "SegmentationForm",
    "Skip",
    "Step",
    "StepName",
    "StepState",
    "Study",
    "StudyHeader",
    "StudyResult",
    "StudyState",
    "Subject",
    "Tissue",
    "View",
]
