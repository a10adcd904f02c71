"""How much memory a child process has and may have, and how it ended, in words."""

from __future__ import annotations

import os
import signal
from pathlib import Path

_SHARE_OF_MEMORY = 0.8


def resident_bytes(pid: int | None) -> int:
    """Memory of a process that is in use; 0 where the system does not tell."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def most_memory() -> int:
    """Most that a child may take where nothing is configured: not all that the machine has."""
    return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * _SHARE_OF_MEMORY)


def how_it_ended(code: int | None) -> str:
    """Say in words what an exit code says, negative for a signal; ``None`` when it goes on."""
    if code is None:
        return "could not be ended"
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    cause = " (often a lack of memory)" if -code == signal.SIGKILL else ""
    return f"was ended by {name}{cause}"
