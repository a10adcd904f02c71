"""Deletes by policy what is proven to be elsewhere, and says so in record and log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.settings import RetentionSettings
from oncopixel_pacs.store.retention import Expired, Retention
from oncopixel_pacs.store.retention_clock import RetentionClock
from oncopixel_pacs.workflow.engine import WorkQueue
from oncopixel_pacs.workflow.repeated import Repeated

log = structlog.get_logger()

_EVERY_SECONDS = 600.0


@dataclass(frozen=True)
class Purge:
    """One policy over all studies. It is no one's order to delete while `days` is not set."""

    retention: Retention
    queue: WorkQueue
    settings: RetentionSettings
    now: Callable[[], datetime]
    clock: RetentionClock

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

    def run(
        self, stopping: Callable[[], bool] = lambda: False, *, wait: bool = True
    ) -> Iterator[Expired]:
        """Delete every study that may go; gives each when it is gone.

        Parameters
        ----------
        wait
            Whether to wait while somebody else deletes or makes a backup.

        Raises
        ------
        ConfigurationError
            When no policy is configured, or the clock leapt ahead.
        OutOfResources
            When the database cannot take it.
        OSError
            When disk or bucket do not.
        """
        before = self.before
        # Asked after, so that no clock that leaps in between is believed.
        self.clock.require(self.now())
        while found := self.retention.expired(before):
            deleted = 0
            for study in found:
                if stopping():
                    return
                if self.retention.delete(study, before, self.now(), self.policy, wait=wait):
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


def purger(purge: Purge) -> Repeated:
    """Make the thread that deletes by policy."""

    def run(stopping: Callable[[], bool]) -> None:
        for _ in purge.run(stopping, wait=False):
            pass

    return Repeated("retention", run, _EVERY_SECONDS)
