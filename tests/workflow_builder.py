"""Runs the study workflow in this process: the real engine, a pretended model, real images."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from builders import make_algorithm
from conftest import Store
from mammogram_builder import SCREENING, View2D, write_mammogram
from numpy.typing import NDArray
from pydicom import dcmread
from report_builders import lesion

from oncopixel_pacs.actions import retry_job
from oncopixel_pacs.deliver import Outcome, OutgoingObject
from oncopixel_pacs.domain import (
    Algorithm,
    ImageFacts,
    ImageResult,
    Job,
    JobState,
    ModelTask,
    ObjectKind,
    Reason,
    StudyResult,
)
from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.imaging.geometry import Geometry
from oncopixel_pacs.infer.label_maps import write_label_map
from oncopixel_pacs.infer.probability_maps import write_probability_map
from oncopixel_pacs.infer.reading import AnalysisRequest, RequestedImage
from oncopixel_pacs.receive.intake import Intake
from oncopixel_pacs.settings import (
    CompletionSettings,
    DeliverySettings,
    DestinationSettings,
    FolderDestination,
    ResultSettings,
)
from oncopixel_pacs.store.associations import AssociationLeases
from oncopixel_pacs.store.hosts import Hosts
from oncopixel_pacs.store.outbox import Outbox
from oncopixel_pacs.store.proofs import Proofs
from oncopixel_pacs.store.quarantine import Quarantine
from oncopixel_pacs.store.retractions import Retractions
from oncopixel_pacs.workflow import delivery as delivery_module
from oncopixel_pacs.workflow.analysis import StudySteps
from oncopixel_pacs.workflow.delivery import DeliverySteps
from oncopixel_pacs.workflow.dispatch import Dispatcher
from oncopixel_pacs.workflow.engine import Executor, WorkQueue
from oncopixel_pacs.workflow.gate import Gate
from oncopixel_pacs.workflow.lease import HostLease
from oncopixel_pacs.workflow.proving import ProofSteps
from oncopixel_pacs.workflow.settling import Reconciler, Settler
from oncopixel_pacs.workflow.steps import Steps
from oncopixel_pacs.workflow.takeover import Reaper


class AlwaysHeld:
    """A lease that nobody takes."""

    def ticket(self) -> AlwaysHeld:
        """Let it go on."""
        return self

    def require(self) -> None:
        """Let it go on."""


ALGORITHMS = (make_algorithm(), make_algorithm(ModelTask.SEGMENT))


def utc_now() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for a condition, and fail when it does not come."""
    deadline = time.monotonic() + seconds
    ticker = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        ticker.wait(0.02)


@dataclass
class PretendedModel:
    """Scores every readable image alike.

    Attributes
    ----------
    lesions
        Whether it marks one on each image.
    failures
        Raised one by one before the first answer.
    busy
        Set while a study is analysed.
    go
        Cleared, it keeps every analysis waiting.
    asked
        Every request, in order.
    """

    failures: list[Exception] = field(default_factory=list)
    reason: Reason | None = None
    lesions: bool = True
    busy: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    asked: list[AnalysisRequest] = field(default_factory=list)
    ended: Exception | None = None
    algorithms: tuple[Algorithm, ...] = ALGORITHMS

    def __post_init__(self) -> None:
        """Begin without making anyone wait."""
        self.go.set()

    @property
    def device(self) -> str:
        """Where it pretends to compute."""
        return "cpu"

    def analyse(self, request: AnalysisRequest) -> StudyResult:
        """Read a study."""
        self.asked.append(request)
        self.busy.set()
        self.go.wait(30)
        if self.ended is not None:
            raise self.ended
        if self.failures:
            raise self.failures.pop(0)
        images = tuple(self._read(item, request.labels_dir) for item in request.images)
        sides = {i.facts.laterality for i in images if i.analysed and i.facts.laterality}
        return StudyResult(
            study_instance_uid=request.study_instance_uid,
            revision=request.revision,
            algorithms=self.algorithms,
            images=tuple(sorted(images, key=lambda item: item.facts.sop_instance_uid)),
            breasts=dict.fromkeys(sorted(sides), 0.25),
            probability=0.25 if sides else None,
            timings_seconds={"classify": 0.1},
        )

    def _read(self, asked: RequestedImage, labels_dir: Path) -> ImageResult:
        reason = self.reason or asked.reason
        if reason is not None:
            return ImageResult(asked.facts, reason=reason)
        if not self.lesions:
            return ImageResult(asked.facts, probability=0.25)
        finding, region = lesion(asked.facts, 1)
        labels = np.zeros((asked.facts.rows, asked.facts.columns), np.uint8)
        labels[region] = 1
        write_label_map(labels_dir, asked.facts.sop_instance_uid, labels)
        self._keep_probabilities(asked.facts, labels, labels_dir)
        return ImageResult(asked.facts, probability=0.25, findings=(finding,))

    def _keep_probabilities(
        self, facts: ImageFacts, labels: NDArray[np.uint8], labels_dir: Path
    ) -> None:
        shape = (facts.rows, facts.columns)
        whole = Geometry(shape, (0, 0, *shape), False, shape, shape)
        probability = np.where(labels > 0, 0.8, 0.05).astype(np.float32)
        breast = np.ones(shape, dtype=bool)
        write_probability_map(labels_dir, facts.sop_instance_uid, probability, breast, whole)


