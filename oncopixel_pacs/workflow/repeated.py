"""A duty that a thread does again and again, whatever goes wrong with it once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import structlog

from oncopixel_pacs.errors import OncoPixelError

log = structlog.get_logger()

#: Does what there is to do; is given a function that tells whether to stop.
Duty = Callable[[Callable[[], bool]], object]


class Repeated:
    """A thread that does a duty until it is stopped.

    Parameters
    ----------
    name
        What the thread and its lines in the log are called.
    every_seconds
        Rest between two times.
    """

    def __init__(self, name: str, duty: Duty, every_seconds: float) -> None:
        self._name = name
        self._duty = duty
        self._every_seconds = every_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Begin nothing more."""
        self._stop.set()

    def stop(self) -> None:
        """End, after the piece at hand."""
        self.ask_to_stop()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._duty(self._stop.is_set)
            except OncoPixelError as exc:
                log.error("duty.failed", duty=self._name, error=exc.for_log)
            except OSError as exc:
                log.error("duty.failed", duty=self._name, error=exc.strerror or type(exc).__name__)
            except Exception:
                # The thread must outlive any defect: without it the duty is never done again.
                log.exception("duty.defect", duty=self._name)
            self._stop.wait(self._every_seconds)


def stop_all(threads: Sequence[Repeated]) -> None:
    """End several, which takes no longer than the slowest of them."""
    for thread in threads:
        thread.ask_to_stop()
    for thread in threads:
        thread.stop()
