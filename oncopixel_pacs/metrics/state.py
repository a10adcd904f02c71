"""How the whole stands, read from database and disk each time that it is asked for."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from oncopixel_pacs.domain import Algorithm, DeliveryState, JobState, ModelTask, StudyState
from oncopixel_pacs.domain.backlog import Backlog
from oncopixel_pacs.errors import OncoPixelError
from oncopixel_pacs.metrics import catalogue as names
from oncopixel_pacs.metrics.catalogue import Metric
from oncopixel_pacs.sender_drift import DriftWatch
from oncopixel_pacs.store.activity import Activity
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.free_space import FreeSpace
from oncopixel_pacs.store.installation import Backups
from oncopixel_pacs.store.ledger import Ledger
from oncopixel_pacs.store.outbox import Outbox
from oncopixel_pacs.store.proofs import Proofs
from oncopixel_pacs.store.quarantine import Quarantine
from oncopixel_pacs.tls import read_certificate

#: Senders whose drift is told one by one.
_MOST_SENDERS = 20
#: Values by the labels of their series.
Values = Mapping[Any, float]


@dataclass(frozen=True, eq=False)  # a registry keeps it by identity
class StateCollector(Collector):
    """Gauges of what all processes share; one process with the role api says them for all.

    Attributes
    ----------
    destinations
        Names of those that are configured: they are told even while nothing was sent to them.
    certificates
        Our certificates by what they are for.
    alarms
        Counts what needs a person, by what it is about.
    """

    database: Database
    space: FreeSpace
    destinations: tuple[str, ...]
    certificates: Mapping[str, Path]
    algorithms: tuple[Algorithm, ...]
    drift: DriftWatch
    now: Callable[[], datetime]
    alarms: Callable[[], Mapping[str, int]] = dict

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Name what is told, without asking the database."""
        return [_family(item, {}) for item in names.ALL if item.source is names.Source.STATE]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Read everything. What cannot be read is left out, and no more than that."""
        for read in (self._disk, self._expiry, self._models):
            try:
                yield from list(read())
            except (OncoPixelError, OSError):
                continue
        try:
            stored = [*self._work(), *self._deliveries(), *self._drift(), *self._alarms()]
        except OncoPixelError:
            yield _family(names.DATABASE_UP, {(): 0.0})
        else:
            yield from (*stored, _family(names.DATABASE_UP, {(): 1.0}))

    def _disk(self) -> Iterator[GaugeMetricFamily]:
        volume = shutil.disk_usage(self.space.folder)
        yield _family(names.DISK_FREE, {(): volume.free})
        yield _family(names.DISK_SIZE, {(): volume.total})
        yield _family(names.DISK_WATERMARK, {(): self.space.least_bytes})

    def _expiry(self) -> Iterator[GaugeMetricFamily]:
        expiry = {}
        for use, path in self.certificates.items():
            # Else one that cannot be read would hide that another runs out.
            with suppress(OncoPixelError):
                expiry[(use,)] = read_certificate(path).expires_at.timestamp()
        yield _family(names.CERTIFICATE_EXPIRY, expiry)

    def _models(self) -> Iterator[GaugeMetricFamily]:
        labels = (
            (item.name, item.version, item.task.value, f"{item.threshold:g}")
            for item in self.algorithms
        )
        yield _family(names.MODEL_INFO, dict.fromkeys(labels, 1.0))

    def _work(self) -> Iterator[GaugeMetricFamily]:
        studies = Catalogue(self.database).counts()
        jobs = Ledger(self.database).counts()
        yield _family(names.STUDIES, {(state,): studies.get(state, 0) for state in StudyState})
        yield _family(names.JOBS, {(state,): jobs.get(state, 0) for state in JobState})
        yield _family(names.QUEUE_AGE, {(): self._age(Activity(self.database).queued_since())})
        yield _family(names.QUARANTINED, {(): len(Quarantine(self.database).held())})
        made_at = Backups(self.database).made_at()
        yield _family(names.BACKUP_MADE, {(): made_at.timestamp() if made_at else 0.0})

    def _deliveries(self) -> Iterator[GaugeMetricFamily]:
        outbox = Outbox(self.database)
        counts, backlogs = outbox.counts(), outbox.backlogs()
        overdue = Proofs(self.database).overdue()
        places = sorted({*self.destinations, *counts})
        yield _family(
            names.DELIVERIES,
            {
                (name, state): counts.get(name, {}).get(state, 0)
                for name in places
                for state in DeliveryState
            },
        )
        waits = {name: backlogs.get(name, Backlog()) for name in places}
        yield _family(
            names.BACKLOG_AGE,
            {(name,): self._age(item.oldest_queued_at) for name, item in waits.items()},
        )
        yield _family(
            names.RESTING, {(name,): float(item.circuit.open) for name, item in waits.items()}
        )
        yield _family(names.UNCONFIRMED, {(name,): overdue.get(name, 0) for name in places})

    def _drift(self) -> Iterator[GaugeMetricFamily]:
        scoring = (item.name for item in self.algorithms if item.task is ModelTask.CLASSIFY)
        model = ", ".join(sorted(scoring))
        busiest = sorted(self.drift.senders(), key=lambda item: -len(item.studies))
        senders = busiest[: _MOST_SENDERS + 1]  # everyone together is the busiest of all
        psi = {
            (model, item.sender, what): found.psi
            for item in senders
            for what, found in (("scores", item.scores), ("views", item.views))
            if found.psi is not None
        }
        ks = {
            (model, item.sender): item.scores.ks for item in senders if item.scores.ks is not None
        }
        yield _family(names.DRIFT_PSI, psi)
        yield _family(names.DRIFT_KS, ks)

    def _alarms(self) -> Iterator[GaugeMetricFamily]:
        yield _family(names.ALARMS, {(subject,): n for subject, n in self.alarms().items()})

    def _age(self, since: datetime | None) -> float:
        return 0.0 if since is None else max((self.now() - since).total_seconds(), 0.0)


def _family(metric: Metric, values: Values) -> GaugeMetricFamily:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric([str(label) for label in labels], float(value))
    return family
