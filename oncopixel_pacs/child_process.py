"""What processes of the server share: whom they belong to, how they use cores and memory."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
from collections.abc import Iterator

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def belong_to(parent_pid: int) -> None:
    """Leave the terminal's signals to the parent, and do not outlive it.

    Parameters
    ----------
    parent_pid
        As the parent knew itself when it started this process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:  # the parent died before the call
            os._exit(1)


def fill_closed_streams() -> None:
    """Put ``/dev/null`` in the place of standard streams that whoever started this has closed.

    Their numbers would go to the next files and connections that are opened, and what is written
    to standard output or error would go there; Python has no stream at all for them.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free: those below it are open by now.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


#: Threads of OpenMP sleep while they wait for one another. As it comes, GNU's library lets them
#: spin; where anything else wants a core, networks then take several times as long.
SHARED_CORES = {"OMP_WAIT_POLICY": "PASSIVE"}


def share_cores() -> None:
    """Let threads of networks leave the cores to others while they wait.

    To be called before torch is loaded. What the environment says already holds (OpenMP 5.2,
    section 21.7).
    """
    for name, value in SHARED_CORES.items():
        os.environ.setdefault(name, value)


#: mallopt(3) of GNU's C library: what may lie free at the end of the heap, and from which size on
#: memory is mapped for one purpose and given back after it.
_TRIM_THRESHOLD, _MAP_THRESHOLD = -1, -3
_KEPT_BYTES = 512 << 20


def keep_memory() -> None:
    """Let this process use memory again rather than give it back after each image.

    Networks and images take and free tens of megabytes at a time; every page that comes anew is
    cleared by the kernel first. Does nothing where the C library has no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_MAP_THRESHOLD, _KEPT_BYTES)


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Import modules while the collector rests.

    What they bring stays, and there is much of it; to look at it all again and again, as it grows,
    takes a fifth of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def usable_cores() -> int:
    """Cores that this process may use; those of a container rather than of its machine."""
    affinity = getattr(os, "sched_getaffinity", None)  # there is none on macOS
    return len(affinity(0)) if affinity else os.cpu_count() or 1
