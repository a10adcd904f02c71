"""Deliveries without the engine: a clock that is set, and hand-overs that are worked off here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from io import BytesIO
from types import SimpleNamespace
from typing import Any, cast

from builders import NOON, make_instance
from conftest import Store
from dimse_builder import mammogram
from pydicom.uid import SecondaryCaptureImageStorage
from workflow_builder import AlwaysHeld

from oncopixel_pacs.domain import Job, ObjectKind, ResultObject, StepName, StudyHeader
from oncopixel_pacs.settings import DeliverySettings, DestinationSettings
from oncopixel_pacs.store.outbox import Outbox
from oncopixel_pacs.store.proofs import Proofs
from oncopixel_pacs.workflow.delivery import DeliverySteps
from oncopixel_pacs.workflow.dispatch import Dispatcher
from oncopixel_pacs.workflow.engine import WorkQueue
from oncopixel_pacs.workflow.proving import ProofSteps


@dataclass
class Desk:
    """The delivery part of a worker. Time passes only by `wait`.

    Attributes
    ----------
    handed
        Jobs that the engine would have, with run and destination, in order.
    questions
        Objects for which the engine would ask, with their destination.
    """

    store: Store
    destinations: Sequence[DestinationSettings]
    settings: DeliverySettings = DeliverySettings()
    time: datetime = NOON
    handed: list[tuple[str, int, str]] = field(default_factory=list)
    questions: list[tuple[str, list[str]]] = field(default_factory=list)
    report_seconds: float = 3.0

    def now(self) -> datetime:
        """Tell the time."""
        return self.time

    @property
    def outbox(self) -> Outbox:
        """Keeps what waits."""
        return Outbox(self.store.database)

    @property
    def proofs(self) -> Proofs:
        """Knows what is to be confirmed."""
        return Proofs(self.store.database)

    @property
    def proving(self) -> ProofSteps:
        """The real step that asks."""
        return ProofSteps(
            self.proofs,
            self.store.files,
            {item.name: item for item in self.destinations},
            self.settings,
            "ONCOPIXEL",
            self.now,
            report_seconds=self.report_seconds,
        )

    @property
    def steps(self) -> DeliverySteps:
        """The real step."""
        return DeliverySteps(
            ledger=self.store.ledger,
            outbox=self.outbox,
            files=self.store.files,
            destinations={item.name: item for item in self.destinations},
            settings=self.settings,
            calling_ae_title="ONCOPIXEL",
            now=self.now,
            leases=AlwaysHeld(),
        )

    @property
    def dispatcher(self) -> Dispatcher:
        """The real dispatcher, in front of a queue that is a list."""
        return Dispatcher(self.outbox, self.proofs, self.queue, self.settings, self.now)

    @property
    def queue(self) -> WorkQueue:
        """Takes note of what is handed over."""

        def take(_session: Any, job_id: str, run: int, name: str, _attempt: int = 1) -> None:
            self.handed.append((job_id, run, name))

        def ask(_session: Any, name: str, uids: list[str], _attempt: int) -> None:
            self.questions.append((name, uids))

        return cast(WorkQueue, SimpleNamespace(enqueue_delivery=take, enqueue_proof=ask))

    def add_job(self, number: int, objects: int = 2) -> Job:
        """Settle a study and write its results, as the workflow does."""
        study, job_id = f"2.25.8{number}", f"job{number}"
        ledger = self.store.ledger
        self.store.catalogue.add_instance(make_instance(number, study=study), StudyHeader())
        seen = self.store.catalogue.study(study)
        job = self.store.catalogue.settle(seen, "digest", job_id, self.time, lambda *_: None)
        assert job is not None
        ledger.begin_step(job_id, StepName.DELIVER, self.time)
        kinds: Mapping[str, Collection[ObjectKind]] = {
            item.name: tuple(ObjectKind) for item in self.destinations
        }
        ledger.add_objects(
            job_id,
            [write_object(self.store, study, count) for count in range(1, objects + 1)],
            kinds,
            self.time,
            lambda _session, name, destination: self.handed.append((name, 1, destination)),
        )
        return ledger.job(job_id)

    def work(self) -> int:
        """Do what was handed over; returns how many deliveries that were."""
        done = 0
        while self.questions:
            self.proving.prove(*self.questions.pop(0))
        while self.handed:
            self.steps.deliver(*self.handed.pop(0))
            done += 1
        return done

    def wait(self, seconds: float) -> int:
        """Let time pass, then do what is due."""
        self.time += timedelta(seconds=seconds)
        self.dispatcher.dispatch()
        return self.work()


def write_object(store: Store, study: str, number: int) -> ResultObject:
    """Store a result object with a file that any archive takes."""
    uid = f"{study}.9.{number}"
    image = mammogram(
        number,
        SOPClassUID=SecondaryCaptureImageStorage,
        SOPInstanceUID=uid,
        StudyInstanceUID=study,
        SeriesInstanceUID=f"{study}.9",
        PatientID=study,
    )
    image.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = uid
    part10 = _written(image)
    path, digest = store.files.write(part10, "results", uid)
    return ResultObject(
        kind=ObjectKind.SC,
        sop_instance_uid=uid,
        sop_class_uid=SecondaryCaptureImageStorage,
        series_instance_uid=f"{study}.9",
        series_description="Research use only",
        path=path,
        sha256=digest,
        size_bytes=len(part10),
    )


def _written(image: Any) -> bytes:
    stream = BytesIO()
    image.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
