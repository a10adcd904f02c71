"""The models in a process of their own, with a deadline and a restart. No torch in this process.

A decoder or a driver that crashes, hangs or eats the memory takes down the child, fails one
attempt at one study, and the next study finds a fresh child.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from types import TracebackType
from typing import Self, TypeVar

import structlog
from pydantic import ValidationError

from oncopixel_pacs.domain import StudyResult
from oncopixel_pacs.errors import AnalysisFailed, DeviceLost, ModelsNotLoaded, OncoPixelError
from oncopixel_pacs.infer.child_limits import (
    LOADING,
    how_it_was_lost,
    most_memory,
    resident_bytes,
)
from oncopixel_pacs.infer.device_child import ANSWERS, Answer, serve
from oncopixel_pacs.infer.reading import AnalysisRequest
from oncopixel_pacs.settings import InferenceSettings, ModelSettings

Item = TypeVar("Item")

_LOAD_SECONDS = 300.0  # includes importing torch from a cold, busy disk
_REAP_SECONDS = 10.0
_LOOK_SECONDS = 0.25
_STOPPED = "The server was stopped before the analysis was done; it is done after the next start."


class DeviceProcess:
    """Runs studies in one child process; any thread may call any method.

    Studies that wait while others are read are read together afterwards, so that images of
    several studies can go through the models at once. Where such a round takes the child down or
    too long, each of its studies is read alone, and only the one that does it again has failed.

    Parameters
    ----------
    models
        The configured models; see `cards.read_algorithms` for which sets can be run.
    inference
        Device, threads and deadline.
    niceness
        How far the child stands back behind other processes, see nice(2).
    number
        Of this child among those of the server; each takes the next GPU.
    loaded
        Called with the number of GPUs whenever the models have been loaded.
    """

    def __init__(
        self,
        models: Sequence[ModelSettings],
        inference: InferenceSettings,
        niceness: int = 0,
        number: int = 0,
        loaded: Callable[[int], object] = lambda _gpus: None,
    ) -> None:
        self._models = tuple(models)
        self._niceness = niceness
        self._inference = inference
        self._number = number
        self._loaded = loaded
        self._waiting: list[_Asked] = []
        # One thread owns the child. It makes calls take turns, and since Linux's parent-death
        # signal follows the thread that started the child, that thread must live as long.
        self._owner = ThreadPoolExecutor(1, thread_name_prefix="oncopixel-device")
        self._guard = threading.Lock()
        self._child: _Child | None = None
        self._closed = False
        self._device = ""
        self._problem = ""
        self._alarm = ""

    def start(self) -> None:
        """Begin to load the models and return at once; `ready` tells when they are there."""
        self._owner.submit(self._preload)

    def wait_until_ready(self) -> None:
        """Load the models, unless they are, and return when `analyse` can begin at once.

        Raises
        ------
        ModelRefused, ConfigurationError
            When a model is not loaded or the device is not there.
        ModelsNotLoaded
            When the child ended or took too long.
        AnalysisFailed
            When the server is being stopped.
        """
        self._in_turn(self._loaded_child)

    @property
    def ready(self) -> bool:
        """Whether the models are loaded in a living child."""
        child = self._child
        return bool(self._device) and child is not None and child.alive

    @property
    def problem(self) -> str:
        """Why the models could not be loaded the last time, one sentence; empty if they were."""
        return self._problem

    @property
    def device(self) -> str:
        """Where the models run, such as ``cpu``; empty until they are loaded."""
        return self._device

    @property
    def alarm(self) -> str:
        """What a person must see to: that a GPU was lost; empty while all is well."""
        return self._alarm

    def analyse(self, request: AnalysisRequest) -> StudyResult:
        """Read one study, after those that were asked for earlier. Blocks.

        The deadline runs from the moment the child has the study, without loading and waiting; it
        is the same for studies that are read together.

        Raises
        ------
        AnalysisFailed
            When a model gave no usable answer, the deadline passed or the child ended.
        ModelRefused, ConfigurationError, ModelsNotLoaded
            When a model is not loaded or the device is not there.
        """
        asked = _Asked(request)
        with self._guard:
            self._waiting.append(asked)
        # One round for each study that was asked for; those that were read earlier find nothing.
        try:
            turn = self._owner.submit(self._read_waiting)
        except RuntimeError as exc:
            raise AnalysisFailed(_STOPPED) from exc
        turn.add_done_callback(asked.fail_if_cancelled)
        return asked.answer.result()

    def close(self) -> None:
        """End the child; analyses under way fail and can be repeated after the next start."""
        with self._guard:
            self._closed = True
            if self._child is not None:
                self._child.kill()
        self._owner.shutdown(wait=True, cancel_futures=True)
        if self._child is not None:
            self._child.reap()
        self._device = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _in_turn(self, work: Callable[..., Item], *arguments: object) -> Item:
        try:
            return self._owner.submit(work, *arguments).result()
        except (CancelledError, RuntimeError) as exc:
            if not self._closed:
                raise
            raise AnalysisFailed(_STOPPED) from exc

    def _preload(self) -> None:
        try:
            self._loaded_child()
        except OncoPixelError as exc:
            structlog.get_logger().error("models.not_loaded", problem=exc.for_log)

    def _read_waiting(self) -> None:
        with self._guard:
            most = self._inference.studies_at_a_time
            taken, self._waiting = self._waiting[:most], self._waiting[most:]
        try:
            if taken:
                self._read(taken)
        except BaseException as exc:  # whoever waits for an answer gets one
            for asked in taken:
                asked.fail(exc)

    def _read(self, asked: Sequence[_Asked]) -> None:
        """Answer everyone; raises what is wrong with the child and not with a study."""
        child = self._loaded_child()
        limit_seconds = self._inference.deadline_seconds
        told = 0
        with closing(child.exchange([item.request for item in asked], limit_seconds)) as answers:
            for item, answer in zip(asked, answers, strict=False):
                item.take(answer)
                told += 1
        if told < len(asked):
            lost = self._lost(child, "the study", limit_seconds)
            if len(asked) == 1 or self._closed:
                raise lost
            structlog.get_logger().warning("analysis.read_one_by_one", studies=len(asked) - told)
            self._read_alone(asked[told:])
        left = [item for item in asked[:told] if not item.answer.done()]
        if left:
            self._leave_device(child, left[0].lost)
            self._read(left)

    def _read_alone(self, asked: Sequence[_Asked]) -> None:
        for item in asked:
            try:
                self._read([item])
            except OncoPixelError as exc:
                item.fail(exc)

    def _leave_device(self, child: _Child, lost: DeviceLost) -> None:
        """Go on with the CPU, where the configuration leaves the choice to us; else raise."""
        child.reap()
        self._child, self._device = None, ""
        if self._inference.device != "auto":
            # With a fresh child the next attempt may find the device in order.
            raise lost
        self._inference = self._inference.model_copy(update={"device": "cpu"})
        self._alarm = (
            f"{lost} Until the server is started again the models run on the CPU in its place, "
            "which is slower."
        )
        structlog.get_logger().error("models.device_lost", problem=str(lost))

    def _loaded_child(self) -> _Child:
        if self._child is not None and self._child.alive:
            return self._child
        try:
            return self._load()
        except OncoPixelError as exc:
            self._problem = str(exc)
            raise

    def _load(self) -> _Child:
        self._device = ""
        if self._child is not None:
            structlog.get_logger().warning("models.child_ended", exit=self._child.reap())
        with self._guard:
            if self._closed:
                raise AnalysisFailed(_STOPPED)
            self._child = child = _Child(
                self._models, self._inference, self._niceness, self._number
            )
        with closing(child.exchange(None, _LOAD_SECONDS)) as answers:
            answer = next(answers, None)
        if answer is None:
            raise self._lost(child, LOADING, _LOAD_SECONDS)
        if answer.error:
            self._child = None
            child.reap()
            answer.raise_error()
        self._device, self._problem = answer.device, ""
        self._loaded(answer.gpus)
        return child

    def _lost(self, child: _Child, work: str, limit_seconds: float) -> AnalysisFailed:
        """Reap the child, start another in the background, and say what happened."""
        code = child.reap()
        self._child, self._device = None, ""
        if self._closed:
            return AnalysisFailed(_STOPPED)
        limits = child.memory_bytes if child.outgrown else 0, limit_seconds if child.expired else 0
        said = how_it_was_lost(code, work, *limits)
        if work == LOADING:
            return ModelsNotLoaded(said)
        self.start()
        return AnalysisFailed(said)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A study that someone waits for."""

    request: AnalysisRequest
    answer: Future[StudyResult] = field(default_factory=Future)
    _losses: list[DeviceLost] = field(default_factory=list)

    @property
    def lost(self) -> DeviceLost:
        """What the child said of the device, when there is no answer for that."""
        return self._losses[-1]

    def take(self, told: Answer) -> None:
        """Pass on what the child said, unless it is that the device is lost."""
        try:
            told.raise_error()
            if told.result is None:
                raise AnalysisFailed("The process that runs the models gave no result; try again.")
            with suppress(InvalidStateError):  # the server is being stopped
                self.answer.set_result(told.result)
        except DeviceLost as exc:
            self._losses.append(exc)
        except OncoPixelError as exc:
            self.fail(exc)

    def fail(self, why: BaseException) -> None:
        """Pass on why there is no answer, unless there is one."""
        with suppress(InvalidStateError):
            self.answer.set_exception(why)

    def fail_if_cancelled(self, turn: Future[None]) -> None:
        """Say that the server was stopped before there was a turn to read it."""
        if turn.cancelled():
            self.fail(AnalysisFailed(_STOPPED))


