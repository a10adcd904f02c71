"""Tells those who asked for it that a study is finished, until they have taken it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from oncopixel_pacs.deliver import webhook as courier
from oncopixel_pacs.domain import Job
from oncopixel_pacs.domain.webhooks import CallState, WebhookCall
from oncopixel_pacs.errors import DeliveryFailed, NotFound
from oncopixel_pacs.store.ledger import Ledger
from oncopixel_pacs.store.webhooks import Webhooks
from oncopixel_pacs.workflow.backoff import wait_seconds
from oncopixel_pacs.workflow.repeated import Repeated

log = structlog.get_logger()

EVENT = "study.finished"
TIMEOUT_SECONDS = 15.0
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 5.0, 3600.0
#: What nobody took for so long is given up.
GIVE_UP_AFTER = timedelta(days=3)
_TICK_SECONDS = 1.0

#: Sends a message to one of the settings, by id, now, and within so many seconds; gives a status.
Call = Callable[[Any, str, datetime, bytes, float], int]
#: Writes what is told of a job; ``None`` where there is nothing to tell.
Write = Callable[[Job, WebhookCall], bytes | None]


class Named(Protocol):
    """Settings of someone who is told."""

    @property
    def name(self) -> str:
        """Unique."""


@dataclass(frozen=True)
class Notifier:
    """Makes calls due and carries them out; any number of hosts may run one."""

    webhooks: Webhooks
    ledger: Ledger
    settings: Sequence[Named]
    now: Callable[[], datetime]
    call: Call = courier.call
    write: Write = lambda job, call: message(job, call)

    def notify(self, stopping: Callable[[], bool] = lambda: False) -> int:
        """Do what is due now; returns how many calls were tried."""
        tried = 0
        for webhook in self.settings:
            self.webhooks.note_ended(webhook.name, self.now())
            while not stopping():
                now = self.now()
                # Should this host die, another may call again after this.
                taken = self.webhooks.take(
                    webhook.name, now, now + timedelta(seconds=4 * TIMEOUT_SECONDS)
                )
                if taken is None:
                    break
                self.webhooks.record(self._try(webhook, taken))
                tried += 1
        return tried

    def _try(self, webhook: Named, call: WebhookCall) -> WebhookCall:
        try:
            job = self.ledger.job(call.job_id)
            # One that began again meanwhile has another call once it ends.
            body = self.write(job, call) if job.state.final else None
            if body is None:
                return self._ended(call, CallState.TAKEN, 0, "")
            status = self.call(webhook, call.id, self.now(), body, TIMEOUT_SECONDS)
        except NotFound:
            return self._ended(call, CallState.FAILED, 0, "The study was deleted meanwhile.")
        except DeliveryFailed as exc:
            status = int(exc.status or 0)
            log.warning("webhook.failed", webhook=webhook.name, error=exc.for_log)
            if exc.permanent or self.now() - call.finished_at > GIVE_UP_AFTER:
                return self._ended(call, CallState.FAILED, status, str(exc))
            wait = wait_seconds(call.attempts, FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS)
            again = self.now() + timedelta(seconds=wait)
            return replace(call, next_attempt_at=again, status=status, error=str(exc))
        return self._ended(call, CallState.TAKEN, status, "")

    def _ended(self, call: WebhookCall, state: CallState, status: int, error: str) -> WebhookCall:
        return replace(
            call, state=state, status=status, error=error, next_attempt_at=None, ended_at=self.now()
        )


def message(job: Job, call: WebhookCall) -> bytes:
    """Write what is told of a job: where it is found, how it ended; nothing of the patient."""
    result = job.result
    told = {
        "type": EVENT,
        "timestamp": call.finished_at.isoformat(),
        "data": {
            "study_instance_uid": job.study_instance_uid,
            "revision": job.revision,
            "job_id": job.id,
            "state": job.state.value,
            "probability": None if result is None else result.probability,
            "findings": None if result is None else len(result.findings),
            "job": f"/api/v1/jobs/{job.id}",
            "study": f"/api/v1/studies/{job.study_instance_uid}",
        },
    }
    return json.dumps(told, separators=(",", ":")).encode()


def notifying(notifier: Notifier) -> Repeated:
    """Make the thread that calls webhooks."""
    return Repeated("webhooks", notifier.notify, _TICK_SECONDS)
