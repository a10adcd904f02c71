"""The file of one data set that is being received."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from oncopixel_pacs.errors import IntakeRefused, OutOfResources
from oncopixel_pacs.store.free_space import FreeSpace

#: What is kept of the beginning, so that most headers are read without the disk.
BEGINNING_BYTES = 64 << 10
#: The disk begins to write after so many bytes, so that little is left for the final sync.
_WRITEBACK_BYTES = 4 << 20
_MOST_VECTORS = 512


@dataclass(frozen=True, slots=True)
class Received:
    """A complete Part 10 file, on its way to its place.

    Attributes
    ----------
    descriptor
        The open file, to sync it by.
    offset
        Position of the data set in the file.
    size
        Bytes of the whole file.
    sha256
        Hex digest of the data set.
    beginning
        First bytes of the data set, or all of it.
    """

    path: Path
    descriptor: int
    offset: int
    size: int
    sha256: str
    beginning: bytes


class Spool:
    """Takes pieces of a data set, writes and digests them.

    Its first `OSError`, one byte too many, or a volume without room from the start is kept for
    the answer; what follows is read from the network and dropped, so that the sender gets a
    status and not a broken line.

    Parameters
    ----------
    head
        What stands in the file before the data set.
    refused
        Why the object is refused already; nothing is written then.
    """

    def __init__(
        self,
        space: FreeSpace,
        limit_bytes: int,
        head: bytes = b"",
        refused: IntakeRefused | None = None,
    ) -> None:
        self.name = ""
        self.error = refused
        self._limit = limit_bytes
        self._head = head
        self._offset = len(head)
        self._size = 0
        self._written_back = 0
        self._pending: list[memoryview] = []
        self._digest = hashlib.sha256()
        self._beginning = b""
        self._descriptor = -1
        if refused is not None:
            return
        try:
            space.require()
            self._descriptor, self.name = tempfile.mkstemp(dir=space.folder, suffix=".part")
        except OutOfResources as exc:
            self.error = exc
        except OSError as exc:
            self._fail(exc)

    def add(self, piece: memoryview) -> None:
        """Append bytes, unless something went wrong before; they must last until `flush`."""
        if self.error is not None:
            return
        self._size += len(piece)
        if self._size > self._limit:
            self.error = OutOfResources(
                f"The object is larger than {self._limit >> 20} MiB, the most this server takes."
            )
            self._pending.clear()
            return
        self._pending.append(piece)

    def flush(self) -> None:
        """Write what was added."""
        pieces, self._pending = self._pending, []
        head, self._head = self._head, b""
        if self.error is not None:
            return
        try:
            _write_all(self._descriptor, [head, *pieces] if head else pieces)
            self._write_back()
        except OSError as exc:
            self._fail(exc)
            return
        for piece in pieces:
            self._digest.update(piece)
            if len(self._beginning) < BEGINNING_BYTES:
                self._beginning += piece[: BEGINNING_BYTES - len(self._beginning)]

    def complete(self) -> Received:
        """Return the file, all of it written.

        Raises
        ------
        IntakeRefused
            What went wrong.
        """
        self.flush()
        if self.error is not None:
            raise self.error
        return Received(
            path=Path(self.name),
            descriptor=self._descriptor,
            offset=self._offset,
            size=self._offset + self._size,
            sha256=self._digest.hexdigest(),
            beginning=self._beginning,
        )

    def discard(self) -> None:
        """Close, and remove the file if it is still here; it is not when it was kept."""
        self._pending.clear()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            with suppress(OSError):
                os.unlink(self.name)

    def _write_back(self) -> None:
        fresh = self._size - self._written_back
        if fresh >= _WRITEBACK_BYTES and hasattr(os, "posix_fadvise"):
            # Dirty pages cannot be dropped, so Linux starts to write them and does not wait.
            os.posix_fadvise(self._descriptor, self._written_back, fresh, os.POSIX_FADV_DONTNEED)
            self._written_back = self._size

    def _fail(self, exc: OSError) -> None:
        self._pending.clear()
        self.error = OutOfResources(
            f"The disk does not take the object ({exc.strerror}); free space, then send again."
        )


def _write_all(descriptor: int, pieces: Sequence[bytes | memoryview]) -> None:
    for begin in range(0, len(pieces), _MOST_VECTORS):
        some = pieces[begin : begin + _MOST_VECTORS]
        written = os.writev(descriptor, some)
        rest = sum(map(len, some)) - written
        if rest:  # a full disk takes what fits, and says so at the next write
            tail = memoryview(b"".join(some))[-rest:]
            while tail:
                tail = tail[os.write(descriptor, tail) :]
