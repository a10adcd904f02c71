"""How much room is left, and whether that is enough to take more in."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from oncopixel_pacs.errors import OutOfResources

_GIB = 1024**3


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write on the volume of a folder."""
    return shutil.disk_usage(folder).free


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
    """

    folder: Path
    least_bytes: int
    ask: Callable[[Path], int] = free_bytes

    def require(self) -> int:
        """Return the free bytes.

        Raises
        ------
        OutOfResources
            When there are fewer than the watermark asks for, or the volume does not say.
        """
        try:
            free = self.ask(self.folder)
        except OSError as exc:
            raise OutOfResources(
                f"The data directory cannot be read ({exc.strerror or exc}); mount its volume."
            ) from exc
        if free < self.least_bytes:
            raise OutOfResources(
                f"Disk low: {free / _GIB:.1f} GiB free, {self.least_bytes / _GIB:.1f} GiB needed; "
                "new images are refused until there is room, so free space."
            )
        return free

    def alarm(self) -> str:
        """Return why nothing new is taken in; empty while there is room."""
        try:
            self.require()
        except OutOfResources as exc:
            return str(exc)
        return ""
