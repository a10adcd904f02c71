"""How much room is left, and whether that is enough to take more in."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from oncopixel_pacs.errors import OutOfResources

_GIB = 1024**3
#: What was acknowledged needs files too: label maps, results, the log of the database.
_LEAST_FILES = 1000
_ADVICE = {
    errno.ENOSPC: "free space or inodes",
    errno.EDQUOT: "raise the quota or free space",
    errno.EROFS: "mount it so that it can be written",
    errno.EACCES: "correct its rights",
    errno.EPERM: "correct its rights",
    errno.EIO: "see what is wrong with the disk",
}


def disk_advice(exc: OSError) -> str:
    """Say what to do about a disk that refused."""
    return _ADVICE.get(exc.errno or 0, "see the disk of data_dir")


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write on the volume of a folder."""
    return shutil.disk_usage(folder).free


def free_files(folder: Path) -> int | None:
    """Files that this user may still make on the volume; ``None`` where it sets no number."""
    volume = os.statvfs(folder)
    return volume.f_favail if volume.f_files else None


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """The watermark of the data directory.

    What was acknowledged needs room too: results, the ledger and its log. So new objects are
    refused well before the disk is full, and taken again as soon as there is room.

    Attributes
    ----------
    least_bytes
        Below it nothing new is taken in; 0 never refuses.
    ask
        Tells the free bytes of the volume that a folder lies on.
    ask_files
        Tells how many files may still be made there; a watermark of 0 does not ask.
    """

    folder: Path
    least_bytes: int
    ask: Callable[[Path], int] = free_bytes
    ask_files: Callable[[Path], int | None] = free_files

    def require(self) -> int:
        """Return the free bytes.

        Raises
        ------
        OutOfResources
            When there are fewer than the watermark asks for, or the volume does not say.
        """
        try:
            free = self.ask(self.folder)
            files = self.ask_files(self.folder) if self.least_bytes else None
        except OSError as exc:
            raise OutOfResources(
                f"The data directory cannot be read ({exc.strerror or exc}); mount its volume."
            ) from exc
        if free < self.least_bytes:
            raise OutOfResources(
                f"Disk low: {free / _GIB:.1f} GiB free, {self.least_bytes / _GIB:.1f} GiB needed; "
                "new images are refused until there is room, so free space."
            )
        if files is not None and files < _LEAST_FILES:
            raise OutOfResources(
                f"Inodes low: {files} files can still be made, {_LEAST_FILES} are needed; new "
                "images are refused until then, so remove files or take a volume with more inodes."
            )
        return free

    def alarm(self) -> str:
        """Return why nothing new is taken in; empty while there is room."""
        try:
            self.require()
        except OutOfResources as exc:
            return str(exc)
        return ""
