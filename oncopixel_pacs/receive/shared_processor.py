"""Keeps the threads that receive small objects on one processor, whichever is idle.

They hold the interpreter in turns, some twenty turns an object, and never run side by side for
long. On two processors each turn wakes another processor, which costs more than the turn itself
(D. Beazley, "Understanding the Python GIL", 2010); on one processor it is a switch of threads.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress

#: How long a processor is kept before one thread goes to see which is idle.
CHOSEN_FOR_SECONDS = 0.25


class _Place(threading.local):
    """Where the calling thread is held: ``None`` when it may run anywhere."""

    processor: int | None = None
    allowed: frozenset[int] = frozenset()
    is_scout: bool = False


_place = _Place()


class SharedProcessor:
    """The processor that the threads of one process share.

    Nothing is shared where the system cannot hold a thread (only Linux can) or has one processor.

    Parameters
    ----------
    clock
        Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._allowed, self._current = _processors()
        self._chosen: int | None = None
        self._chosen_at = -CHOSEN_FOR_SECONDS

    def join(self) -> None:
        """Hold the calling thread on the shared processor, until it calls `run_anywhere`.

        Now and then one thread is let go instead: the system wakes it on a processor that is
        idle, and where it finds itself at its next call, the others follow.
        """
        current = self._current
        if current is None:
            return
        now = self._clock()
        if _place.is_scout:
            _place.is_scout = False
            self._chosen = current()
        elif now - self._chosen_at >= CHOSEN_FOR_SECONDS:
            self._chosen_at = now
            run_anywhere()
            _place.is_scout = True
            return
        chosen = self._chosen
        if chosen is not None and chosen != _place.processor:
            self._hold(chosen)

    def _hold(self, processor: int) -> None:
        try:
            os.sched_setaffinity(0, {processor})
        except OSError:
            # A container may lose processors while it runs.
            self._chosen = None
            return
        _place.processor, _place.allowed = processor, self._allowed


def run_anywhere() -> None:
    """Let the calling thread, and what it starts from now on, run on every processor again."""
    if _place.processor is None:
        return
    _place.processor = None
    with suppress(OSError):
        os.sched_setaffinity(0, _place.allowed)


def _processors() -> tuple[frozenset[int], Callable[[], int] | None]:
    """Those that we may use, and what tells on which a thread runs."""
    if not hasattr(os, "sched_setaffinity"):
        return frozenset(), None
    allowed = frozenset(os.sched_getaffinity(0))
    current = getattr(ctypes.CDLL(None), "sched_getcpu", None)
    return allowed, current if len(allowed) > 1 else None
