"""How long to wait before the next attempt: exponential, capped, with jitter."""

from __future__ import annotations

import random
from collections.abc import Callable

#: Powers beyond it are above every cap, and no float overflows.
_MOST_DOUBLINGS = 40


def wait_seconds(
    failures: int,
    first_seconds: float,
    longest_seconds: float,
    uniform: Callable[[float, float], float] = random.uniform,
) -> float:
    """Choose the wait after so many failures in a row.

    Parameters
    ----------
    failures
        From 1.
    uniform
        Draws from a range; half of the wait is random, so that what failed together does not
        come back together.

    Returns
    -------
    float
        Seconds between half of the doubled wait and all of it, never more than the longest.
    """
    doubled = first_seconds * 2.0 ** min(max(failures, 1) - 1, _MOST_DOUBLINGS)
    return min(doubled, longest_seconds) * uniform(0.5, 1.0)
