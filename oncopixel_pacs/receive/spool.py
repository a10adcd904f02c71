"""The file of one data set that is being received."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from oncopixel_pacs.digests import DatasetDigest
from oncopixel_pacs.errors import IntakeRefused, OutOfResources
from oncopixel_pacs.receive.shared_processor import run_anywhere
from oncopixel_pacs.store.direct_file import CHUNK_BYTES, ChunkPool, DirectFile
from oncopixel_pacs.store.free_space import FreeSpace, disk_advice

#: What is kept of the beginning, so that most headers are read without the disk.
BEGINNING_BYTES = 64 << 10
#: Buffers of one large object: one is filled, one written, and one is on its way.
_CHUNKS = 3


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
    digest
        Of the data set, as it is stored (`digests`).
    beginning
        First bytes of the data set, or all of it.
    """

    path: Path
    descriptor: int
    offset: int
    size: int
    digest: str
    beginning: bytes


class Spool:
    """Takes pieces of a data set, writes and digests them.

    What fits into one buffer is written at the end, by the thread that receives it. Of a larger
    object one buffer is filled and digested while a second thread writes another; but only one
    object at a time has a second thread: where several arrive, the processors have enough to do.

    Its first `OSError`, one byte too many, or a volume without room from the start is kept for
    the answer; what follows is read from the network and dropped, so that the sender gets a
    status and not a broken line.

    Parameters
    ----------
    head
        What stands in the file before the data set; at most one block.
    refused
        Why the object is refused already; nothing is written then.
    """

    def __init__(
        self,
        space: FreeSpace,
        pool: ChunkPool,
        limit_bytes: int,
        head: bytes = b"",
        refused: IntakeRefused | None = None,
    ) -> None:
        self.error = refused
        #: Whether the file lies under another name by now.
        self.is_kept = False
        self._pool = pool
        self._limit = limit_bytes
        self._offset = len(head)
        self._size = 0
        self._beginning = b""
        self._file: DirectFile | None = None
        self._writer: _InTurn | None = None
        self._chunk: memoryview | None = None
        self._filled = self._offset
        if refused is not None:
            return
        try:
            space.require()
            self._file = DirectFile(space.folder, ".part")
        except OutOfResources as exc:
            self.error = exc
        except OSError as exc:
            self._fail(exc)
        else:
            self._chunk = pool.take()
            self._chunk[: len(head)] = head

    def add(self, piece: memoryview) -> None:
        """Append bytes, unless something went wrong before."""
        if self.error is not None:
            return
        self._size += len(piece)
        if self._size > self._limit:
            self.error = OutOfResources(
                f"The object is larger than {self._limit >> 20} MiB, the most this server takes."
            )
        while piece and self.error is None and self._chunk is not None:
            count = min(len(piece), CHUNK_BYTES - self._filled)
            self._chunk[self._filled : self._filled + count] = piece[:count]
            self._filled += count
            piece = piece[count:]
            if self._filled == CHUNK_BYTES:
                self._hand_on()

    def complete(self) -> Received:
        """Return the file, all of it written.

        Raises
        ------
        IntakeRefused
            What went wrong.
        """
        digest = self._finished()
        if self.error is not None:
            raise self.error
        if self._file is None or digest is None:
            raise OutOfResources("The object was not written; send it again.")
        return Received(
            path=self._file.path,
            descriptor=self._file.descriptor,
            offset=self._offset,
            size=self._offset + self._size,
            digest=digest,
            beginning=self._beginning,
        )

    def discard(self) -> None:
        """Close, and remove the file if it is still here; it is not when it was kept."""
        if self._writer is not None:
            self._writer.stop()
            self._writer = None
        if self._chunk is not None:
            self._pool.give_back(self._chunk)
            self._chunk = None
        if self._file is not None:
            file, self._file = self._file, None
            file.close()
            if not self.is_kept:
                with suppress(OSError):
                    os.unlink(file.path)

    def _hand_on(self) -> None:
        """Give a full buffer to the writer, and go on with an empty one."""
        if self._file is None or self._chunk is None:
            return
        # To digest and to write a large object takes whole processors, and not the interpreter.
        run_anywhere()
        if self._writer is None:
            self._beginning = self._first_bytes(self._chunk)
            if self._pool.one_beside.acquire(blocking=False):
                self._writer = _Beside(self._file, self._offset, self._pool)
            else:
                self._writer = _InTurn(self._file, self._offset)
        chunk, self._chunk = self._chunk, None
        self._chunk = self._writer.exchange(chunk)
        self._filled = 0
        if self._writer.error is not None:
            self._fail(self._writer.error)

    def _finished(self) -> str | None:
        """Write what is left; the digest, or ``None`` when it failed before or now."""
        if self.error is not None or self._file is None or self._chunk is None:
            return None
        rest = self._chunk[: self._filled]
        try:
            if self._writer is not None:
                return self._writer.finish(rest)
            self._beginning = self._first_bytes(rest)
            digest = DatasetDigest(rest[self._offset :])
            self._file.finish(rest)
        except OSError as exc:
            self._fail(exc)
            return None
        return digest.text()

    def _first_bytes(self, chunk: memoryview) -> bytes:
        return bytes(chunk[self._offset : self._offset + BEGINNING_BYTES])

    def _fail(self, exc: OSError) -> None:
        self.error = OutOfResources(
            f"The disk does not take the object ({exc.strerror}); {disk_advice(exc)}."
        )


