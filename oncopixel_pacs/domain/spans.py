"""What a trace is made of, whoever takes it: spans with times, a parent, and few attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

#: Values of attributes: names that are configured, numbers and states; never a patient's.
Value = str | int | float | bool


class SpanKind(StrEnum):
    """Which side of a call a span is."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One object of a study as it came.

    Attributes
    ----------
    association_at
        When its association began; ``None`` where it came another way.
    """

    received_at: datetime
    sender: str
    association_at: datetime | None
    sop_class_uid: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened within a span."""

    name: str
    at: datetime
    attributes: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """One part of what was done for a study.

    Attributes
    ----------
    key, parent
        Names of this span and of the one that it is a part of, unique in a trace and the same
        whenever they are made; `parent` is empty for the whole.
    """

    key: str
    name: str
    parent: str
    start: datetime
    end: datetime
    kind: SpanKind = SpanKind.INTERNAL
    attributes: Mapping[str, Value] = field(default_factory=dict)
    moments: tuple[Moment, ...] = ()
    failed: bool = False


@dataclass(frozen=True, slots=True)
class EndedJob:
    """One end of a job whose trace is to be told.

    Attributes
    ----------
    told_until
        Up to when an earlier trace of the job told; ``None`` for its first.
    told
        Whether all is told but the proofs.
    """

    job_id: str
    finished_at: datetime
    told_until: datetime | None
    told: bool
