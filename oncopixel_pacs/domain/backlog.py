"""What still waits to be sent to a destination, and whether it is held back for now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Circuit:
    """Whether a destination is left alone for a while, since it could not be used.

    Attributes
    ----------
    failures
        Attempts in a row in which the destination as a whole could not be used.
    opened_at
        Since when only one job at a time tries it; ``None`` while everything is sent.
    next_probe_at
        When the next job may try it.
    reason
        What the last failure was, one sentence; empty once it answers.
    """

    failures: int = 0
    opened_at: datetime | None = None
    next_probe_at: datetime | None = None
    reason: str = ""

    @property
    def open(self) -> bool:
        """Whether the destination is left alone, as a circuit that a breaker has opened."""
        return self.opened_at is not None


@dataclass(frozen=True, slots=True)
class Backlog:
    """Result objects that a destination has not taken yet and that did not fail for good.

    Attributes
    ----------
    waiting
        How many, those on the wire included.
    oldest_queued_at
        When the one that has waited longest was written.
    next_attempt_at
        When the first of them is tried again; ``None`` when one is due or on its way.
    """

    waiting: int = 0
    oldest_queued_at: datetime | None = None
    next_attempt_at: datetime | None = None
    circuit: Circuit = Circuit()
