"""How often the engine looks for work: at once where there is some, seldom where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable

from oncopixel_pacs.errors import OncoPixelError

#: How often it is asked whether there is work; a study takes longer than that to be complete.
EVERY_SECONDS = 0.5
#: Without work for so long, the engine rests.
REST_AFTER_SECONDS = 30.0


class Pace:
    """Lets the engine rest while nothing is received, read or sent.

    To look into its queues ten times a second takes an idle server a tenth of a processor.

    Parameters
    ----------
    has_work
        Whether any study or job is under way, on whatever host.
    rest
        Told whether to rest, when that changes.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        has_work: Callable[[], bool],
        rest: Callable[[bool], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._has_work = has_work
        self._rest = rest
        self._clock = clock
        self._worked_at = clock()
        self._rests = False

    def keep(self) -> None:
        """Let the engine rest, or begin again, if it is time; without a database as it was."""
        try:
            if self._has_work():
                self._worked_at = self._clock()
            rests = self._clock() - self._worked_at > REST_AFTER_SECONDS
            if rests != self._rests:
                self._rest(rests)
                self._rests = rests
        except OncoPixelError:
            return  # the watch, which cannot do its own duty either, says so
