"""Files written once, from the beginning to the end, past the page cache where that can be.

An image is written when it arrives and read minutes later, if ever. To copy it into the page
cache first costs more processor time than everything else that is done with it, pushes out
what is read often, and leaves the whole file for the final sync.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import secrets
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path

#: What buffers, lengths and positions are multiples of: the page, and any disk's block.
BLOCK_BYTES = 4096
#: One write; of four shorter ones each costs nearly as much.
CHUNK_BYTES = 2 << 20
#: From here on to wait for the disk costs less than to copy into the page cache.
_LEAST_DIRECT_BYTES = 512 << 10
_DIRECT: int = getattr(os, "O_DIRECT", 0)


class ChunkPool:
    """Buffers that a disk can be written from; used again and again.

    Attributes
    ----------
    one_beside
        Held for the object that a second thread writes.

    Parameters
    ----------
    most_idle
        How many are kept for later.
    """

    def __init__(self, most_idle: int = 12) -> None:
        self._most_idle = most_idle
        self.one_beside = threading.Lock()
        self._idle: deque[memoryview] = deque()

    def take(self) -> memoryview:
        """Return a buffer of `CHUNK_BYTES` that begins at a page."""
        with suppress(IndexError):
            return self._idle.pop()
        return memoryview(mmap.mmap(-1, CHUNK_BYTES))

    def give_back(self, chunk: memoryview) -> None:
        """Let someone else use a buffer."""
        if len(self._idle) < self._most_idle:
            self._idle.append(chunk)


class DirectFile:
    """A new file with a name of its own.

    What comes by `append` goes past the page cache. What `finish` alone writes does not when it
    is short: to copy a few pages costs less than to wait for the disk once more before the sync.

    Every method raises `OSError` when the disk does not take it.
    """

    def __init__(self, folder: Path, suffix: str) -> None:
        self.path = folder / f"{secrets.token_hex(8)}{suffix}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self.descriptor = os.open(self.path, flags, 0o600)
        self._is_direct = False
        self._is_begun = False

    def append(self, content: memoryview) -> None:
        """Write what follows, whole blocks from a buffer of `ChunkPool`."""
        self._begin()
        self._write(content)

    def finish(self, content: memoryview) -> None:
        """Write the end, of any length, from a buffer of `ChunkPool`."""
        whole = 0
        if len(content) > _LEAST_DIRECT_BYTES:
            self._begin()
        if self._is_direct:
            whole = len(content) - len(content) % BLOCK_BYTES
            self._write(content[:whole])
        if whole < len(content):
            self._go_through_cache()
            self._write(content[whole:])
            leave_page_cache(self.descriptor)

    def close(self) -> None:
        """Close it; not more than once."""
        os.close(self.descriptor)

    def _write(self, content: memoryview) -> None:
        while content:
            try:
                written = os.write(self.descriptor, content)
            except OSError as exc:
                if exc.errno != errno.EINVAL or not self._is_direct:
                    raise
                self._go_through_cache()
                continue
            content = content[written:]
            if content and written % BLOCK_BYTES:
                self._go_through_cache()

    def _begin(self) -> None:
        if not self._is_begun:
            self._is_begun = True
            self._go_past_cache()

    def _go_past_cache(self) -> None:
        # A file system that knows the page cache alone, such as an older tmpfs, says EINVAL.
        with suppress(OSError):
            flags = fcntl.fcntl(self.descriptor, fcntl.F_GETFL)
            fcntl.fcntl(self.descriptor, fcntl.F_SETFL, flags | _DIRECT)
            self._is_direct = bool(_DIRECT)

    def _go_through_cache(self) -> None:
        if self._is_direct:
            flags = fcntl.fcntl(self.descriptor, fcntl.F_GETFL)
            fcntl.fcntl(self.descriptor, fcntl.F_SETFL, flags & ~_DIRECT)
            self._is_direct = False


def leave_page_cache(descriptor: int) -> None:
    """Have the pages of a file written that are not yet, and forget those that are.

    A sync that follows finds less to do. What is synced is read minutes later, if ever; the next
    file is written into its pages, which costs a third of what fresh memory does.
    """
    if hasattr(os, "posix_fadvise"):  # there is none on macOS
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
