"""The two steps that turn a study revision into stored result objects: analyse, write."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
import structlog
from pydicom import dcmread

from oncopixel_pacs.domain import (
    Job,
    JobState,
    ObjectKind,
    ResultObject,
    StepName,
    StudyResult,
)
from oncopixel_pacs.errors import AnalysisFailed, OncoPixelError, OutOfResources
from oncopixel_pacs.infer.label_maps import read_label_map
from oncopixel_pacs.infer.reading import AnalysisRequest, RequestedImage
from oncopixel_pacs.report.provenance import Provenance
from oncopixel_pacs.report.result_objects import BuiltObject, build_result_objects
from oncopixel_pacs.report.validation import check
from oncopixel_pacs.route import why_not
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.files import FileStore
from oncopixel_pacs.store.ledger import Ledger
from oncopixel_pacs.workflow.engine import Interrupted, WorkQueue

log = structlog.get_logger()


class Analyser(Protocol):
    """Runs the models on one study; `infer.device_process` has the one for serving."""

    @property
    def device(self) -> str:
        """Name of the device that it computes on."""

    def analyse(self, request: AnalysisRequest) -> StudyResult:
        """Read a study; raises `AnalysisFailed`."""


@dataclass(frozen=True)
class StudySteps:
    """The steps of the study workflow; running one twice does no harm.

    Errors of the product end the job with their sentence. Want of disk or database is raised,
    so that the engine runs the step again. Anything else is a defect: it ends the job, and the
    log has the trace.
    """

    catalogue: Catalogue
    ledger: Ledger
    files: FileStore
    analyser: Analyser
    software_version: str
    max_attempts: int
    destinations: Mapping[str, Collection[ObjectKind]]
    queue: WorkQueue
    now: Callable[[], datetime]
    stopping: threading.Event
    first_retry_seconds: float = 2.0

    def analyse(self, job_id: str, run: int) -> None:
        """Run the models on the images of a job and keep the result."""
        job = self.ledger.job(job_id)
        if job.state.final or self.ledger.current_run(job_id) != run:
            return
        if job.result is not None:
            self._conclude(job, job.result)
            return
        self.ledger.set_state(job_id, JobState.ANALYSING)
        self._guard(job_id, StepName.ANALYSE, lambda: self._analyse(job))

    def write(self, job_id: str, run: int) -> None:
        """Write a job's result objects, then queue their deliveries."""
        job = self.ledger.job(job_id)
        if job.state.final or self.ledger.current_run(job_id) != run:
            return
        if job.objects:
            self._queue_deliveries(job, job.objects, run)
            return
        self._guard(job_id, StepName.WRITE, lambda: self._write(job, run))

    def _analyse(self, job: Job) -> None:
        result = self._attempt(job.id, self._request(job))
        self.files.sync_labels(job.id)
        self.ledger.save_result(job.id, result)
        self._conclude(self.ledger.job(job.id), result)

    def _conclude(self, job: Job, result: StudyResult) -> None:
        """Note what came of the analysis; also where the process died just before."""
        if any(step.name is StepName.ANALYSE and step.finished_at is None for step in job.steps):
            detail = dict(result.timings_seconds)
            self.ledger.end_step(job.id, StepName.ANALYSE, self.now(), detail)
        if not any(image.analysed for image in result.images):
            reasons = {image.reason.sentence for image in result.images if image.reason}
            self.ledger.finish(
                job.id,
                JobState.NOT_ANALYSED,
                self.now(),
                "No image could be analysed: " + " ".join(sorted(reasons)),
            )

    def _attempt(self, job_id: str, request: AnalysisRequest) -> StudyResult:
        for attempt in range(1, self.max_attempts + 1):
            self.ledger.begin_step(job_id, StepName.ANALYSE, self.now())
            try:
                return self.analyser.analyse(request)
            except AnalysisFailed as exc:
                if self.stopping.is_set():
                    # Our own end of the model process is no failure of the study.
                    raise Interrupted from exc
                if exc.permanent or attempt == self.max_attempts:
                    raise
                self.ledger.fail_step(job_id, StepName.ANALYSE, self.now(), str(exc))
                log.warning("analysis.retried", job_id=job_id, attempt=attempt, error=str(exc))
                pause = min(self.first_retry_seconds * 2.0 ** (attempt - 1), 30.0)
                if self.stopping.wait(pause):
                    raise Interrupted from exc
        raise AnalysisFailed("No attempt at the analysis is allowed; raise max_attempts.")

    def _request(self, job: Job) -> AnalysisRequest:
        study = self.catalogue.study(job.study_instance_uid)
        wanted = set(job.sop_instance_uids)
        images = tuple(
            RequestedImage(
                facts=item.facts,
                path=self.files.absolute(item.path),
                reason=why_not(item.facts),
            )
            for item in study.instances
            if item.facts.sop_instance_uid in wanted
        )
        return AnalysisRequest(
            study_instance_uid=job.study_instance_uid,
            revision=job.revision,
            images=images,
            labels_dir=self.files.labels_dir(job.id),
        )

    def _write(self, job: Job, run: int) -> None:
        assert job.result is not None  # noqa: S101 - analyse has run, or the job is final
        self.ledger.begin_step(job.id, StepName.WRITE, self.now())
        started = time.perf_counter()
        study = self.catalogue.study(job.study_instance_uid)
        paths = {
            item.facts.sop_instance_uid: self.files.absolute(item.path) for item in study.instances
        }
        labels_dir = self.files.labels_dir(job.id)

        def read_labels(sop_instance_uid: str) -> np.ndarray | None:
            return read_label_map(labels_dir, sop_instance_uid)

        built = build_result_objects(
            job.result,
            paths,
            read_labels,
            Provenance(
                # As they were when the images were read, whatever runs now.
                algorithms=job.result.algorithms,
                software_version=self.software_version,
                created_at=job.created_at,
                device=job.result.device,
            ),
            self._existing,
            [dcmread(self.files.absolute(item.path)) for item in self._predecessors(job)],
            {kind for wanted in self.destinations.values() for kind in wanted},
        )
        seconds_built = time.perf_counter() - started
        check(built, paths)
        seconds_checked = time.perf_counter() - started - seconds_built
        objects = tuple(self._store(item) for item in built)
        detail = {
            "build": seconds_built,
            "validate": seconds_checked,
            "store": time.perf_counter() - started - seconds_built - seconds_checked,
        }
        self.ledger.end_step(job.id, StepName.WRITE, self.now(), detail)
        self._queue_deliveries(job, objects, run)

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
        )

    def _predecessors(self, job: Job) -> tuple[ResultObject, ...]:
        """Give the report that this one replaces: that of the revision before."""
        return self.ledger.earlier_reports(job)[-1:]

    def _existing(self, sop_instance_uid: str) -> bytes | None:
        held = self.ledger.stored_object(sop_instance_uid)
        return None if held is None else self.files.absolute(held.path).read_bytes()

    def _queue_deliveries(self, job: Job, objects: tuple[ResultObject, ...], run: int) -> None:
        if self.destinations:
            self.ledger.begin_step(job.id, StepName.DELIVER, self.now())
        self.ledger.add_objects(
            job.id,
            objects,
            self.destinations,
            self.now(),
            lambda session, job_id, name: self.queue.enqueue_delivery(session, job_id, run, name),
        )

    def _guard(self, job_id: str, step: StepName, work: Callable[[], None]) -> None:
        try:
            work()
        except (OutOfResources, OSError) as exc:
            self.ledger.fail_step(job_id, step, self.now(), str(exc))
            raise
        except OncoPixelError as exc:
            log.error("job.failed", job_id=job_id, step=step, error=str(exc))
            self._fail(job_id, step, str(exc))
        except Exception as exc:
            log.exception("job.defect", job_id=job_id, step=step)
            self._fail(
                job_id,
                step,
                f"Unexpected {type(exc).__name__} in step {step}; the server's log has the trace.",
            )

    def _fail(self, job_id: str, step: StepName, sentence: str) -> None:
        self.ledger.fail_step(job_id, step, self.now(), sentence)
        self.ledger.finish(job_id, JobState.FAILED, self.now(), sentence)
