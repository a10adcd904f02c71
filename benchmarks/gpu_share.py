"""The share of time in which a GPU works, as its driver tells it."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterable
from statistics import fmean
from types import TracebackType
from typing import Self

_QUERY = ("--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200")


class GpuShare:
    """Asks ``nvidia-smi`` five times a second, from entering to leaving.

    Parameters
    ----------
    tool
        Program to ask.
    """

    def __init__(self, tool: str = "nvidia-smi") -> None:
        self._tool = shutil.which(tool)
        self._asked: subprocess.Popen[str] | None = None
        self._reading = threading.Thread()
        self._seen: list[float] = []

    def __enter__(self) -> Self:
        """Begin to ask."""
        if self._tool is not None:
            self._asked = subprocess.Popen(  # noqa: S603 - the driver's tool, found on PATH
                [self._tool, *_QUERY], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            self._reading = threading.Thread(target=self._read, args=(self._asked.stdout,))
            self._reading.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ask no more."""
        if self._asked is not None:
            self._asked.terminate()
            self._asked.wait()
            self._reading.join()
            if self._asked.stdout is not None:
                self._asked.stdout.close()

    @property
    def share(self) -> float | None:
        """Mean over time and GPUs, 0 to 1; ``None`` where there is no GPU to ask about."""
        return fmean(self._seen) if self._seen else None

    def _read(self, lines: Iterable[str]) -> None:
        for line in lines:
            if line.strip().isdecimal():  # a driver that does not know says "[N/A]"
                self._seen.append(int(line) / 100)
