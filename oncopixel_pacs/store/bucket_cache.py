"""Keeps the files that a host has beside the bucket within a size."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from oncopixel_pacs.store.bucket import BucketFileStore

log = structlog.get_logger()

#: What was used so lately may be open, or about to be.
UNUSED_SECONDS = 900.0
#: To this part of the limit, so that not every new file lets an old one go.
_LOW_WATER = 0.9
_LEAVING = "leaving"
_FILES, _FOLDERS = ("instances", "results", "quarantine"), "labels"


@dataclass(frozen=True, slots=True)
class _Held:
    """A file, or the folder with the label maps of a job, which goes whole or not at all."""

    path: Path
    size_bytes: int
    used_at: float


def _held(path: Path) -> _Held:
    parts = [item.stat() for item in path.iterdir()] if path.is_dir() else []
    status = (path.stat(), *parts)
    size = sum(item.st_size for item in parts) if path.is_dir() else status[0].st_size
    return _Held(path, size, max(max(item.st_atime, item.st_mtime) for item in status))


@dataclass(frozen=True)
class BucketCache:
    """The data directory of a host that has a bucket.

    Parameters
    ----------
    most_bytes
        What it may hold. What was used in the last `UNUSED_SECONDS` stays all the same.
    now
        Tells the time as file systems do, in seconds.
    """

    files: BucketFileStore
    most_bytes: int
    now: Callable[[], float] = time.time

    def shrink(self, stopping: Callable[[], bool] = lambda: False) -> int:
        """Let go of what was not used for longest, if there is too much; returns how many bytes.

        Only what the bucket has goes.

        Raises
        ------
        OSError
            When the bucket or the disk does not answer.
        """
        held = sorted(self._held(), key=lambda item: item.used_at)
        size = sum(item.size_bytes for item in held)
        if size <= self.most_bytes:
            return 0
        surplus, freed = size - int(self.most_bytes * _LOW_WATER), 0
        for item in held:
            if freed >= surplus or stopping() or item.used_at > self.now() - UNUSED_SECONDS:
                break
            with suppress(FileNotFoundError):  # deleted by policy meanwhile
                freed += item.size_bytes if self._let_go(item) else 0
        log.info("cache.shrunk", freed_bytes=freed, held_bytes=size - freed)
        return freed

    def _held(self) -> Iterator[_Held]:
        root = self.files.data_dir
        files = (path for folder in _FILES for path in (root / folder).glob("*/*"))
        paths = [path for path in files if not path.is_symlink() and path.is_file()]
        for path in (*paths, *(root / _FOLDERS).glob("*")):
            with suppress(FileNotFoundError):  # deleted by policy meanwhile
                yield _held(path)

    def _let_go(self, held: _Held) -> bool:
        folder = held.path.is_dir()
        parts = sorted(held.path.iterdir()) if folder else [held.path]
        root = self.files.data_dir
        if not all(self.files.is_kept(str(part.relative_to(root))) for part in parts):
            log.warning("cache.not_in_bucket", path=str(held.path.relative_to(root)))
            return False
        if folder:
            # In one step: half of the maps of a job would pass for all of them.
            aside = root / _LEAVING
            shutil.rmtree(aside, ignore_errors=True)  # of a process that died here
            held.path.replace(aside)
            shutil.rmtree(aside)
        else:
            held.path.unlink()
        return True
