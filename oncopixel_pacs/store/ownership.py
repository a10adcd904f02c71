"""Whose files are: a command that root runs leaves the server nothing that it cannot write."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def give_to_owner(data_dir: Path, path: Path) -> None:
    """Give a file or folder that root has made to whom the data directory belongs."""
    if _is_roots(data_dir, path):
        owner = data_dir.stat()
        with suppress(FileNotFoundError):  # a server that runs moves files meanwhile
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def give_all_to_owner(data_dir: Path) -> None:
    """Give everything that root has made below the data directory to whom that belongs."""
    if os.geteuid() == 0 and data_dir.stat().st_uid != 0:
        for folder, names, files in os.walk(data_dir):
            for name in (*names, *files):
                give_to_owner(data_dir, Path(folder, name))


def give_new_to_owner(data_dir: Path) -> None:
    """Do the same where root has made something at the top, as whoever opens it first does."""
    if os.geteuid() == 0 and any(_is_roots(data_dir, path) for path in data_dir.iterdir()):
        give_all_to_owner(data_dir)


def _is_roots(data_dir: Path, path: Path) -> bool:
    """Whether only root may write what lies in somebody else's folder."""
    if os.geteuid() != 0 or data_dir.stat().st_uid == 0:
        return False
    with suppress(FileNotFoundError):
        return path.lstat().st_uid == 0
    return False
