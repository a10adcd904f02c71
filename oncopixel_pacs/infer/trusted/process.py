"""The process of one trusted bundle, from outside: started when needed, ended when it hangs.

It is given pixels and nothing else of an image, in an environment without variables, and can
reach neither the network nor other files than its own copy of the bundle; see `confinement`.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, TypeAdapter, ValidationError

import oncopixel_pacs
from oncopixel_pacs.child_process import SHARED_CORES
from oncopixel_pacs.errors import AnalysisFailed, ModelRefused
from oncopixel_pacs.infer.child_limits import how_it_ended, resident_bytes
from oncopixel_pacs.infer.trusted.confinement import NotConfinable, require_confinable
from oncopixel_pacs.infer.trusted.manifest import copy_pinned
from oncopixel_pacs.infer.trusted.messages import MAX_ANSWER_BYTES, write_all, write_message
from oncopixel_pacs.settings import ModelSettings, TrustedSettings

_LOAD_SECONDS = 120.0  # includes importing torch from a cold, busy disk
_LOOK_SECONDS = 0.25
_REAP_SECONDS = 10.0
_PREFIX = "oncopixel-trusted-"
_FRESH_SECONDS = 60.0
_PACKAGE = Path(oncopixel_pacs.__file__).parent
_START = (
    "import sys; sys.path.insert(0, {root!r}); "
    "from oncopixel_pacs.infer.trusted.child import main; main()"
)


class _Answer(BaseModel):
    error: str = ""
    shape: tuple[int, ...] = ()
    values: tuple[float, ...] = ()


_ANSWER = TypeAdapter(_Answer)


class _Ended(Exception):
    """The process is gone or was ended; says why, in half a sentence."""


@dataclass
class TrustedProcess:
    """One bundle in a process of its own, which is started again after it was ended.

    Parameters
    ----------
    model, trusted
        The bundle, its pins and its limits.
    keys
        Names of the input and of the output in the bundle's metadata.
    threads
        CPU threads that it may use.
    """

    model: ModelSettings
    trusted: TrustedSettings
    keys: tuple[str, str]
    threads: int = 1
    _child: subprocess.Popen[bytes] | None = None
    _closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def start(self) -> None:
        """Start the process and load the bundle in it, unless that is done.

        Raises
        ------
        ModelRefused
            When the bundle is not the pinned one, this machine cannot shut it in, or it does
            not load.
        """
        if self._child is not None and self._child.poll() is None:
            return
        self.close()
        name = self.model.name
        try:
            require_confinable()
            self._begin()
            answer = self._listen(_LOAD_SECONDS, "loading")
        except NotConfinable as exc:
            raise ModelRefused(f"Model {name} is trusted but cannot be run: {exc}.") from exc
        except OSError as exc:
            self.close()
            raise ModelRefused(
                f"Model {name}: its process cannot be started ({exc.strerror}); look at space, "
                "memory and the number of processes."
            ) from exc
        except _Ended as exc:
            self.close()
            raise ModelRefused(f"Model {name}: its process {exc}.") from exc
        if answer.error:
            self.close()
            raise ModelRefused(
                f"Model {name} does not load as a trusted bundle: {answer.error}; correct the "
                "bundle and add it again."
            )

    def ask(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give the bundle one image.

        Parameters
        ----------
        pixels
            float32 ``(channels, rows, columns)`` in [0, 1].

        Returns
        -------
        ndarray
            float32, as many dimensions as its answer has beside those of size 1.

        Raises
        ------
        AnalysisFailed
            When there is no usable answer; permanent when the bundle said why.
        """
        try:
            self.start()
        except ModelRefused as exc:
            raise AnalysisFailed(str(exc)) from exc
        name, limit = self.model.name, self.trusted.seconds_per_image
        try:
            answer = self._exchange(np.ascontiguousarray(pixels, dtype=np.float32), limit)
        except _Ended as exc:
            self.close()
            raise AnalysisFailed(
                f"Model {name} gave no answer: its process {exc}; the next image finds a new one."
            ) from exc
        if answer.error:
            raise AnalysisFailed(
                f"Model {name} failed with this image: {answer.error}; report it to who made the "
                "model.",
                permanent=True,
            )
        if math.prod(answer.shape) != len(answer.values):
            raise AnalysisFailed(
                f"Model {name} answered with shape {answer.shape}, which is far too large; "
                "correct the bundle.",
                permanent=True,
            )
        return np.array(answer.values, dtype=np.float32).reshape(answer.shape)

    def close(self) -> None:
        """End the process and remove its files."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait(_REAP_SECONDS)
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()
        self._closing.close()

    def _begin(self) -> None:
        _sweep()
        folder = self._closing.enter_context(_own_folder())
        bundle, scratch = folder / "bundle", folder / "scratch"
        scratch.mkdir()
        copy_pinned(self.model, self.trusted, bundle)
        # -I: no variable, no folder of the user and no working folder has a say in what is run.
        self._child = subprocess.Popen(  # noqa: S603 - our own interpreter, our own words
            [sys.executable, "-I", "-B", "-c", _START.format(root=str(_PACKAGE.parent))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd=scratch,
            env=_environment(scratch),
            start_new_session=True,
        )
        order = {
            "parent": os.getpid(),
            "bundle": str(bundle),
            "scratch": str(scratch),
            "readable": [str(_PACKAGE), str(bundle)],
            "memory_bytes": self.trusted.memory_mib << 20,
            "threads": self.threads,
            "input_key": self.keys[0],
            "output_key": self.keys[1],
            "activation": self.trusted.activation,
        }
        self._tell(order)

    def _tell(self, content: Mapping[str, Any], pixels: NDArray[np.float32] | None = None) -> None:
        child = self._child
        assert child is not None and child.stdin is not None  # noqa: S101 - started just before
        try:
            write_message(child.stdin.fileno(), content)
            if pixels is not None:
                write_all(child.stdin.fileno(), pixels.tobytes())
        except BrokenPipeError:
            return  # what became of it is said when the answer is read

    def _exchange(self, pixels: NDArray[np.float32], limit_seconds: float) -> _Answer:
        # The process reads all of an image before it does anything, so writing does not hang
        # unless it was stopped; then the deadline of the study ends it.
        self._tell({"shape": list(pixels.shape)}, pixels)
        return self._listen(limit_seconds, "the image")

    def _listen(self, limit_seconds: float, work: str) -> _Answer:
        """Read one answer, within a time and a size, from a process that may do anything."""
        until = time.monotonic() + limit_seconds
        (size,) = struct.unpack(">I", self._read(4, until, limit_seconds, work))
        if size > MAX_ANSWER_BYTES:
            raise _Ended("answered far too much and was ended")
        try:
            return _ANSWER.validate_json(self._read(size, until, limit_seconds, work))
        except ValidationError as exc:
            raise _Ended("answered something else than numbers and was ended") from exc

    def _read(self, size: int, until: float, limit_seconds: float, work: str) -> bytes:
        child = self._child
        assert child is not None and child.stdout is not None  # noqa: S101 - started before
        content = b""
        while len(content) < size:
            ready, _, _ = select.select([child.stdout], [], [], _LOOK_SECONDS)
            if resident_bytes(child.pid) > self.trusted.memory_mib << 20:
                raise _Ended(
                    f"took more than {self.trusted.memory_mib} MiB of memory and was ended; raise "
                    "trusted.memory_mib of the model if the machine has it"
                )
            if ready:
                part = os.read(child.stdout.fileno(), size - len(content))
                if not part:
                    code = child.wait(_REAP_SECONDS)
                    raise _Ended(f"{how_it_ended(code)} during {work}")
                content += part
            elif time.monotonic() > until:
                raise _Ended(
                    f"took more than {limit_seconds:g} s for {work} and was ended; raise "
                    "trusted.seconds_per_image of the model if the machine is slow"
                )
        return content


def _environment(scratch: Path) -> dict[str, str]:
    """Give what libraries ask for, and nothing of ours."""
    named = dict.fromkeys(("LOGNAME", "USER"), "bundle")
    named |= dict.fromkeys(("HOME", "TMPDIR"), str(scratch)) | {"LANG": "C.UTF-8"}
    return named | SHARED_CORES


@contextlib.contextmanager
def _own_folder() -> Iterator[Path]:
    """Make a folder that is removed at the end, or by `_sweep` when this process is killed."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _sweep() -> None:
    """Remove folders of processes that were killed: nobody holds their lock."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue  # another is removing it, or it is not ours
        try:
            if time.time() - os.fstat(handle).st_mtime < _FRESH_SECONDS:
                continue  # it may just have been made, and not yet be locked
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(handle)