class _InTurn:
    """Digests full buffers and writes them where they were filled."""

    def __init__(self, file: DirectFile, offset: int) -> None:
        self.error: OSError | None = None
        self._file = file
        self._offset = offset
        self._digest = DatasetDigest()

    def exchange(self, chunk: memoryview) -> memoryview:
        """Take a full buffer and return an empty one."""
        self._add(chunk)
        self._append(chunk)
        return chunk

    def finish(self, rest: memoryview) -> str:
        """Write the last bytes and return the digest of the data set.

        Raises
        ------
        OSError
            When any write failed.
        """
        self.stop()
        if self.error is not None:
            raise self.error
        self._digest.update(rest)
        self._file.finish(rest)
        return self._digest.text()

    def stop(self) -> None:
        """Wait until everything is written; more than once is no harm."""

    def _add(self, chunk: memoryview) -> None:
        self._digest.update(chunk[self._offset :])
        self._offset = 0

    def _append(self, chunk: memoryview) -> None:
        if self.error is None:
            try:
                self._file.append(chunk)
            except OSError as exc:
                self.error = exc


class _Beside(_InTurn):
    """The same, but a thread of its own writes while the next buffer is filled and digested."""

    def __init__(self, file: DirectFile, offset: int, pool: ChunkPool) -> None:
        super().__init__(file, offset)
        self._pool = pool
        self._full: SimpleQueue[memoryview | None] = SimpleQueue()
        self._empty: SimpleQueue[memoryview] = SimpleQueue()
        for _ in range(_CHUNKS - 1):
            self._empty.put(pool.take())
        self._thread: threading.Thread | None = threading.Thread(
            target=self._write, name="spool", daemon=True
        )
        self._thread.start()

    def exchange(self, chunk: memoryview) -> memoryview:
        """Take a full buffer and return an empty one, when there is one."""
        self._add(chunk)
        self._full.put(chunk)
        return self._empty.get()

    def stop(self) -> None:
        """Wait until everything is written; more than once is no harm."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._full.put(None)
        thread.join()
        for _ in range(_CHUNKS - 1):
            self._pool.give_back(self._empty.get())
        self._pool.one_beside.release()

    def _write(self) -> None:
        while (chunk := self._full.get()) is not None:
            self._append(chunk)
            self._empty.put(chunk)
