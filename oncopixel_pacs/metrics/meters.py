"""What one process counts, from its start on."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from oncopixel_pacs.domain import IntakeOutcome, JobState, ModelTask, Reason, StudyResult
from oncopixel_pacs.errors import CannotUnderstand, DatasetMismatch, OutOfResources
from oncopixel_pacs.metrics import catalogue as names
from oncopixel_pacs.metrics.catalogue import Metric
from oncopixel_pacs.store.callers import RejectionKind

_REFUSALS = (
    (OutOfResources, "out-of-resources"),
    (DatasetMismatch, "dataset-mismatch"),
    (CannotUnderstand, "cannot-understand"),
)
_UNEXPECTED = "unexpected"


class Meters:
    """Counters and histograms of this process, in a registry of their own.

    Parameters
    ----------
    version
        Of the product.
    """

    def __init__(self, version: str = "") -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.instances = self._counter(names.INSTANCES, IntakeOutcome)
        self.received_bytes = self._counter(names.RECEIVED_BYTES)
        self._refused = self._counter(
            names.REFUSED_INSTANCES, [*(reason for _, reason in _REFUSALS), _UNEXPECTED]
        )
        self.rejected = self._counter(names.REJECTED_ASSOCIATIONS, RejectionKind)
        self.skipped = self._counter(names.SKIPPED_IMAGES, Reason)
        self.steps = self._histogram(names.STEP_SECONDS)
        self._stages = self._histogram(names.STAGE_SECONDS)
        self._device = self._counter(names.DEVICE_SECONDS)
        self.jobs = self._counter(names.JOBS_ENDED, [state for state in JobState if state.final])
        self.job_seconds = self._histogram(names.JOB_SECONDS)
        self._scores = self._histogram(names.STUDY_SCORE)
        self._findings = self._counter(names.FINDINGS)
        self.deliveries = self._counter(names.DELIVERY_ATTEMPTS)
        self._gauge(names.BUILD_INFO).labels(version).set(1)

    def refuse(self, error: Exception) -> None:
        """Count an object that was not taken in."""
        known = (reason for kind, reason in _REFUSALS if isinstance(error, kind))
        self._refused.labels(next(known, _UNEXPECTED)).inc()

    def result(self, result: StudyResult) -> None:
        """Count what the models said of a study."""
        for stage, seconds in result.timings_seconds.items():
            self._stages.labels(stage).observe(seconds)
            if stage in set(ModelTask):
                self._device.labels(result.device, stage).inc(seconds)
        for image in result.images:
            if image.reason is not None:
                self.skipped.labels(image.reason.value).inc()
        for algorithm in result.algorithms:
            if algorithm.task is ModelTask.SEGMENT:
                self._findings.labels(algorithm.name).inc(len(result.findings))
            elif result.probability is not None:
                self._scores.labels(algorithm.name).observe(result.probability)

    def watch_senders(self, number: Callable[[], int]) -> None:
        """Ask this for how many senders have an association open."""
        self._gauge(names.CONNECTED).set_function(number)

    def watch_models(self, ready: Callable[[], bool]) -> None:
        """Ask this whether the models of the process are loaded."""
        self._gauge(names.MODELS_READY).set_function(ready)

    def exposition(self) -> bytes:
        """Write everything in the text format of Prometheus, version 0.0.4."""
        return generate_latest(self.registry)

    def _counter(self, metric: Metric, values: Iterable[str] = ()) -> Counter:
        """Count from 0 on for each known value of the label.

        To Prometheus a series that begins with 1 has not increased: the first would be no alert.
        """
        counter = Counter(metric.name, metric.help, metric.labels, registry=self.registry)
        for value in values:
            counter.labels(value)
        return counter

    def _gauge(self, metric: Metric) -> Gauge:
        return Gauge(metric.name, metric.help, metric.labels, registry=self.registry)

    def _histogram(self, metric: Metric) -> Histogram:
        return Histogram(
            metric.name,
            metric.help,
            metric.labels,
            registry=self.registry,
            buckets=metric.buckets,
        )
