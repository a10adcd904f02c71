"""How much memory a child process has and may have, and how it ended, in words."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

#: What a process does until it is ready.
LOADING = "loading the models"
_SHARE_OF_MEMORY = 0.8


def resident_bytes(pid: int | None) -> int:
    """Memory of a process that is in use; 0 where the system does not tell."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def most_memory() -> int:
    """Most that a child may take where nothing is configured: not all that there is.

    What there is, is the machine's memory, or what a container or a unit of systemd is given of it.
    """
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(min(machine, *group_limits()) * _SHARE_OF_MEMORY)


def group_limits(
    membership: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")
) -> Iterator[int]:
    """Bytes that each control group of this process, and each above it, may use (cgroups(7)).

    Parameters
    ----------
    membership
        Says in which groups the process is.
    mount
        Where their hierarchies are mounted. A container may see its own group as their root.
    """
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:  # there are none on macOS
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            folder, name = mount, "memory.max"
        elif "memory" in controllers.split(","):
            folder, name = mount / "memory", "memory.limit_in_bytes"
        else:
            continue
        below = folder / path.lstrip("/")
        for group in (below, *below.parents):
            if group.is_relative_to(folder):
                yield from _limit(group / name)


def _limit(file: Path) -> Iterator[int]:
    try:
        limit = file.read_text(encoding="ascii").strip()
    except OSError:  # the root has none, and what is above a container is not seen
        return
    if limit.isdigit():  # and not "max"
        yield int(limit)


def how_it_ended(code: int | None) -> str:
    """Say in words what an exit code says, negative for a signal; ``None`` when it goes on."""
    if code is None:
        return "could not be ended"
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    cause = " (often a lack of memory)" if -code == signal.SIGKILL else ""
    return f"was ended by {name}{cause}"


def how_it_was_lost(
    code: int | None, work: str, outgrown_bytes: int = 0, expired_seconds: float = 0
) -> str:
    """Say in one sentence what became of a process during its work, and what to do.

    Parameters
    ----------
    code
        Its exit code, negative for a signal.
    outgrown_bytes, expired_seconds
        The limit that it was ended for; 0 where it was not.
    """
    process = "The process that runs the models"
    if outgrown_bytes:
        return (
            f"{process} took more than {outgrown_bytes >> 20} MiB of memory for {work} and was "
            "ended; raise inference.memory_mib if the machine has it."
        )
    if expired_seconds:
        advice = "raise inference.deadline_seconds if the machine is slow"
        if work == LOADING:
            advice = "look at the disk and the load of the machine"
        return f"{process} took more than {expired_seconds:g} s for {work} and was ended; {advice}."
    return (
        f"{process} {how_it_ended(code)} during {work}; "
        "try again, and look at memory and the log of this server if it happens again."
    )
