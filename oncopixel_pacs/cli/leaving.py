"""How a serving process ends: in time, and without waiting for what is no longer its own."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

_LOOK_SECONDS = 5.0


def wait_for(told: threading.Event) -> None:
    """Block the main thread until a signal handler has set the event.

    It looks again now and then: a handler runs when the main thread does, and the kernel may give
    the signal to another thread.
    """
    while not told.wait(_LOOK_SECONDS):
        pass


def leave(stop: Callable[[], object], seconds: float) -> NoReturn:
    """Stop the server and end the process, with status 0.

    Parameters
    ----------
    seconds
        Where `stop` takes longer, standard error says what every thread was doing, and the status
        is 1.
    """
    faulthandler.dump_traceback_later(seconds, exit=True)
    stop()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # Python would wait for the threads of the engine, and some of them wait for others: for the
    # outcome of work that another host took over, for a database that is away.
    os._exit(0)
