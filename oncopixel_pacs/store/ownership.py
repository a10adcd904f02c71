"""Whose files are: a command that root runs leaves the server nothing that it cannot write."""

from __future__ import annotations

import os
from pathlib import Path


def give_to_owner(data_dir: Path, path: Path) -> None:
    """Give a file or folder that root has made to whom the data directory belongs."""
    owner = data_dir.stat()
    if os.geteuid() == 0 and owner.st_uid != 0 and path.lstat().st_uid == 0:
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def give_all_to_owner(data_dir: Path) -> None:
    """Give everything that root has made below the data directory to whom that belongs."""
    if os.geteuid() == 0 and data_dir.stat().st_uid != 0:
        for path in data_dir.rglob("*"):
            give_to_owner(data_dir, path)


def give_new_to_owner(data_dir: Path) -> None:
    """Do the same where root has made something at the top, as whoever opens it first does."""
    if any(path.lstat().st_uid == 0 for path in data_dir.iterdir()):
        give_all_to_owner(data_dir)
