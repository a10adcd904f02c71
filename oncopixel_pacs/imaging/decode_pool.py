"""Decoding in child processes: a codestream that crashes, hangs or hogs harms only its image."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import threading
import warnings
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import structlog
from numpy.typing import NDArray
from pebble import ProcessExpired, ProcessPool
from pydicom.dataset import Dataset

from oncopixel_pacs.child_process import belong_to
from oncopixel_pacs.errors import OutOfResources, UnreadableImage
from oncopixel_pacs.imaging.codecs import decode, is_compressed
from oncopixel_pacs.imaging.frames import read_object


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What decoding one frame may take.

    Attributes
    ----------
    memory_bytes
        Address space of the child beyond what it has at its start.
    """

    seconds: float = 30.0
    memory_bytes: int = 3 << 30


DEFAULT_LIMITS = DecodeLimits()

#: An image whose decoder is lost by no fault of its own is decoded again, so many times in all.
_ATTEMPTS = 3
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Decoded:
    """Where a child has left the pixels, or why there are none."""

    shape: tuple[int, ...] = ()
    dtype: str = ""
    fault: str = ""


class DecodePool:
    """Decodes compressed frames in child processes; any thread may call it.

    Parameters
    ----------
    workers
        Frames that are decoded at a time. Children start when they are needed.
    """

    def __init__(self, workers: int = 1, limits: DecodeLimits = DEFAULT_LIMITS) -> None:
        self._workers = workers
        self._limits = limits
        self._guard = threading.Lock()
        # A child ends with the thread that started it (prctl(2), PR_SET_PDEATHSIG); callers'
        # threads come and go.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="decoders")
        self._pool: ProcessPool | None = None
        self._closed = False

    def __call__(self, dataset: Dataset, path: Path, index: int = 0) -> NDArray[Any]:
        """Decode one frame, as `codecs.decode` does.

        What is not compressed needs no decoder and is taken from `dataset` here and now.

        Parameters
        ----------
        dataset
            The image, with ``file_meta``.
        path
            Its Part 10 file.

        Raises
        ------
        ValueError, and what `codecs.decode` raises
            When the frame is damaged, or takes more memory or time than the limits allow.
        OutOfResources
            When decoders cannot be started or are ended from outside, again and again, which
            says nothing about the image; or the pool is closed.
        OSError
            When the file cannot be read.
        """
        if not is_compressed(dataset.file_meta.TransferSyntaxUID):
            return decode(dataset, index)
        with tempfile.TemporaryDirectory(prefix="oncopixel-", dir=_scratch()) as folder:
            pixels = Path(folder) / "pixels"
            done = self._answer(path, index, pixels)
            if done.fault:
                raise ValueError(done.fault)
            return np.fromfile(pixels, done.dtype).reshape(done.shape)

    def close(self) -> None:
        """End the children; frames that are being decoded fail."""
        with self._guard:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            _end(pool)
        self._starter.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _answer(self, path: Path, index: int, pixels: Path) -> _Decoded:
        pool: ProcessPool | None = None
        lost: ProcessPool | None = None
        for _ in range(_ATTEMPTS):
            try:
                pool = self._running(lost)
                return self._ask(pool, path, index, pixels)
            except ProcessExpired as exc:
                # No codestream does that; the kernel does, when memory is short.
                if exc.exitcode != -signal.SIGKILL:
                    raise ValueError("the codestream crashed its decoder") from exc
            except (RuntimeError, CancelledError):  # of the pool: what is decoded raises neither
                lost = pool
        raise OutOfResources(
            "The processes that decode images do not stay alive; look at memory, the number of "
            "processes and the log."
        )

    def _running(self, lost: ProcessPool | None) -> ProcessPool:
        """Give the pool, a new one in place of one that is lost."""
        with self._guard:
            if self._closed:
                raise OutOfResources("The server is being stopped; ask again later.")
            if self._pool is not None and self._pool is lost:
                structlog.get_logger().warning("decoders.lost")
                self._pool = None
                _end(lost)
            if self._pool is None:
                self._pool = self._starter.submit(self._begin).result()
            return self._pool

    def _begin(self) -> ProcessPool:
        pool = ProcessPool(
            self._workers,
            initializer=_confine,
            initargs=(os.getpid(), self._limits.memory_bytes),
            context=multiprocessing.get_context("spawn"),
        )
        try:
            _ = pool.active  # starts the children, here and now
        except RuntimeError:
            _end(pool)
            raise
        return pool

    def _ask(self, pool: ProcessPool, path: Path, index: int, pixels: Path) -> _Decoded:
        task = pool.schedule(_decode_file, args=(path, index, pixels), timeout=self._limits.seconds)
        while not wait([task], _LOOK_SECONDS).done:
            # What is asked of a pool while it breaks may stay in its queue for ever.
            if not pool.active and not task.done():
                raise BrokenProcessPool
        try:
            done: _Decoded = task.result()
        except TimeoutError as exc:
            raise ValueError(
                f"decoding took more than {self._limits.seconds:g} seconds and was ended"
            ) from exc
        except MemoryError as exc:
            raise ValueError("decoding needs more memory than one image may take") from exc
        return done


def _end(pool: ProcessPool) -> None:
    pool.stop()
    pool.join()


def _scratch() -> str | None:
    """Memory rather than disk, where the system offers it: the pixels stay for a moment."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108


def _decode_file(path: Path, index: int, pixels: Path) -> _Decoded:
    """Run in the child. Foreign exceptions stay here; they may not survive the way back."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # Of a volume no more than this frame is read.
            decoded = decode(read_object(path).single(index))
        except (MemoryError, OSError):
            raise
        except UnreadableImage as exc:
            return _Decoded(fault=exc.detail or exc.reason.sentence)
        except Exception as exc:  # whatever a codestream provokes is a word on this image
            return _Decoded(fault=str(exc) or type(exc).__name__)
    decoded.tofile(pixels)
    return _Decoded(decoded.shape, decoded.dtype.str)


def _confine(parent_pid: int, memory_bytes: int) -> None:
    """Run at the start of the child."""
    belong_to(parent_pid)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
