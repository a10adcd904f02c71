"""The two steps that turn a study revision into stored result objects: analyse, write."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

import structlog
from pydicom import dcmread
from pydicom.dataset import Dataset

from oncopixel_pacs.domain import (
    Algorithm,
    Job,
    JobState,
    ObjectKind,
    ResultObject,
    SegmentationForm,
    StepName,
    StudyResult,
)
from oncopixel_pacs.errors import (
    AnalysisFailed,
    ConfigurationError,
    ModelRefused,
    ModelsNotLoaded,
    OncoPixelError,
    OutOfResources,
)
from oncopixel_pacs.infer.cards import models_digest
from oncopixel_pacs.infer.label_maps import read_label_map
from oncopixel_pacs.infer.probability_maps import read_probability_map
from oncopixel_pacs.infer.request import AnalysisRequest
from oncopixel_pacs.report.built_object import BuiltObject
from oncopixel_pacs.report.provenance import Provenance
from oncopixel_pacs.report.rejection_note import rejected_uids
from oncopixel_pacs.report.result_objects import Maps, build_result_objects, build_retraction
from oncopixel_pacs.settings import DestinationProfile
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.files import FileStore, fetch_ahead, sentence_of_disk
from oncopixel_pacs.store.job_rows import Retraction
from oncopixel_pacs.store.ledger import Ledger
from oncopixel_pacs.store.retractions import Retractions
from oncopixel_pacs.workflow.analyser import Analyser
from oncopixel_pacs.workflow.engine import WorkQueue
from oncopixel_pacs.workflow.gate import Gate
from oncopixel_pacs.workflow.lease import Leases, Ticket
from oncopixel_pacs.workflow.outcomes import (
    failed_result,
    has_failed,
    kinds_for,
    sentence_of,
    supersedes,
)
from oncopixel_pacs.workflow.requests import request_for
from oncopixel_pacs.workflow.steps import Interrupted
from oncopixel_pacs.workflow.study_naming import name_by_what_counts

log = structlog.get_logger()

#: More than the maps of a study take: a disk without room for them is why they cannot be written.
_MAPS_BYTES = 8 << 20


@dataclass(frozen=True)
class StudySteps:
    """The steps of the study workflow; running one twice does no harm.

    Errors of the product end the job with their sentence. Want of disk or database is raised,
    so that the engine runs the step again, and so is what fails meanwhile. Anything else is a
    defect: it ends the job, and the log has the trace.
    """

    catalogue: Catalogue
    ledger: Ledger
    files: FileStore
    analyser: Analyser
    software_version: str
    max_attempts: int
    destinations: Mapping[str, DestinationProfile]
    algorithms: tuple[Algorithm, ...]
    gate: Gate
    retractions: Retractions
    queue: WorkQueue
    now: Callable[[], datetime]
    stopping: threading.Event
    leases: Leases
    first_retry_seconds: float = 2.0

    def analyse(self, job_id: str, run: int) -> None:
        """Run the models on the images of a job and keep the result."""
        ticket = self.leases.ticket()
        job = self.ledger.job(job_id)
        if job.state.final or self.ledger.current_run(job_id) != run:
            return
        if job.result is not None:
            self._conclude(job, job.result)
            return
        self.ledger.set_state(job_id, JobState.ANALYSING)
        self._guard(job_id, StepName.ANALYSE, ticket, lambda: self._analyse(job, run, ticket))

    def write(self, job_id: str, run: int) -> None:
        """Write a job's result objects, then queue their deliveries."""
        ticket = self.leases.ticket()
        job = self.ledger.job(job_id)
        if job.state.final or self.ledger.current_run(job_id) != run:
            return
        if job.written:
            self._queue_deliveries(job, job.current, run)
            return
        self._guard(job_id, StepName.WRITE, ticket, lambda: self._write(job, run, ticket))

    def _analyse(self, job: Job, run: int, ticket: Ticket) -> None:
        name_by_what_counts(job.study_instance_uid, self.catalogue, self.files)
        labels_dir = self.files.labels_dir(job.id)
        request = request_for(job, self.catalogue, self.files, labels_dir)
        # Images were written past the page cache; they are read while the study waits its turn.
        fetch_ahead(image.path for image in request.images)
        try:
            result = self._attempt(job.id, request)
        except (ModelRefused, ModelsNotLoaded, ConfigurationError) as exc:
            self._wait_for_models(job.id, run, ticket, exc)
        ticket.require()
        if job.error:  # that was before
            self.ledger.note_error(job.id, "")
        self.files.sync_labels(job.id)
        self.ledger.save_result(job.id, result, self._models_digest(result))
        self._conclude(self.ledger.job(job.id), result)

    def _models_digest(self, result: StudyResult) -> str:
        """Digest of the models that ran: they may be others than when the job was queued."""
        ran = {item.name: item for item in (*self.algorithms, *result.algorithms)}
        return models_digest(tuple(ran.values()), self.software_version)

    def _conclude(self, job: Job, result: StudyResult) -> None:
        """Note what came of the analysis; also where the process died just before."""
        if any(step.name is StepName.ANALYSE and step.finished_at is None for step in job.steps):
            detail = dict(result.timings_seconds)
            self.ledger.end_step(job.id, StepName.ANALYSE, self.now(), detail)
        if result.analysed:
            return
        # What takes the place of earlier results is written even where nobody is told.
        if any(kinds_for(result, self.destinations).values()) or supersedes(result):
            self.ledger.note_error(job.id, sentence_of(result))
            return
        state = JobState.FAILED if has_failed(result) else JobState.NOT_ANALYSED
        self.ledger.finish(job.id, state, self.now(), sentence_of(result))

    def _wait_for_models(
        self, job_id: str, run: int, ticket: Ticket, why: OncoPixelError
    ) -> NoReturn:
        """Leave a job to whichever host has its models first: none of this is the study's fault."""
        ticket.require()
        self.ledger.fail_step(job_id, StepName.ANALYSE, self.now(), str(why))
        self.ledger.set_state(job_id, JobState.QUEUED, f"Waits for the models. {why}")
        log.warning("analysis.waits_for_models", job_id=job_id, error=why.for_log)
        attempts = self.ledger.job(job_id).steps[0].attempts
        if not self.stopping.wait(self._pause_seconds(attempts)):
            ticket.require()
            self.queue.hand_back(job_id, run)
        raise Interrupted from why

    def _pause_seconds(self, attempts: int) -> float:
        return float(min(self.first_retry_seconds * 2.0 ** min(attempts - 1, 10), 30.0))

    def _attempt(self, job_id: str, request: AnalysisRequest) -> StudyResult:
        for attempt in range(1, self.max_attempts + 1):
            self.ledger.begin_step(job_id, StepName.ANALYSE, self.now())
            try:
                return self.analyser.analyse(request)
            except ModelsNotLoaded:
                raise
            except AnalysisFailed as exc:
                if self.stopping.is_set():
                    # Our own end of the model process is no failure of the study.
                    raise Interrupted from exc
                if exc.permanent or attempt == self.max_attempts:
                    raise
                self.ledger.fail_step(job_id, StepName.ANALYSE, self.now(), str(exc))
                log.warning("analysis.retried", job_id=job_id, attempt=attempt, error=exc.for_log)
                if self.stopping.wait(self._pause_seconds(attempt)):
                    raise Interrupted from exc
        raise AnalysisFailed("No attempt at the analysis is allowed; raise max_attempts.")

    def _write(self, job: Job, run: int, ticket: Ticket) -> None:
        assert job.result is not None  # noqa: S101 - analyse has run, or the job is final
        self.ledger.begin_step(job.id, StepName.WRITE, self.now())
        watch = _Stopwatch()
        study = self.catalogue.study(job.study_instance_uid)
        paths = {
            item.facts.sop_instance_uid: self.files.absolute(item.path) for item in study.images
        }
        built = self._build(job, job.result, paths)
        notes, stale = self._retract(job, job.result, paths, built)
        self.ledger.note_repairs(job.id, (text for item in built for text in item.repairs))
        watch.lap("build")
        self.gate.require(job, [*built, *notes.values()], paths, stale)
        watch.lap("validate")
        # Several destinations may need the same note.
        objects = {item.sop_instance_uid: self._store(item) for item in (*built, *notes.values())}
        watch.lap("store")
        ticket.require()
        self.ledger.end_step(job.id, StepName.WRITE, self.now(), watch.seconds)
        self._queue_deliveries(
            job,
            tuple(objects.values()),
            run,
            {
                name: Retraction(note.sop_instance_uid, rejected_uids(note.dataset))
                for name, note in notes.items()
            },
        )

    def _build(
        self, job: Job, result: StudyResult, paths: Mapping[str, Path]
    ) -> tuple[BuiltObject, ...]:
        labels_dir = self.files.labels_dir(job.id)
        wanted = kinds_for(result, self.destinations)
        forms = {
            profile.segmentation
            for name, profile in self.destinations.items()
            if {ObjectKind.SEG, ObjectKind.SR, ObjectKind.KOS} & set(wanted[name])
        }
        predecessors = self._predecessors(job) if result.analysed else ()
        return build_result_objects(
            result,
            paths,
            Maps(
                lambda uid: read_label_map(labels_dir, uid),
                lambda uid: read_probability_map(labels_dir, uid),
            ),
            self._provenance(job, result),
            self._existing,
            [dcmread(self.files.absolute(item.path)) for item in predecessors],
            {kind for kinds in wanted.values() for kind in kinds},
            forms=forms or {SegmentationForm.BINARY},
            card_url=self.gate.settings.model_card_url,
            taken_back=self.retractions.taken_back(job),
        )

    def _provenance(self, job: Job, result: StudyResult) -> Provenance:
        return Provenance(
            # As they were when the images were read, whatever runs now.
            algorithms=result.algorithms,
            software_version=self.software_version,
            created_at=job.created_at,
            device=result.device,
        )

    def _retract(
        self,
        job: Job,
        result: StudyResult,
        paths: Mapping[str, Path],
        built: Sequence[BuiltObject],
    ) -> tuple[dict[str, BuiltObject], list[Dataset]]:
        """Build the rejection note that each destination needs, and read what it takes back."""
        current = {item.sop_instance_uid for item in built}
        notes: dict[str, BuiltObject] = {}
        headers: dict[str, Dataset] = {}
        for name, items in self._stale(job, result, current).items():
            for item in items:
                path = self.files.absolute(item.path)
                headers[item.sop_instance_uid] = dcmread(path, stop_before_pixels=True)
            stale = [headers[item.sop_instance_uid] for item in items]
            provenance = self._provenance(job, result)
            notes[name] = build_retraction(result, paths, stale, provenance, self._existing)
        return notes, list(headers.values())

    def _stale(
        self, job: Job, result: StudyResult, current: Collection[str]
    ) -> dict[str, tuple[ResultObject, ...]]:
        """List what no longer holds and is to be taken back, by the destination that has it."""
        if not supersedes(result):
            return {}
        return {
            name: items
            for name, items in self.retractions.stale(job, current).items()
            if name in self.destinations and self.destinations[name].retract
        }

    def _store(self, built: BuiltObject) -> ResultObject:
        path, digest = self.files.write(built.part10, "results", built.sop_instance_uid)
        return ResultObject(
            kind=built.kind,
            sop_instance_uid=built.sop_instance_uid,
            sop_class_uid=built.sop_class_uid,
            series_instance_uid=built.series_instance_uid,
            series_description=built.series_description,
            path=path,
            sha256=digest,
            size_bytes=len(built.part10),
            form=built.form,
        )

    def _predecessors(self, job: Job) -> tuple[ResultObject, ...]:
        """Give the reports that the new ones replace: the newest of each kind and form.

        Those of the same job are from a run that could not analyse the study.
        """
        newest: dict[tuple[ObjectKind, SegmentationForm | None], ResultObject] = {}
        for kind in (ObjectKind.SR, ObjectKind.CAD_SR):
            own = [item for item in job.objects if item.kind is kind]
            for item in (*self.ledger.earlier_reports(job, kind), *own):
                newest[item.kind, item.form] = item
        return tuple(newest.values())

    def _existing(self, sop_instance_uid: str) -> bytes | None:
        held = self.ledger.stored_object(sop_instance_uid)
        return None if held is None else self.files.absolute(held.path).read_bytes()

    def _queue_deliveries(
        self,
        job: Job,
        objects: tuple[ResultObject, ...],
        run: int,
        retractions: Mapping[str, Retraction] = MappingProxyType({}),
    ) -> None:
        assert job.result is not None  # noqa: S101 - it is what the objects tell
        kinds = kinds_for(job.result, self.destinations)
        if any(kinds.values()) or retractions:
            self.ledger.begin_step(job.id, StepName.DELIVER, self.now())
        noted = {name for name, profile in self.destinations.items() if profile.retract}
        self.ledger.add_objects(
            job.id,
            objects,
            {
                name: (*chosen, ObjectKind.REJECTION) if name in noted else chosen
                for name, chosen in kinds.items()
            },
            self.now(),
            lambda session, job_id, name: self.queue.enqueue_delivery(session, job_id, run, name),
            forms={name: profile.segmentation for name, profile in self.destinations.items()},
            retractions=retractions,
        )

    def _guard(self, job_id: str, step: StepName, ticket: Ticket, work: Callable[[], None]) -> None:
        try:
            work()
        except (OutOfResources, OSError) as exc:
            self._put_off(job_id, step, ticket, exc)
            raise
        except OncoPixelError as exc:
            try:
                self.files.require_disk(_MAPS_BYTES)
            except OutOfResources as why:
                self._put_off(job_id, step, ticket, why)
                raise
            ticket.require()
            log.error("job.failed", job_id=job_id, step=step, error=exc.for_log)
            self._fail(job_id, step, str(exc))
        except Exception as exc:
            ticket.require()
            log.exception("job.defect", job_id=job_id, step=step)
            self._fail(
                job_id,
                step,
                f"Unexpected {type(exc).__name__} in step {step}; the server's log has the trace.",
            )

    def _put_off(self, job_id: str, step: StepName, ticket: Ticket, why: Exception) -> None:
        """Say that a step waits for disk or database, which are nobody's fault."""
        ticket.require()
        said = sentence_of_disk(why) if isinstance(why, OSError) else str(why)
        self.ledger.fail_step(job_id, step, self.now(), said)
        if step is StepName.ANALYSE:
            self.ledger.note_error(job_id, f"Is tried again. {said}")

    def _fail(self, job_id: str, step: StepName, sentence: str) -> None:
        self.ledger.fail_step(job_id, step, self.now(), sentence)
        job = self.ledger.job(job_id)
        if step is StepName.ANALYSE and any(p.report_failed for p in self.destinations.values()):
            study = self.catalogue.study(job.study_instance_uid)
            result = failed_result(job, study, self.algorithms, self.analyser.device, sentence)
            self.ledger.save_result(job_id, result)
            self._conclude(self.ledger.job(job_id), result)
            return
        # What was wrong before is not forgotten for what went wrong in telling it.
        before = "" if step is StepName.ANALYSE else job.error
        self.ledger.finish(job_id, JobState.FAILED, self.now(), f"{before} {sentence}".strip())


class _Stopwatch:
    """Seconds of each part of a step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a part."""
        now = time.perf_counter()
        self.seconds[name], self._since = now - self._since, now
