"""One process for each duty of a data directory: a second one is refused before it does harm."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import quote

import structlog

from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.store.ownership import give_to_owner

log = structlog.get_logger()

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def hold_duties(data_dir: Path, duties: Iterable[str], closing: ExitStack) -> None:
    """Hold a lock for each duty until `closing` ends it, or this process, however that ends.

    They are locks of fcntl(2), which children do not inherit. One that another machine holds, on
    a shared volume, is told in the log and no more: it may belong to a machine that died, whose
    locks some volumes keep.

    Parameters
    ----------
    duties
        Such as ``receive``.

    Raises
    ------
    ConfigurationError
        When a process of this machine holds one of them.
    """
    for duty in duties:
        path = data_dir / f"{quote(duty, safe='')}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        closing.callback(os.close, descriptor)
        give_to_owner(data_dir, path)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            _require_elsewhere(descriptor, data_dir, duty)
        except OSError:
            log.warning("duty.not_locked", duty=duty)  # a volume that knows no locks
        else:
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"{boot_id()} {os.getpid()}\n".encode(), 0)


def _require_elsewhere(descriptor: int, data_dir: Path, duty: str) -> None:
    boot, _, process = os.pread(descriptor, 200, 0).decode(errors="replace").partition(" ")
    if boot and boot != boot_id():
        log.warning("duty.held_elsewhere", duty=duty)
        return
    raise ConfigurationError(
        f"Another server (process {process.strip() or 'unknown'}) has {data_dir} and does the same "
        f"there ({duty}); stop it first, such as by systemctl stop oncopixel, or let it run."
    )


def boot_id() -> str:
    """Name this machine since it was started; empty where it has no such name."""
    with suppress(OSError):
        return _BOOT_ID.read_text("ascii").strip()
    return ""


def place_of(data_dir: Path) -> str:
    """Name this data directory on this machine; empty where that cannot be told."""
    known, where = boot_id(), data_dir.stat()
    return f"{known}:{where.st_dev}:{where.st_ino}:" if known else ""
