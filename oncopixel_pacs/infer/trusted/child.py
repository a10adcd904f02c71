"""What runs in the process of a trusted bundle: shut itself in, then answer image by image.

It is started with an empty environment, in its scratch folder, with two pipes and nothing else.
Until it is shut in, it imports the standard library alone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import sysconfig
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oncopixel_pacs.infer.trusted.confinement import (
    NotConfinable,
    limit_resources,
    restrict_calls,
    restrict_files,
)
from oncopixel_pacs.infer.trusted.messages import read_exactly, read_message, write_message

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
#: What numpy, torch and the C library look at beside their own files.
_OF_THE_SYSTEM = (
    "/usr",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
    "/dev/null",
    "/dev/urandom",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/kernel/mm/transparent_hugepage",
)
_MOST_WORDS = 300


def main() -> None:
    """Serve until the other end is closed."""
    # Whatever the bundle prints goes nowhere, and cannot be taken for an answer.
    asked, answers = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for pipe in (0, 1, 2):
        os.dup2(nowhere, pipe)
    order = read_message(asked)
    _belong_to(order["parent"])
    try:
        _shut_in(order)
    except (NotConfinable, OSError) as exc:
        write_message(answers, {"error": f"it cannot be shut in: {exc}"})
        return
    _serve(asked, answers, order)


def _shut_in(order: Mapping[str, Any]) -> None:
    limit_resources(order["memory_bytes"])
    paths = sysconfig.get_paths()
    own = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    own += [sys.prefix, sys.base_prefix, *order["readable"]]
    restrict_files([Path(item) for item in (*_OF_THE_SYSTEM, *own)], Path(order["scratch"]))
    restrict_calls()


def _serve(asked: int, answers: int, order: Mapping[str, Any]) -> None:
    try:
        from oncopixel_pacs.infer.trusted.runner import load

        run = load(order)
    except BaseException as exc:  # whatever a stranger's code raises, it is told
        write_message(answers, {"error": said_of(exc, order["bundle"])})
        return
    write_message(answers, {})
    while True:
        try:
            shape = read_message(asked)["shape"]
            pixels = read_exactly(asked, 4 * shape[0] * shape[1] * shape[2])
        except EOFError:
            return
        try:
            answer: Mapping[str, Any] = run(shape, pixels)
        except BaseException as exc:
            answer = {"error": said_of(exc, order["bundle"])}
        write_message(answers, answer)


def said_of(error: BaseException, bundle: str) -> str:
    """Say in half a sentence what was raised, and where in the bundle, if it was there."""
    causes = [error]
    while causes[-1].__cause__ is not None and len(causes) < 5:
        causes.append(causes[-1].__cause__)
    frames = [frame for one in causes for frame in traceback.extract_tb(one.__traceback__)]
    inside = [frame for frame in frames if frame.filename.startswith(bundle)]
    place = ""
    if inside:
        path = os.path.relpath(inside[-1].filename, bundle)
        place = f" at {path}:{inside[-1].lineno}"
    said = str(causes[-1])
    if not said and isinstance(causes[-1], MemoryError):
        said = "it asked for more than memory_mib lets it have"
    words = " ".join(f"{type(causes[-1]).__name__}{': ' if said else ''}{said}".split())
    return f"{words[:_MOST_WORDS].rstrip('.')}{place}"


def _belong_to(parent_pid: int) -> None:
    """Do not outlive the process that started this one."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)
