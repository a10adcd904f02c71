"""What a webhook says, and how far each call has come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class CallState(StrEnum):
    """Where a call stands."""

    WAITING = "waiting"
    TAKEN = "taken"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class WebhookCall:
    """One receiver that is to be told that one study finished.

    Attributes
    ----------
    id
        The same for every attempt, so that a receiver can tell a repetition.
    webhook
        Name of the receiver.
    finished_at
        When the job ended that it is told of.
    status
        HTTP status of the last answer; 0 while there was none.
    error
        One sentence; empty while nothing went wrong.
    """

    id: str
    webhook: str
    job_id: str
    finished_at: datetime
    state: CallState
    attempts: int = 0
    next_attempt_at: datetime | None = None
    ended_at: datetime | None = None
    status: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What a receiver of an export may have of one job.

    Attributes
    ----------
    contents
        Digests of what may stand there; an empty one where it is not known.
    statements
        How many there were, at most.
    """

    contents: frozenset[str]
    statements: int