class PretendedPool(PretendedModel):
    """Stands in for the processes that run the models: they are loaded, and there are none."""

    ready = True
    trouble = ""

    def start(self) -> None:
        """Need nothing."""

    def mend(self) -> None:
        """Have nothing to mend."""

    def close(self) -> None:
        """Leave nothing."""


@dataclass
class PretendedPacs:
    """Takes objects at the seam of `deliver.send`; `answer` decides on each of them.

    Attributes
    ----------
    received
        SOP Instance UID and bytes of all that was sent, in order.
    """

    answer: Callable[[OutgoingObject], Outcome]
    received: list[tuple[str, bytes]] = field(default_factory=list)

    def send(
        self, objects: Sequence[OutgoingObject], destination: DestinationSettings, **_: object
    ) -> Iterator[Outcome]:
        """Stand in for `deliver.send`."""
        for item in objects:
            self.received.append((item.sop_instance_uid, item.path.read_bytes()))
            yield self.answer(item)


def accept(item: OutgoingObject) -> Outcome:
    """Take it."""
    return Outcome(item.sop_instance_uid, True, "0x0000", "", False)


def refuse(item: OutgoingObject) -> Outcome:
    """Refuse it for good."""
    return Outcome(item.sop_instance_uid, False, "0xA900", "pacs: not this class.", True)


def put_off(item: OutgoingObject) -> Outcome:
    """Refuse it for now."""
    return Outcome(item.sop_instance_uid, False, "0xA700", "pacs: out of resources.", False)


def install(monkeypatch: pytest.MonkeyPatch, pacs: PretendedPacs) -> PretendedPacs:
    """Put the pretended PACS in the place of every destination."""
    monkeypatch.setattr(delivery_module, "send", pacs.send)
    return pacs


def folder_destination(
    path: Path,
    name: str = "pacs",
    objects: tuple[ObjectKind, ...] = (ObjectKind.SEG, ObjectKind.SR),
) -> FolderDestination:
    """Make a destination that is a folder."""
    # Proof has tests of its own; here it would change states at any moment.
    return FolderDestination(type="folder", name=name, path=path, objects=objects, proof="none")


