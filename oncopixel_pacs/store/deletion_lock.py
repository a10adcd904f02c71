"""The lock that deleting takes, and whoever needs every file to stay: one at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "deletion.lock"


@contextmanager
def deletion_lock(data_dir: Path) -> Iterator[None]:
    """Wait for the lock and hold it; it ends with the process, however that ends."""
    with (data_dir / NAME).open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
