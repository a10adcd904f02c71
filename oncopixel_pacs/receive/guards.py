"""Where we bend pynetdicom: bounded PDUs, deadlines, and objects spooled to disk.

The library reads a PDU of any length, waits for its end for ever, and leaves temporary files
behind when a peer goes away (pynetdicom issue 1086). Nothing is patched in the library itself:
each association of a `SpoolingServer` gets our socket and our DIMSE provider instead of its
own. That leans on names inside pynetdicom 3.0.4; a test compares every one of them.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from socket import IPPROTO_TCP, TCP_NODELAY, socket
from typing import Any

import structlog
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_file_meta_info
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dsutils import create_file_meta
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.receive.event_requests import AskingDimse
from oncopixel_pacs.receive.header import PARSE_ERRORS
from oncopixel_pacs.store.free_space import FreeSpace

log = structlog.get_logger()

PYNETDICOM_VERSION = "3.0.4"
PREAMBLE = b"\x00" * 128 + b"DICM"
WRITE_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one sender may ask of the acceptor.

    Attributes
    ----------
    pdu_bytes
        Largest P-DATA-TF PDU; the maximum length that is negotiated (PS3.8 D.1).
    request_pdu_bytes
        Largest PDU before an association stands; 128 proposed contexts fit.
    pdu_seconds
        How long the header, and then the body, of one PDU may take.
    request_seconds
        How long a connection may wait before it asks for an association.
    idle_seconds
        How long an association may be silent.
    dataset_bytes
        Largest data set of a C-STORE.
    unspooled_bytes
        Largest message that is held in memory: a command set.
    associations
        Connections at a time.
    """

    pdu_bytes: int = 128 << 10
    request_pdu_bytes: int = 256 << 10
    pdu_seconds: float = 15.0
    request_seconds: float = 15.0
    idle_seconds: float = 120.0
    dataset_bytes: int = 2 << 30
    unspooled_bytes: int = 1 << 20
    associations: int = 64


DEFAULT_LIMITS = Limits()


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


class BoundedSocket(AssociationSocket):
    """Socket that reads no PDU longer than it should be, nor for longer."""

    def __init__(self, assoc: Association, client_socket: socket, limits: Limits) -> None:
        super().__init__(assoc, client_socket=client_socket)
        self._limits = limits
        # Without it each small response waits for a delayed acknowledgement, 40 ms.
        client_socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        client_socket.settimeout(limits.pdu_seconds)

    def recv(self, nr_bytes: int) -> bytearray:
        """Read `nr_bytes`, or fewer when the peer closes.

        Raises
        ------
        OSError
            When that is more than allowed, or takes too long.
        """
        limit = self._limits.request_pdu_bytes
        if self.assoc.is_established:
            limit = self._limits.pdu_bytes + 6
        if nr_bytes > limit:
            raise OSError(f"PDU of {nr_bytes} bytes, {limit} are allowed")
        sock: Any = self.socket
        deadline = time.monotonic() + self._limits.pdu_seconds
        received = bytearray(nr_bytes)
        position = 0
        with memoryview(received) as view:
            while position < nr_bytes:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError("PDU not complete in time")
                sock.settimeout(left)
                count = sock.recv_into(view[position:])
                if count == 0:
                    break
                position += count
        sock.settimeout(self._limits.pdu_seconds)
        return received[:position]

    def _shutdown_socket(self) -> None:
        """Close even if the peer was first; the library leaves that to the garbage collector."""
        super()._shutdown_socket()
        if self.socket is not None:
            self.socket.close()


class SpoolingRequestHandler(RequestHandler):
    """Gives each new association our socket and our DIMSE provider."""

    server: SpoolingServer

    def _create_association(self) -> Association:
        assoc = super()._create_association()
        # Each socket announces the connection; the state machine may see that only once.
        assoc.dul.event_queue.get_nowait()
        assoc.dul.socket = BoundedSocket(assoc, self.request, self.server.limits)
        assoc.dimse = SpoolingDimse(assoc, self.server.space, self.server.limits)
        self.server.associations.append(assoc)
        return assoc


class SpoolingServer(ThreadedAssociationServer):
    """Association server whose data sets go to one folder, and nothing of them is left there.

    Parameters
    ----------
    space
        Where temporary files are written, on the volume where they will be kept, and how much
        room there must be before one is begun.
    """

    request_queue_size = 64
    daemon_threads = True

    def __init__(self, *args: Any, space: FreeSpace, limits: Limits, **kwargs: Any) -> None:
        self.space = space
        self.limits = limits
        self.associations: list[Association] = []
        kwargs["request_handler"] = SpoolingRequestHandler
        super().__init__(*args, **kwargs)

    def service_actions(self) -> None:
        """Clean up behind associations that ended, however they did; called by the accept loop."""
        for assoc in list(self.associations):
            if assoc.ident and not assoc.is_alive() and not assoc.dul.is_alive():
                if isinstance(assoc.dimse, SpoolingDimse):
                    assoc.dimse.discard_spools()
                self.associations.remove(assoc)

    def end_associations(self, grace_seconds: float) -> None:
        """Abort what is open; wait for objects that are being stored, then clean up."""
        deadline = time.monotonic() + grace_seconds
        still_open = list(self.associations)
        for assoc in still_open:
            if assoc.is_established:
                assoc.abort()
            else:
                _stop_waiting(assoc)
        for assoc in still_open:
            assoc.join(max(deadline - time.monotonic(), 0.0))
            assoc.dul.join(max(deadline - time.monotonic(), 0.0))
        self.service_actions()


class SharedContexts(list[Any]):
    """Contexts that every association reads and none changes, so that none needs a copy."""

    def __deepcopy__(self, _memo: dict[int, Any]) -> SharedContexts:
        return self


def _on_close(event: evt.Event) -> None:
    if event.assoc.requestor.primitive is None:
        _stop_waiting(event.assoc)


def _stop_waiting(assoc: Association) -> None:
    """End the wait for an association request, as if its time were over."""
    queue: Any = assoc.dul.to_user_queue
    queue.put(None)


def make_server(
    ae: ApplicationEntity,
    address: tuple[str, int],
    handlers: list[Any],
    space: FreeSpace,
    limits: Limits,
) -> SpoolingServer:
    """Bind a `SpoolingServer`; its `serve_forever` accepts, its `shutdown` stops that.

    Raises
    ------
    OSError
        When the address cannot be bound.
    """
    ae.maximum_pdu_size = limits.pdu_bytes
    ae.maximum_associations = limits.associations
    ae.acse_timeout = limits.request_seconds
    ae.dimse_timeout = limits.idle_seconds
    ae.network_timeout = limits.idle_seconds
    server: Any = ae.make_server(
        address,
        evt_handlers=[*handlers, (evt.EVT_CONN_CLOSE, _on_close)],
        server_class=SpoolingServer,
        space=space,
        limits=limits,
    )
    # `shutdown` takes it out of this list again.
    ae._servers.append(server)
    server.contexts = SharedContexts(server.contexts)
    bound: SpoolingServer = server
    return bound
