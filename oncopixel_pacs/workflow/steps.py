"""What the engine is given to run, and what a step raises when the server stops meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


class Interrupted(BaseException):
    """The server stops in the middle of a step.

    Not an `Exception`, so the engine records nothing and takes the step up at the next start.
    """


@dataclass(frozen=True)
class Steps:
    """What the engine runs; every function survives being run twice.

    Attributes
    ----------
    analyse, write
        Take a job id and its run; do nothing when it is not the latest.
    deliver
        Takes job id, run and destination; does nothing when the run is not the latest. What it
        does not get through is left to the outbox.

    prove
        Takes a destination and SOP Instance UIDs that it accepted; asks whether they are there.

    Any of them raises `Interrupted` when the server stops.
    """

    analyse: Callable[[str, int], None]
    write: Callable[[str, int], None]
    deliver: Callable[[str, int, str], None]
    prove: Callable[[str, Sequence[str]], None]
