"""Instances and the studies that they make up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from oncopixel_pacs.domain.facts import ImageFacts


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
