"""Hands what is due to the engine: deliveries that wait, and questions about accepted ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session

from oncopixel_pacs.settings import DeliverySettings
from oncopixel_pacs.store.outbox import Outbox
from oncopixel_pacs.store.proofs import Proofs
from oncopixel_pacs.workflow.backoff import wait_seconds
from oncopixel_pacs.workflow.engine import WorkQueue


@dataclass(frozen=True)
class Dispatcher:
    """Makes deliveries go on; any number of hosts may run one."""

    outbox: Outbox
    proofs: Proofs
    queue: WorkQueue
    settings: DeliverySettings
    now: Callable[[], datetime]

    def dispatch(self) -> int:
        """Hand over whatever is due; returns how many jobs went, one for each destination."""
        now = self.now()
        for name in self.proofs.destinations_due(now):
            self._ask(name, now)
        return sum(self._dispatch(name, now) for name in self.outbox.destinations_due(now))

    def _dispatch(self, destination: str, now: datetime) -> int:
        # Of a probe that dies with its host nothing is heard; then another one goes.
        unheard = now + timedelta(
            seconds=max(self.settings.max_retry_seconds, 2 * self.settings.timeout_seconds)
        )

        def enqueue(session: Session, job_id: str, run: int, name: str) -> None:
            self.queue.enqueue_delivery(session, job_id, run, name, _number(now))

        return self.outbox.hand_over(destination, now, unheard, enqueue)

    def _ask(self, destination: str, now: datetime) -> None:
        def ask_again(asked: int) -> datetime:
            first, longest = self.settings.first_retry_seconds, self.settings.max_retry_seconds
            return now + timedelta(seconds=wait_seconds(asked + 1, first, longest))

        def enqueue(session: Session, name: str, uids: list[str]) -> None:
            self.queue.enqueue_proof(session, name, uids, _number(now))

        self.proofs.hand_over(destination, now, ask_again, enqueue)


def _number(now: datetime) -> int:
    """Microseconds: each hand-over is an attempt of its own, and is made once."""
    return int(now.timestamp() * 1_000_000)
