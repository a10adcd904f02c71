"""Tells the collector of every study that ended. Nothing of the work waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from oncopixel_pacs.domain import Job
from oncopixel_pacs.domain.spans import EndedJob
from oncopixel_pacs.errors import NotFound, OncoPixelError
from oncopixel_pacs.store.ledger import Ledger
from oncopixel_pacs.store.traces import Traces
from oncopixel_pacs.traces.otlp import TIMEOUT_SECONDS, TraceReceiver
from oncopixel_pacs.traces.story import (
    PROOF,
    is_proof_awaited,
    is_sampled,
    spans_of,
    trace_id_of,
)
from oncopixel_pacs.workflow.backoff import wait_seconds

log = structlog.get_logger()

#: A trace waits so long for its proofs, that it may be told whole; then it goes without them.
PROOF_WAIT = timedelta(seconds=30)
#: Proofs that come later are told when they come, up to this.
GIVE_UP_AFTER = timedelta(days=3)
_TICK_SECONDS = 1.0
_LOOK_AGAIN, _LOOK_LATER = timedelta(seconds=1), timedelta(seconds=60)
_LONGEST_WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Storyteller:
    """Tells what is due; any number of hosts may run one.

    Attributes
    ----------
    ratio
        Share of the studies that are traced.
    """

    traces: Traces
    ledger: Ledger
    receiver: TraceReceiver
    ratio: float
    now: Callable[[], datetime]

    def tell(self, stopping: Callable[[], bool] = lambda: False) -> bool:
        """Tell everything that is due; false as soon as the collector does not take it."""
        self.traces.note_ended(self.now())
        while not stopping():
            now = self.now()
            # Should this host die, another may tell it after this.
            item = self.traces.take(now, now + timedelta(seconds=4 * TIMEOUT_SECONDS))
            if item is None:
                break
            if not self._tell(item):
                return False
        return True

    def _tell(self, item: EndedJob) -> bool:
        """Tell one end of a job, as far as it is known; whether the collector took it."""
        now = self.now()
        job = self._job(item)
        if job is None or not is_sampled(trace_id_of(job), self.ratio):
            self.traces.record(item, told=item.told, due_at=None)
            return True
        age = now - item.finished_at
        awaited = is_proof_awaited(job) and age < GIVE_UP_AFTER
        if awaited and (item.told or age < PROOF_WAIT):
            later = now + (_LOOK_LATER if item.told else _LOOK_AGAIN)
            self.traces.record(item, told=item.told, due_at=later)
            return True
        arrivals = self.traces.arrivals(job.study_instance_uid, job.revision)
        spans = spans_of(job, arrivals, item.told_until)
        if item.told:
            spans = tuple(span for span in spans if span.name == PROOF)
        elif awaited:
            spans = tuple(span for span in spans if span.name != PROOF)
        taken = not spans or self.receiver.send(trace_id_of(job), spans)
        if not taken and age < GIVE_UP_AFTER:
            self.traces.record(item, told=item.told, due_at=now)
            return False
        later = now + _LOOK_LATER
        self.traces.record(item, told=True, due_at=later if awaited else None)
        return taken

    def _job(self, item: EndedJob) -> Job | None:
        """Return the job as it ended; ``None`` where it began again or was deleted since."""
        try:
            job = self.ledger.job(item.job_id)
        except NotFound:
            return None
        return job if job.finished_at == item.finished_at else None


class StorytellerThread:
    """A thread that tells until it is stopped."""

    def __init__(self, storyteller: Storyteller) -> None:
        self._storyteller = storyteller
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, also a call under way: it is told again at the next start."""
        self._stop.set()
        self._storyteller.receiver.close()
        self._thread.join()

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                taken = self._storyteller.tell(self._stop.is_set)
            except OncoPixelError as exc:
                log.error("trace.unwritten", error=exc.for_log)
                taken = True
            except Exception:
                # The thread must outlive any defect: without it nothing is told for ever.
                log.exception("trace.defect")
                taken = True
            if not taken and not failures:
                log.warning("trace.not_taken", hint="The collector of [tracing] takes no traces.")
            failures = 0 if taken else failures + 1
            longest = wait_seconds(failures, _TICK_SECONDS, _LONGEST_WAIT_SECONDS)
            self._stop.wait(longest if failures else _TICK_SECONDS)