class _Child:
    """One child process and our end of its pipe."""

    def __init__(
        self,
        models: Sequence[ModelSettings],
        inference: InferenceSettings,
        niceness: int,
        number: int,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=serve,
            args=(theirs, os.getpid(), tuple(models), inference, niceness, number),
            name="oncopixel-device",
            daemon=False,  # a daemon may have no children, and the decoders are children of it
        )
        self._process.start()
        theirs.close()  # so that the end of the child is the end of the pipe
        self.expired = self.outgrown = False
        self.memory_bytes = inference.memory_mib << 20 or most_memory()

    @property
    def alive(self) -> bool:
        # Unlike is_alive(), this does not reap, which only the owning thread may do.
        return not wait([self._process.sentinel], timeout=0)

    def kill(self) -> None:
        self._process.kill()

    def exchange(
        self, requests: Sequence[AnalysisRequest] | None, limit_seconds: float
    ) -> Generator[Answer]:
        """Send requests, if any, and give each answer as it comes; fewer if the child is lost."""
        deadline = threading.Timer(limit_seconds, self._expire)
        deadline.daemon = True
        deadline.start()
        over = threading.Event()
        watch = threading.Thread(target=self._watch_memory, args=(over,), daemon=True)
        watch.start()
        try:
            if requests is not None:
                self._pipe.send(requests)
            left = 1 if requests is None else len(requests)
            while left > 0:
                answers = ANSWERS.validate_json(self._pipe.recv_bytes())
                left -= len(answers)
                yield from answers
        except (OSError, EOFError, ValidationError):
            return
        finally:
            deadline.cancel()
            over.set()
            watch.join()

    def reap(self) -> int | None:
        """See that the process is gone; its exit code, negative for a signal."""
        self._pipe.close()  # a living child takes this as the order to end
        self._process.join(_REAP_SECONDS)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join(_REAP_SECONDS)
        return self._process.exitcode

    def _watch_memory(self, over: threading.Event) -> None:
        """End the child when it outgrows its limit; an address space limit would stop a GPU."""
        while not over.wait(_LOOK_SECONDS):
            if resident_bytes(self._process.pid) > self.memory_bytes:
                self.outgrown = True
                self._process.kill()
                return

    def _expire(self) -> None:
        self.expired = True
        self._process.kill()