@dataclass
class Works:
    """A server's working part. `start` and `stop` it as often as you like."""

    store: Store
    model: PretendedModel
    destinations: tuple[DestinationSettings, ...] = ()
    completion: CompletionSettings = CompletionSettings(quiet_seconds=0, settle_seconds=0)
    delivery: DeliverySettings = DeliverySettings(first_retry_seconds=0.1, max_retry_seconds=0.2)
    # The validators have tests of their own; here they would take most of the time.
    results: ResultSettings = ResultSettings(validators="off")
    max_attempts: int = 3
    executor_name: str = "host"
    software_version: str = "0.0.1"
    stopping: threading.Event = field(default_factory=threading.Event)
    queue: WorkQueue = field(init=False)
    executor: Executor | None = None
    takeover_seconds: float = 15.0
    lease: HostLease = field(init=False)
    _dispatching: threading.Thread = field(init=False)

    def start(self) -> None:
        """Start the engine."""
        self.stopping = threading.Event()
        self.queue = WorkQueue(self.store.database.engine)
        self.lease = HostLease(
            Hosts(self.store.database),
            self.executor_name,
            self.takeover_seconds,
            lambda: self.queue.queue_again(self.queue.running_on(self.executor_name)),
        )
        self.lease.start()
        self.executor = Executor(
            self.store.database.engine,
            self.executor_name,
            {item.name: item.concurrency for item in self.destinations},
            self.steps(),
        )
        self.executor.start()
        self._dispatching = threading.Thread(target=self._dispatch, name="dispatch")
        self._dispatching.start()

    def _dispatch(self) -> None:
        """Hand over what is due, more often than the watch does."""
        while not self.stopping.wait(0.05):
            with suppress(OutOfResources):
                self.dispatcher.dispatch()

    def stop(self) -> None:
        """Stop it, as the server does."""
        self.stopping.set()
        if self.executor is not None:
            self._dispatching.join()
            self.lease.interrupt()
            self.executor.stop()
            self.lease.stop()
            self.executor = None
            self.queue.close()

    def steps(self) -> Steps:
        """Make the real steps around the pretended model."""
        study = StudySteps(
            catalogue=self.store.catalogue,
            ledger=self.store.ledger,
            files=self.store.files,
            analyser=self.model,
            software_version=self.software_version,
            max_attempts=self.max_attempts,
            destinations={item.name: item for item in self.destinations},
            algorithms=ALGORITHMS,
            gate=Gate(Quarantine(self.store.database), self.store.files, self.results, utc_now),
            retractions=Retractions(self.store.database),
            queue=self.queue,
            now=utc_now,
            stopping=self.stopping,
            leases=self.lease,
            first_retry_seconds=0.01,
        )
        delivery = DeliverySteps(
            ledger=self.store.ledger,
            outbox=self.outbox,
            files=self.store.files,
            destinations={item.name: item for item in self.destinations},
            settings=self.delivery,
            calling_ae_title="ONCOPIXEL",
            now=utc_now,
            leases=self.lease,
        )
        proof = ProofSteps(
            Proofs(self.store.database),
            self.store.files,
            {item.name: item for item in self.destinations},
            self.delivery,
            "ONCOPIXEL",
            utc_now,
        )
        return Steps(study.analyse, study.write, delivery.deliver, proof.prove)

    @property
    def settler(self) -> Settler:
        """Settles what is complete."""
        return Settler(
            self.store.catalogue,
            AssociationLeases(self.store.database),
            self.queue,
            self.completion,
            "digest",
            utc_now,
        )

    @property
    def reconciler(self) -> Reconciler:
        """Compares ledger and engine."""
        return Reconciler(
            self.store.database,
            self.store.ledger,
            self.outbox,
            self.queue,
            utc_now,
            timedelta(hours=1),
        )

    @property
    def outbox(self) -> Outbox:
        """Keeps what waits for another attempt."""
        return Outbox(self.store.database)

    @property
    def dispatcher(self) -> Dispatcher:
        """Hands over what is due."""
        return Dispatcher(
            self.outbox, Proofs(self.store.database), self.queue, self.delivery, utc_now
        )

    @property
    def reaper(self) -> Reaper:
        """Takes over from hosts that died."""
        return Reaper(
            Hosts(self.store.database),
            self.store.ledger,
            self.queue,
            self.executor_name,
            self.takeover_seconds,
            utc_now,
        )

    def receive(self, folder: Path, view: View2D = SCREENING[0], **attributes: str) -> None:
        """Take in a view; `attributes` override those of its header."""
        folder.mkdir(exist_ok=True)
        path = write_mammogram(folder, view)
        with dcmread(path) as image:
            for keyword, value in attributes.items():
                setattr(image, keyword, value)
            image.save_as(path)
        intake = Intake(self.store.files, self.store.catalogue, utc_now)
        intake.accept_file(path, "MODALITY")

    def receive_studies(self, folder: Path, number: int) -> list[str]:
        """Take in so many studies of one image; returns their UIDs."""
        uids = [f"2.25.7{study}" for study in range(number)]
        for uid in uids:
            self.receive(folder, StudyInstanceUID=uid, SOPInstanceUID=f"{uid}.1")
        return uids

    def settle(self) -> Job:
        """Settle the one study that waits."""
        (job,) = self.settler.settle_complete()
        return job

    def retry(self, job_id: str) -> None:
        """Retry a job, as the command does."""
        self.store.ledger.restart(
            job_id, lambda session, job, run: self.queue.enqueue_study(session, job.id, run)
        )

    def send_again(self, job_id: str) -> None:
        """Send the results of a job again, as the page of a study does."""
        names = [item.name for item in self.destinations]
        retry_job(self.store.ledger, self.queue, job_id, resend=names)

    def job(self, job_id: str) -> Job:
        """Look at a job."""
        return self.store.ledger.job(job_id)

    def finished(self, job_id: str) -> Job:
        """Wait until a job is over."""
        until(lambda: self.job(job_id).state.final)
        return self.job(job_id)

    def in_state(self, job_id: str, state: JobState) -> Job:
        """Wait until a job is in this state."""
        until(lambda: self.job(job_id).state is state)
        return self.job(job_id)


@contextmanager
def running(works: Works) -> Iterator[Works]:
    """Run it, and leave nothing behind."""
    works.start()
    try:
        yield works
    finally:
        works.model.go.set()
        works.stop()
        until(lambda: not engine_threads())


def engine_threads() -> Collection[str]:
    """Name the threads of the engine that live."""
    return {item.name for item in threading.enumerate() if item.name.startswith("dbos")}
