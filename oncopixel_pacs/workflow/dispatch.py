"""Hands what waits in the outbox to the engine when it is due."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session

from oncopixel_pacs.settings import DeliverySettings
from oncopixel_pacs.store.outbox import Outbox
from oncopixel_pacs.workflow.engine import WorkQueue


@dataclass(frozen=True)
class Dispatcher:
    """Makes deliveries go on; any number of hosts may run one."""

    outbox: Outbox
    queue: WorkQueue
    settings: DeliverySettings
    now: Callable[[], datetime]

    def dispatch(self) -> int:
        """Hand over whatever is due; returns how many jobs went, one for each destination."""
        now = self.now()
        return sum(self._dispatch(name, now) for name in self.outbox.destinations_due(now))

    def _dispatch(self, destination: str, now: datetime) -> int:
        # Of a probe that dies with its host nothing is heard; then another one goes.
        unheard = now + timedelta(
            seconds=max(self.settings.max_retry_seconds, 2 * self.settings.timeout_seconds)
        )
        # Microseconds: each hand-over is an attempt of its own, and is made once.
        attempt = int(now.timestamp() * 1_000_000)

        def enqueue(session: Session, job_id: str, run: int, name: str) -> None:
            self.queue.enqueue_delivery(session, job_id, run, name, attempt)

        return self.outbox.hand_over(destination, now, unheard, enqueue)
