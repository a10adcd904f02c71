"""Shadow models: they read what the active models have read; nothing of it is ever sent.

They run in a process of their own behind all else, after the results of a study are on
their way, so that no study waits for them and no fault of theirs reaches one.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from oncopixel_pacs.domain import Algorithm, Job, ModelTask, StudyResult
from oncopixel_pacs.errors import AnalysisFailed, NotFound, OncoPixelError
from oncopixel_pacs.infer.cards import models_digest, read_algorithms
from oncopixel_pacs.infer.device_process import DeviceProcess
from oncopixel_pacs.settings import Settings
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.files import FileStore
from oncopixel_pacs.store.ledger import Ledger
from oncopixel_pacs.store.shadows import Answered, Shadows
from oncopixel_pacs.workflow.analyser import Analyser
from oncopixel_pacs.workflow.requests import request_for

log = structlog.get_logger()

#: Studies whose results are older are not read: a new shadow model begins with what comes.
LOOK_BACK = timedelta(hours=24)
MOST_ATTEMPTS = 3
_RETRY_AFTER = timedelta(minutes=1)
_LOOK_EVERY_SECONDS = 2.0
#: Added to the priority of the process; a machine that has nothing else to do is used in full.
_NICENESS = 5


@dataclass(frozen=True)
class ShadowReader:
    """Lets shadow models read studies, one at a time; any number of hosts may run one.

    Attributes
    ----------
    lease
        For how long a study is ours; another host takes it up afterwards.
    stopping
        Set when the end of the model process is no failure of the study.
    """

    catalogue: Catalogue
    ledger: Ledger
    files: FileStore
    shadows: Shadows
    analyser: Analyser
    algorithms: tuple[Algorithm, ...]
    lease: timedelta
    now: Callable[[], datetime]
    stopping: threading.Event = field(default_factory=threading.Event)

    def read_next(self) -> bool:
        """Read one study by one model; false when nothing waits."""
        return any(self._read(algorithm) for algorithm in self.algorithms)

    def _read(self, algorithm: Algorithm) -> bool:
        digest = models_digest((algorithm,), "")
        now = self.now()
        named = (algorithm.name, algorithm.version, str(algorithm.task))
        taken = self.shadows.claim(digest, named, now, since=now - LOOK_BACK, lease=self.lease)
        if taken is None:
            return False
        job_id, attempt = taken
        try:
            self._answer(self.ledger.job(job_id), algorithm, digest)
        except NotFound as exc:
            self.shadows.give_up(job_id, digest, self.now(), str(exc))
        except (AnalysisFailed, OSError) as exc:
            if self.stopping.is_set():
                self.shadows.release(job_id, digest, self.now())
                return False
            self._fail(job_id, digest, attempt, exc)
        return True

    def _answer(self, job: Job, algorithm: Algorithm, digest: str) -> None:
        if job.result is None:
            raise NotFound(f"Job {job.id} has no result to compare with.")
        if algorithm in job.result.algorithms:
            self.shadows.pass_over(job.id, digest, self.now())
            return
        # Beside the maps of the active models, which the results are written from.
        labels = f"{job.id} in the shadow of {digest}"
        folder = self.files.labels_dir(labels)
        try:
            result = self.analyser.analyse(
                request_for(job, self.catalogue, self.files, folder, only=algorithm.name)
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        _require_same(result, algorithm)
        active = next((i for i in job.result.algorithms if i.task is algorithm.task), None)
        self.shadows.keep(
            job.id,
            digest,
            Answered(
                result,
                job.result,
                called=called(result, algorithm),
                active_called=None if active is None else called(job.result, active),
            ),
            self.now(),
        )
        log.info("shadow.read", job_id=job.id, model=algorithm.name)

    def _fail(self, job_id: str, digest: str, attempt: int, exc: AnalysisFailed | OSError) -> None:
        said = str(exc) if isinstance(exc, AnalysisFailed) else f"No room or rights: {exc.strerror}"
        log.warning("shadow.failed", job_id=job_id, attempt=attempt, error=said)
        if attempt >= MOST_ATTEMPTS or (isinstance(exc, AnalysisFailed) and exc.permanent):
            self.shadows.give_up(job_id, digest, self.now(), said)
        else:
            self.shadows.put_off(job_id, digest, self.now() + _RETRY_AFTER, said)


class ShadowWatch:
    """A thread that lets the shadow models read until it is stopped."""

    def __init__(self, reader: ShadowReader) -> None:
        self._reader = reader
        self._thread = threading.Thread(target=self._run, name="shadows", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is being read is read again after the next start."""
        self._reader.stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._reader.stopping.is_set():
            busy = False
            try:
                busy = self._reader.read_next()
            except OncoPixelError as exc:
                log.error("shadow.failed", error=exc.for_log)
            except Exception:
                log.exception("shadow.defect")
            if not busy:
                self._reader.stopping.wait(_LOOK_EVERY_SECONDS)


def called(result: StudyResult, algorithm: Algorithm) -> bool | None:
    """Whether a model calls a study suspicious; ``None`` when it read no image of it.

    A classifier does by the score of the study at its operating point, a segmenter by a finding,
    a model of other pictures by any answer but that there is nothing.
    """
    answers = [image.picture for image in result.images if image.picture is not None]
    if answers:
        return any(answer.tells for answer in answers)
    if algorithm.task is ModelTask.CLASSIFY:
        score = result.probability
        return None if score is None else score >= algorithm.threshold
    read = [
        image
        for image in result.images
        if image.analysed and all(skip.task is not algorithm.task for skip in image.skipped)
    ]
    return any(image.findings for image in read) if read else None


def _require_same(result: StudyResult, algorithm: Algorithm) -> None:
    """Refuse the answer of another version: a process that starts anew reads what lies there."""
    ran = next((item for item in result.algorithms if item.name == algorithm.name), algorithm)
    if ran != algorithm:
        raise AnalysisFailed(
            f"The bundle of {algorithm.name} was replaced while the server ran (it is "
            f"{ran.version} now); restart the server.",
            permanent=True,
        )


def begin_shadowing(
    settings: Settings,
    catalogue: Catalogue,
    ledger: Ledger,
    files: FileStore,
    shadows: Shadows,
    now: Callable[[], datetime],
    closing: contextlib.ExitStack,
) -> None:
    """Run the shadow models, if any are configured, until `closing` closes.

    Raises
    ------
    ModelRefused
        When a shadow model is not the one that the settings pin.
    """
    models = settings.shadow_models
    if not models:
        return
    device = DeviceProcess(models, settings.inference, niceness=_NICENESS)
    lease = timedelta(seconds=2 * settings.inference.deadline_seconds + 300)
    reader = ShadowReader(
        catalogue, ledger, files, shadows, device, read_algorithms(models), lease, now
    )
    watch = ShadowWatch(reader)
    # Closed in the reverse order: the process ends first, so that no reading is waited for.
    closing.callback(watch.stop)
    closing.callback(device.close)
    closing.callback(reader.stopping.set)
    watch.start()
