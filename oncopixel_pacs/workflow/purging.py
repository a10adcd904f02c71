"""Deletes by policy what is proven to be elsewhere, and says so in record and log."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from oncopixel_pacs.errors import ConfigurationError, OncoPixelError
from oncopixel_pacs.settings import RetentionSettings
from oncopixel_pacs.store.retention import Expired, Retention
from oncopixel_pacs.workflow.engine import WorkQueue

log = structlog.get_logger()

_EVERY_SECONDS = 600.0


@dataclass(frozen=True)
class Purge:
    """One policy over all studies. It is no one's order to delete while `days` is not set."""

    retention: Retention
    queue: WorkQueue
    settings: RetentionSettings
    now: Callable[[], datetime]

    @property
    def before(self) -> datetime:
        """Studies of which something happened since then are kept.

        Raises
        ------
        ConfigurationError
            When no policy is configured.
        """
        if self.settings.days is None:
            raise ConfigurationError(
                "There is no rule by which anything may be deleted; set days under [retention]."
            )
        return self.now() - timedelta(days=self.settings.days)

    @property
    def policy(self) -> str:
        """The rule in words."""
        return f"every delivery confirmed, and {self.settings.days:g} days old"

    def run(self, stopping: Callable[[], bool] = lambda: False) -> Iterator[Expired]:
        """Delete every study that may go; gives each when it is gone.

        Raises
        ------
        ConfigurationError
            When no policy is configured.
        OutOfResources
            When the database cannot take it.
        OSError
            When the disk does not.
        """
        before = self.before
        while found := self.retention.expired(before):
            deleted = 0
            for study in found:
                if stopping():
                    return
                if self.retention.delete(study, before, self.now(), self.policy):
                    deleted += 1
                    self.queue.forget(study.jobs)
                    log.info(
                        "retention.deleted",
                        study_instance_uid=study.study_instance_uid,
                        images=study.images,
                        results=study.results,
                        size_bytes=study.size_bytes,
                    )
                    yield study
            if not deleted:
                return


class Purger:
    """A thread that deletes by policy until it is stopped."""

    def __init__(self, purge: Purge) -> None:
        self._purge = purge
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the study at hand."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                for _ in self._purge.run(self._stop.is_set):
                    pass
            except OncoPixelError as exc:
                log.error("retention.failed", error=exc.for_log)
            except OSError as exc:
                log.error("retention.failed", error=exc.strerror or type(exc).__name__)
            except Exception:
                log.exception("retention.defect")
            if self._stop.wait(_EVERY_SECONDS):
                return
