"""Files on their way out: set aside by a rename, removed once no row promises them any more."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path


class SetAside:
    """The folder ``deleting`` below the data directory, on the same volume as all others.

    Every method raises `OSError` when the disk does not take it. Whoever calls holds the
    deletion lock.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._folder = data_dir / "deleting"

    def take(self, paths: Iterable[str]) -> None:
        """Move files and folders here, durably; what is gone already is left out.

        Parameters
        ----------
        paths
            Relative to the data directory.
        """
        parents = set()
        for path in paths:
            target = self._folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            source = self._data_dir / path
            with contextlib.suppress(FileNotFoundError):
                source.rename(target)
                parents |= {source.parent, target.parent}
        # Else a power loss could bring a file back whose row is gone, and it would be adopted.
        for parent in parents:
            _sync(parent)

    def held(self) -> Iterator[str]:
        """Path of every file that is set aside, relative to the data directory."""
        for path in sorted(self._folder.rglob("*")):
            if path.is_file():
                yield str(path.relative_to(self._folder))

    def bring_back(self, path: str) -> None:
        """Move a file to where it was, unless the same has come again."""
        target = self._data_dir / path
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            (self._folder / path).rename(target)
            _sync(target.parent)

    def remove(self) -> None:
        """Remove everything that is here."""
        if self._folder.is_dir():
            shutil.rmtree(self._folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
