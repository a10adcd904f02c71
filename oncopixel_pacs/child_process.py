"""What child processes of the server share: whom they belong to, and how many cores there are."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

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


def usable_cores() -> int:
    """Cores that this process may use; those of a container rather than of its machine."""
    affinity = getattr(os, "sched_getaffinity", None)  # there is none on macOS
    return len(affinity(0)) if affinity else os.cpu_count() or 1
