"""Decoding in child processes: a codestream that crashes, hangs or hogs harms only its image."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pebble import ProcessExpired, ProcessPool
from pydicom.dataset import Dataset

from oncopixel_pacs.child_process import belong_to
from oncopixel_pacs.errors import UnreadableImage
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
        self._limits = limits
        self._pool = ProcessPool(
            workers,
            initializer=_confine,
            initargs=(os.getpid(), limits.memory_bytes),
            context=multiprocessing.get_context("spawn"),
        )

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
        self._pool.stop()
        self._pool.join()

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
        task = self._pool.schedule(
            _decode_file, args=(path, index, pixels), timeout=self._limits.seconds
        )
        try:
            done: _Decoded = task.result()
        except TimeoutError as exc:
            raise ValueError(
                f"decoding took more than {self._limits.seconds:g} seconds and was ended"
            ) from exc
        except MemoryError as exc:
            raise ValueError(
                "decoding needs more memory than one image may take "
                f"({self._limits.memory_bytes >> 20} MiB)"
            ) from exc
        except ProcessExpired as exc:
            raise ValueError("the codestream crashed its decoder") from exc
        return done


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
