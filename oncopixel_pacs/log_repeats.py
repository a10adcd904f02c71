"""A warning or error that says the same again and again is written once a minute.

What waits for a database or a receiver asks many times a second, in several threads. Without
this an hour's outage writes hundreds of thousands of equal lines, in which nobody finds the one
that matters, onto a disk that may be the trouble.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

EVERY_SECONDS = 60.0
_MOST_KNOWN = 1000


class RepeatFilter(logging.Filter):
    """Lets a line pass that is new, or was not written for a minute.

    Lines are equal when all but their time is. One that passes after others were left out says
    how many, as ``repeated``. What is less than a warning always passes.

    Parameters
    ----------
    clock
        Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._told: dict[object, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a record is written."""
        if record.levelno < logging.WARNING:
            return True
        key, now = _words(record), self._clock()
        with self._lock:
            written, left_out = self._told.get(key, (-EVERY_SECONDS, 0))
            if now - written < EVERY_SECONDS:
                self._told[key] = (written, left_out + 1)
                return False
            if len(self._told) >= _MOST_KNOWN:
                self._told = {
                    known: held
                    for known, held in self._told.items()
                    if now - held[0] < EVERY_SECONDS
                }
            self._told[key] = (now, 0)
        if left_out:
            if isinstance(record.msg, dict):
                record.msg = {**record.msg, "repeated": left_out}
            record.repeated = left_out
        return True


def _words(record: logging.LogRecord) -> object:
    """Return what a record says, without its time."""
    if isinstance(record.msg, dict):  # an event of ours
        said = sorted((name, str(value)) for name, value in record.msg.items())
        return tuple(item for item in said if item[0] != "timestamp")
    # Of a library's record only the place is written, of some the text.
    return record.name, record.levelno, record.pathname, record.lineno, record.getMessage()
