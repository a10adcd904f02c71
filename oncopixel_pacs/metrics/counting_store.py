"""Catalogue, ledger and callers that count what passes through them."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from oncopixel_pacs.domain import (
    Delivery,
    Instance,
    IntakeOutcome,
    Job,
    JobState,
    ObjectKind,
    ResultObject,
    SegmentationForm,
    StepName,
    StepState,
    StudyHeader,
    StudyResult,
)
from oncopixel_pacs.metrics.meters import Meters
from oncopixel_pacs.store.callers import Callers, RejectedCaller
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.job_rows import Retraction
from oncopixel_pacs.store.ledger import EnqueueDelivery, Ledger


class CountingCatalogue(Catalogue):
    """Counts the objects that are recorded."""

    def __init__(self, database: Database, meters: Meters) -> None:
        super().__init__(database)
        self._meters = meters

    def _record(self, batch: Sequence[tuple[Instance, StudyHeader]]) -> list[IntakeOutcome]:
        outcomes = super()._record(batch)
        for (instance, _), outcome in zip(batch, outcomes, strict=True):
            self._meters.instances.labels(outcome.value).inc()
            if outcome is IntakeOutcome.NEW:
                self._meters.received_bytes.inc(instance.size_bytes)
        return outcomes


class CountingCallers(Callers):
    """Counts the associations that were rejected."""

    def __init__(self, database: Database, meters: Meters) -> None:
        super().__init__(database)
        self._meters = meters

    def add(self, rejected: Iterable[RejectedCaller]) -> None:
        """Count these in, in the database and here."""
        batch = list(rejected)
        super().add(batch)
        for item in batch:
            self._meters.rejected.labels(item.kind.value).inc(item.count)


class CountingLedger(Ledger):
    """Counts steps, results, deliveries and the end of jobs."""

    def __init__(self, database: Database, meters: Meters) -> None:
        super().__init__(database)
        self._meters = meters
        self._begun: dict[tuple[str, StepName], datetime] = {}
        self._closing = threading.Lock()

    def begin_step(self, job_id: str, name: StepName, now: datetime) -> int:
        """Note that a step starts."""
        if name is not StepName.DELIVER:  # its end is found in the ledger
            self._begun[job_id, name] = now
        return super().begin_step(job_id, name, now)

    def end_step(
        self, job_id: str, name: StepName, now: datetime, detail: Mapping[str, float] | None = None
    ) -> None:
        """Note that a step is done."""
        super().end_step(job_id, name, now, detail)
        self._end(job_id, name, now, StepState.DONE)

    def fail_step(self, job_id: str, name: StepName, now: datetime, error: str) -> None:
        """Note that an attempt at a step failed."""
        super().fail_step(job_id, name, now, error)
        self._end(job_id, name, now, StepState.FAILED)

    def save_result(self, job_id: str, result: StudyResult, models_digest: str = "") -> None:
        """Keep what the models said."""
        super().save_result(job_id, result, models_digest)
        self._meters.result(result)

    def record_delivery(self, delivery: Delivery) -> None:
        """Keep the outcome of one attempt to send one object."""
        super().record_delivery(delivery)
        self._meters.deliveries.labels(delivery.destination, delivery.state.value).inc()

    def add_objects(
        self,
        job_id: str,
        objects: Sequence[ResultObject],
        destinations: Mapping[str, Collection[ObjectKind]],
        now: datetime,
        enqueue: EnqueueDelivery,
        *,
        forms: Mapping[str, SegmentationForm] = MappingProxyType({}),
        retractions: Mapping[str, Retraction] = MappingProxyType({}),
    ) -> None:
        """Record a job's result objects and queue their deliveries."""
        super().add_objects(
            job_id, objects, destinations, now, enqueue, forms=forms, retractions=retractions
        )
        self._job_ended(job_id)

    def close_delivery(self, job_id: str, now: datetime) -> bool:
        """Finish a job whose every delivery has ended."""
        # Of two destinations that answer at once, one has closed the job.
        with self._closing:
            open_until_now = self._state(job_id) is JobState.DELIVERING
            closed = super().close_delivery(job_id, now)
        if closed and open_until_now:
            self._delivered(self._job_ended(job_id))
        return closed

    def finish(self, job_id: str, state: JobState, now: datetime, error: str = "") -> None:
        """Move a job to a final state."""
        super().finish(job_id, state, now, error)
        self._job_ended(job_id)

    def give_up(self, job_id: str, now: datetime, error: str) -> None:
        """End a job that nobody shall take up again."""
        ended = self._state(job_id).final
        super().give_up(job_id, now, error)
        if not ended:
            self._job_ended(job_id)

    def _state(self, job_id: str) -> JobState:
        return self.job(job_id).state

    def _end(self, job_id: str, name: StepName, now: datetime, outcome: StepState) -> None:
        begun = self._begun.pop((job_id, name), None)
        if begun is not None:
            seconds = (now - begun).total_seconds()
            self._meters.steps.labels(name.value, outcome.value).observe(max(seconds, 0.0))

    def _delivered(self, job: Job) -> None:
        """Count the last step, which ends in whatever transaction closes the last delivery."""
        for step in job.steps:
            if step.name is StepName.DELIVER and step.finished_at is not None:
                seconds = (step.finished_at - step.started_at).total_seconds()
                self._meters.steps.labels(step.name.value, step.state.value).observe(seconds)

    def _job_ended(self, job_id: str) -> Job:
        job = self.job(job_id)
        if job.state.final and job.finished_at is not None:
            for name in StepName:
                self._begun.pop((job_id, name), None)
            self._meters.jobs.labels(job.state.value).inc()
            if job.state is JobState.DONE and self.current_run(job_id) == 1:
                seconds = (job.finished_at - job.created_at).total_seconds()
                self._meters.job_seconds.observe(seconds)
        return job
