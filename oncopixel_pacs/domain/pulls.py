"""A study that is fetched from an archive on request. Speak of it as part of the domain."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class PullState(StrEnum):
    """How far a pull has come."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    PARTIAL = "partial"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether nothing more happens without a person."""
        return self not in (PullState.QUEUED, PullState.RUNNING)


@dataclass(frozen=True, slots=True)
class Pull:
    """One request to fetch one study.

    Attributes
    ----------
    expected
        Objects of the study that we take, as the source lists them; ``None`` until it was asked.
    received
        How many of those we hold.
    error
        One sentence; empty while nothing went wrong.
    """

    id: str
    study_instance_uid: str
    source: str
    state: PullState
    created_at: datetime
    expected: int | None = None
    received: int = 0
    attempts: int = 0
    error: str = ""
    next_attempt_at: datetime | None = None
    finished_at: datetime | None = None
