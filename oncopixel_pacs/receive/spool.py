"""Data sets of C-STORE requests, written to files while they arrive."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import structlog
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_file_meta_info
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dsutils import create_file_meta
from pynetdicom.pdu_primitives import P_DATA

from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.receive.event_requests import AskingDimse
from oncopixel_pacs.receive.header import PARSE_ERRORS
from oncopixel_pacs.receive.limits import Limits
from oncopixel_pacs.store.free_space import FreeSpace

log = structlog.get_logger()

PREAMBLE = b"\x00" * 128 + b"DICM"
WRITE_BUFFER_BYTES = 1 << 20


class Spool:
    """The temporary file of one data set that is being received.

    Its first `OSError`, one byte too many, or a volume without room from the start is kept for
    the answer; what follows is read from the network and dropped, so that the sender gets a
    status and not a broken line.
    """

    def __init__(self, space: FreeSpace, limit_bytes: int) -> None:
        self.name = ""
        self.error: OutOfResources | None = None
        self.discarded = False
        self._limit = limit_bytes
        self._size = 0
        self._stream: Any = None
        try:
            space.require()
            handle, self.name = tempfile.mkstemp(dir=space.folder, suffix=".part")
            self._stream = os.fdopen(handle, "wb", buffering=WRITE_BUFFER_BYTES)
        except OutOfResources as exc:
            self.error = exc
        except OSError as exc:
            self._fail(exc)

    @property
    def file(self) -> Spool:
        """Pynetdicom flushes the file below after each fragment; here that is a no-op."""
        return self

    def flush(self) -> None:
        """Do nothing: the bytes are flushed once, when the data set is complete."""

    def write(self, data: bytes) -> None:
        """Append bytes, unless something went wrong before."""
        if self.error is not None:
            return
        self._size += len(data)
        if self._size > self._limit:
            self.error = OutOfResources(
                f"The object is larger than {self._limit >> 20} MiB, the most this server takes."
            )
            return
        try:
            self._stream.write(data)
        except OSError as exc:
            self._fail(exc)

    def close(self) -> None:
        """Write out what is buffered and close the file."""
        if self._stream is None:
            return
        try:
            self._stream.close()
        except OSError as exc:
            self._fail(exc)

    def discard(self) -> None:
        """Remove the file if it is still here; it is not when it was kept."""
        self.discarded = True
        self.close()
        if self.name:
            with suppress(OSError):
                os.unlink(self.name)

    def _fail(self, exc: OSError) -> None:
        self.error = OutOfResources(
            f"The disk does not take the object ({exc.strerror}); free space, then send again."
        )


class SpoolingDimse(AskingDimse):
    """DIMSE provider that writes the data sets of C-STORE requests to files of our choice."""

    def __init__(self, assoc: Association, space: FreeSpace, limits: Limits) -> None:
        super().__init__(assoc)
        self._space = space
        self._limits = limits
        self._spools: list[Spool] = []
        self._in_memory = 0

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take one P-DATA indication, fragment by fragment."""
        try:
            for item in primitive.presentation_data_value_list:
                self._receive_fragment(item)
        except PARSE_ERRORS as exc:
            log.warning("association.invalid_pdu", error=type(exc).__name__)
            # Invalid PDU: the state machine aborts the association (PS3.8 9.2.3, AA-8).
            self.dul.event_queue.put("Evt19")

    def discard_spools(self) -> None:
        """Remove every file that was not kept; for when the association is over."""
        for spool in self._spools:
            spool.discard()
        self._spools.clear()

    def _receive_fragment(self, item: tuple[int, bytes]) -> None:
        if self.message is None or self.message._data_set_file is None:
            self._in_memory += len(item[1])
            if self._in_memory > self._limits.unspooled_bytes:
                raise ValueError("more in memory than a command set needs")
        fragment = P_DATA()
        fragment.presentation_data_value_list.append(item)
        super().receive_primitive(fragment)
        if self.message is None:
            self._in_memory = 0
        elif isinstance(self.message, C_STORE_RQ) and self.message._data_set_file is None:
            self._start_spool(self.message)

    def _start_spool(self, message: Any) -> None:
        spool = Spool(self._space, self._limits.dataset_bytes)
        self._spools = [item for item in self._spools if not item.discarded] + [spool]
        spool.write(self._part10_head(message))
        message._data_set_file = spool
        message._data_set_path = Path(spool.name)

    def _part10_head(self, message: Any) -> bytes:
        command = message.command_set
        context = self.assoc._accepted_cx.get(message.context_id)
        if context is None:
            return PREAMBLE  # refused before its handler is called
        head = BytesIO()
        head.write(PREAMBLE)
        meta = create_file_meta(
            sop_class_uid=command.get("AffectedSOPClassUID", ""),
            sop_instance_uid=command.get("AffectedSOPInstanceUID", ""),
            transfer_syntax=context.transfer_syntax[0],
        )
        write_file_meta_info(DicomIO(head), meta, enforce_standard=False)
        return head.getvalue()


@contextmanager
def received_file(event: evt.Event) -> Iterator[Path]:
    """Yield the complete Part 10 file of a C-STORE request; what is left of it goes afterwards.

    Raises
    ------
    OutOfResources
        When the data set did not fit on the disk or below the limit.
    """
    request: Any = event.request
    spool: Spool | None = request._dataset_file
    if spool is None:
        raise OutOfResources("The object came without a data set; send it again.")
    try:
        spool.close()
        if spool.error is not None:
            raise spool.error
        yield Path(spool.name)
    finally:
        spool.discard()
