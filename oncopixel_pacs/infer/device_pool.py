"""Every device of this host: one child process for each, and studies for the least busy one."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from oncopixel_pacs.domain import StudyResult
from oncopixel_pacs.infer.device_process import DeviceProcess
from oncopixel_pacs.infer.reading import AnalysisRequest
from oncopixel_pacs.settings import InferenceSettings, ModelSettings


class DevicePool:
    """Runs studies in one child process for each device; any thread may call any method.

    How many GPUs there are is known when the first child has loaded torch; then come the others.

    Parameters
    ----------
    models, inference
        As for `DeviceProcess`.
    """

    def __init__(self, models: Sequence[ModelSettings], inference: InferenceSettings) -> None:
        self._models = tuple(models)
        self._inference = inference
        self._guard = threading.Lock()
        self._closed = False
        self._children: list[DeviceProcess] = []
        self._busy: dict[DeviceProcess, int] = {}
        self._add(max(inference.processes, 1))

    def start(self) -> None:
        """Begin to load the models and return at once; `ready` tells when they are there."""
        for child in self._each():
            child.start()

    def mend(self) -> None:
        """Begin to load the models where that failed the last time, and return at once."""
        for child in self._each():
            if child.problem:
                child.start()

    @property
    def ready(self) -> bool:
        """Whether the models are loaded on some device."""
        return any(child.ready for child in self._each())

    @property
    def problem(self) -> str:
        """Why the models could not be loaded on some device, one sentence; empty if they were."""
        return next((child.problem for child in self._each() if child.problem), "")

    @property
    def device(self) -> str:
        """Where the models run, such as ``cpu``; several with commas, empty until it is known."""
        return ", ".join(sorted({child.device for child in self._each() if child.device}))

    @property
    def alarm(self) -> str:
        """What a person must see to: which GPUs were lost; empty while all is well."""
        return " ".join(child.alarm for child in self._each() if child.alarm)

    @property
    def trouble(self) -> str:
        """What a person must see to: models that are not loaded, GPUs that were lost."""
        if not self.problem:
            return self.alarm
        waits = "some processes do without them" if self.ready else "studies wait until they can be"
        return f"The models cannot be loaded; {waits}. {self.problem} {self.alarm}".rstrip()

    def analyse(self, request: AnalysisRequest) -> StudyResult:
        """Read one study on the least busy device. Blocks, and raises like `DeviceProcess`."""
        with self._least_busy() as child:
            return child.analyse(request)

    def close(self) -> None:
        """End the children; analyses under way fail and can be repeated after the next start."""
        with self._guard:
            self._closed = True
        for child in self._each():
            child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _each(self) -> tuple[DeviceProcess, ...]:
        with self._guard:
            return tuple(self._children)

    @contextmanager
    def _least_busy(self) -> Iterator[DeviceProcess]:
        # One that cannot be loaded is always free, and must not swallow study after study.
        state = {child: (bool(child.problem), not child.ready) for child in self._each()}
        with self._guard:
            child = min(state, key=lambda item: (state[item][0], self._busy[item], state[item][1]))
            self._busy[child] += 1
        try:
            yield child
        finally:
            with self._guard:
                self._busy[child] -= 1

    def _add(self, number: int) -> list[DeviceProcess]:
        """Have so many children; returns the new ones."""
        with self._guard:
            new = [
                DeviceProcess(self._models, self._inference, number=index, loaded=self._found)
                for index in range(len(self._children), 0 if self._closed else number)
            ]
            self._children += new
            self._busy |= dict.fromkeys(new, 0)
        return new

    def _found(self, gpus: int) -> None:
        """Take the other GPUs too, unless the number of children is configured."""
        if not self._inference.processes:
            for child in self._add(gpus):
                child.start()
