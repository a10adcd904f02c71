"""Takes over the work of hosts that died, or that nobody hears."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from oncopixel_pacs.store.hosts import Heartbeat, Hosts
from oncopixel_pacs.store.ledger import Ledger
from oncopixel_pacs.workflow.engine import Running, WorkQueue

log = structlog.get_logger()

#: Hosts that may stop over one job before it counts as what stops them.
MOST_TAKEOVERS = 5


@dataclass(frozen=True)
class Reaper:
    """Looks for running work without a host; every host with role ``work`` has one.

    `monotonic` is this host's own clock in seconds: a host is dead when its count has not
    changed for `takeover_seconds` on it, so no two clocks are ever compared.
    """

    hosts: Hosts
    ledger: Ledger
    queue: WorkQueue
    executor: str
    takeover_seconds: float
    now: Callable[[], datetime]
    monotonic: Callable[[], float] = time.monotonic
    _seen: dict[str, tuple[Heartbeat, float]] = field(default_factory=dict)

    def reap(self) -> int:
        """Queue the work of dead hosts again; returns how many pieces."""
        heard = self.hosts.heard()
        alive = {name for name in heard if self._is_alive(name, heard)} | {self.executor}
        for gone in self._seen.keys() - heard.keys():
            del self._seen[gone]
        lost = [item for item in self.queue.running() if item.executor not in alive]
        if not lost:
            return 0
        taken = [item for item in lost if not self._give_up(item)]
        self.queue.queue_again(taken)
        log.warning(
            "host.work_taken", hosts=sorted({item.executor for item in lost}), number=len(taken)
        )
        return len(taken)

    def _is_alive(self, name: str, heard: Mapping[str, Heartbeat]) -> bool:
        last, moment = heard[name], self.monotonic()
        before, since = self._seen.get(name, (None, moment))
        if last != before:
            self._seen[name] = (last, moment)
            return bool(last.epoch)
        if moment - since < self.takeover_seconds or name == self.executor:
            return bool(last.epoch)
        # Fenced first: should it wake now, it finds that its work is not its own any more.
        return bool(last.epoch) and not self.hosts.take_from(name, last)

    def _give_up(self, item: Running) -> bool:
        if not item.is_study or self.ledger.count_takeover(item.job_id) <= MOST_TAKEOVERS:
            return False
        self.queue.cancel(item)
        self.ledger.give_up(
            item.job_id,
            self.now(),
            f"The work was given up: {MOST_TAKEOVERS + 1} hosts stopped over it; retry the job.",
        )
        return True
