"""The upper layer provider of our associations: C-STORE is served where its bytes arrive.

The library copies each PDU several times, hands it through two queues that are polled, and
answers from another thread: some milliseconds per object, and its threads poll while nothing
happens. Here P-DATA is parsed in the read buffer, fragments of a data set go from there to the
file, and the answer leaves from the same thread. Everything else, from negotiation to release
and every other service, is the library's; its association thread sleeps unless it is needed.
"""

from __future__ import annotations

import os
import queue
import select
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import P_DATA

from oncopixel_pacs.receive.guards.association_socket import BoundedSocket
from oncopixel_pacs.receive.guards.event_requests import AskingDimse
from oncopixel_pacs.receive.header import PARSE_ERRORS
from oncopixel_pacs.receive.limits import Limits
from oncopixel_pacs.receive.spool import Spool
from oncopixel_pacs.receive.status import Answer
from oncopixel_pacs.receive.store_messages import (
    LAST_COMMAND_FRAGMENT,
    StoreRequest,
    command_elements,
    is_store_request,
    read_store_request,
    store_response,
)

log = structlog.get_logger()

_P_DATA_TF = 0x04
_PDU = struct.Struct(">BxI")
_PDV = struct.Struct(">IBB")
_COMMAND, _LAST = 0x01, 0x02
#: How often the timers of an idle association are looked at.
_IDLE_POLL_MS = 500
#: Below it the buffer begins anew.
_LEAST_ROOM = 64 << 10


@dataclass(frozen=True, slots=True)
class StoreService:
    """What a C-STORE is served with.

    Attributes
    ----------
    begin
        Opens the spool of a data set that follows.
    finish
        Takes in what was spooled, `None` without a data set, and says what to answer.
    answered
        Does what the peer need not wait for; called whether the answer reached it or not.
    """

    begin: Callable[[StoreRequest], Spool]
    finish: Callable[[StoreRequest, Spool | None], Answer]
    answered: Callable[[StoreRequest, Answer], None]


class StoringProvider(DULServiceProvider):
    """Upper layer service provider (PS3.8) that serves C-STORE itself."""

    def __init__(self, assoc: Association, service: StoreService, limits: Limits) -> None:
        super().__init__(assoc)
        self._service = service
        self._limits = limits
        self._wake = _Wake()
        self.to_provider_queue = _WakingQueue(self._wake)
        self._command: list[tuple[int, bytes]] = []
        self._in_memory = 0
        self._request: StoreRequest | None = None
        self._spool: Spool | None = None
        self._deadline = 0.0
        self._is_garbled = False
        self._began_at = datetime.now(UTC)

    def run_reactor(self) -> None:
        """Run until the connection is closed; what was not kept by then is removed."""
        try:
            super().run_reactor()
        finally:
            self._break_off()
            self._wake.close()
            self._release_association()
            self._line.release()

    def _is_transport_event(self) -> bool:
        if self.state_machine.current_state != "Sta6":
            self._release_association()
            return self._drained() if self._is_garbled else bool(super()._is_transport_event())
        try:
            return self._serve()
        except OSError:
            self._end("Evt17")  # transport connection closed
        except PARSE_ERRORS as exc:
            log.warning("association.invalid_pdu", error=type(exc).__name__)
            self._is_garbled = True
            # Invalid PDU: the state machine aborts the association (PS3.8 9.2.3, AA-8).
            self._end("Evt19")
        return True

    @property
    def _line(self) -> BoundedSocket:
        line: Any = self.socket
        held: BoundedSocket = line
        return held

    def _end(self, event: str) -> None:
        self._break_off()
        self._release_association()
        self.event_queue.put(event)

    def _break_off(self) -> None:
        """Forget the object that was arriving."""
        spool, self._spool, self._request = self._spool, None, None
        if spool is not None:
            spool.discard()

    def _drained(self) -> bool:
        """Drop what still comes after an invalid PDU: where the next one begins is not known."""
        line = self._line
        line.drop()
        if not line.ready:
            return bool(super()._is_transport_event())
        try:
            line.fill(time.monotonic() + self._limits.pdu_seconds)
        except OSError:
            line.close()
        return True

    def _serve(self) -> bool:
        """Serve what comes until something is for the library; whether anything came."""
        came = False
        while self._something_came():
            came = True
            self._deadline = time.monotonic() + self._limits.pdu_seconds
            self._need(6)
            kind, length = _PDU.unpack(self._line.peek(6))
            if kind != _P_DATA_TF:
                self._break_off()
                self._release_association()
                self._read_pdu_data()
                return True
            if length > self._limits.pdu_bytes:
                raise ConnectionAbortedError(f"PDU of {length} bytes, more than was negotiated")
            self._line.take(6)
            for_library = self._take_pdu(length)
            self._idle_timer.restart()
            if for_library:
                self._release_association()
                return True
            if self.to_provider_queue.queue:
                return True
        return came

    def _something_came(self) -> bool:
        """Wait for bytes; ``False`` when something else is to be done first."""
        line = self._line
        if line.buffered or line.pending():
            return True
        if line.socket is None:
            raise ConnectionResetError("the connection is closed")
        self._hold_association()
        watched = select.poll()
        watched.register(line.socket, select.POLLIN)
        watched.register(self._wake.descriptor, select.POLLIN)
        found = watched.poll(_IDLE_POLL_MS)
        woken = any(descriptor == self._wake.descriptor for descriptor, _ in found)
        if woken or not found:
            if woken:
                self._wake.clear()
            if woken or self.idle_timer_expired():
                self._release_association()
            return False
        return True

    def _hold_association(self) -> None:
        """Let the association's thread sleep, unless something lies in its queues."""
        waiting = self.assoc.dimse.msg_queue.queue or self.to_user_queue.queue
        if not waiting and not self.to_provider_queue.queue:
            self.assoc._reactor_checkpoint.clear()

    def _release_association(self) -> None:
        self.assoc._reactor_checkpoint.set()

    def _need(self, count: int) -> None:
        while self._line.buffered < count:
            self._fill()

    def _fill(self) -> None:
        if self._line.room < _LEAST_ROOM:
            self._line.compact()
        self._line.fill(self._deadline)

    def _take_pdu(self, left: int) -> bool:
        """Take the fragments of one P-DATA-TF; whether any was for the library (PS3.8 9.3.5)."""
        for_library = False
        while left:
            if left < 6:
                raise ValueError("the PDU ends inside the head of a fragment")
            self._need(6)
            length, context_id, control = _PDV.unpack(self._line.take(6))
            size = length - 2
            left -= 6 + size
            if size < 0 or left < 0:
                raise ValueError("a fragment is longer than its PDU")
            if self._spool is not None and self._request is not None:
                self._take_data(context_id, control, size)
            elif self._take_other(context_id, control, size):
                for_library = True
        return for_library

    def _take_data(self, context_id: int, control: int, size: int) -> None:
        spool, request = self._spool, self._request
        if spool is None or request is None:
            raise ValueError("a fragment belongs to no data set")
        if control & _COMMAND or context_id != request.context_id:
            raise ValueError("another message begins inside a data set")
        while size:
            if not self._line.buffered:
                self._fill()
            piece = self._line.take(min(size, self._line.buffered))
            spool.add(piece)
            size -= len(piece)
        if control & _LAST:
            try:
                self._finish(request, spool)
            finally:
                self._break_off()

    def _take_other(self, context_id: int, control: int, size: int) -> bool:
        """Take a fragment of a command, or of a data set that is not ours."""
        self._in_memory += size
        if self._in_memory > self._limits.unspooled_bytes:
            raise ValueError("more in memory than a command set needs")
        self._need(size)
        fragment = (context_id, bytes([control]) + self._line.take(size))
        if self.assoc.dimse.message is not None or not control & _COMMAND:
            self._hand_over([fragment])
            return True
        self._command.append(fragment)
        if not control & _LAST:
            return False
        fragments, self._command = self._command, []
        if self._begin_store(fragments):
            self._in_memory = 0
            return False
        self._hand_over(fragments)
        return True

    def _hand_over(self, fragments: list[tuple[int, bytes]]) -> None:
        for fragment in fragments:
            primitive = P_DATA()
            primitive.presentation_data_value_list.append(fragment)
            self.assoc.dimse.receive_primitive(primitive)
        if self.assoc.dimse.message is None:
            self._in_memory = 0

    def _begin_store(self, fragments: list[tuple[int, bytes]]) -> bool:
        """Begin to serve a command if it is a C-STORE request."""
        elements = command_elements(b"".join(content[1:] for _, content in fragments))
        if not is_store_request(elements):
            return False
        context_id = fragments[0][0]
        context = self.assoc._accepted_cx.get(context_id)
        if context is None or any(other != context_id for other, _ in fragments):
            raise ValueError("the C-STORE request is in no accepted presentation context")
        request = read_store_request(
            elements,
            context_id,
            str(context.abstract_syntax),
            str(context.transfer_syntax[0]),
            str(self.assoc.requestor.ae_title).strip(),
            _called(self.assoc),
            self._began_at,
        )
        if request.has_dataset:
            self._request, self._spool = request, self._service.begin(request)
        else:
            self._finish(request, None)
        return True

    def _finish(self, request: StoreRequest, spool: Spool | None) -> None:
        answer = self._service.finish(request, spool)
        try:
            self._answer(request, answer)
        finally:
            self._service.answered(request, answer)

    def _answer(self, request: StoreRequest, answer: Answer) -> None:
        content = bytes([LAST_COMMAND_FRAGMENT]) + store_response(request, answer)
        dimse = self.assoc.dimse
        if not isinstance(dimse, AskingDimse):
            raise TypeError("the association has another DIMSE provider than its own")
        dimse.send_now(request.context_id, content)


def _called(assoc: Association) -> str:
    """Which of our AE titles the peer called."""
    request = assoc.requestor.primitive
    return "" if request is None else str(request.called_ae_title).strip()


class _Wake:
    """A descriptor that becomes readable when another thread calls."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.descriptor, self._caller = os.pipe()
        os.set_blocking(self.descriptor, False)
        os.set_blocking(self._caller, False)

    def call(self) -> None:
        with self._lock, suppress(OSError):
            if self._caller >= 0:
                os.write(self._caller, b"\0")

    def clear(self) -> None:
        with suppress(OSError):
            os.read(self.descriptor, 4096)

    def close(self) -> None:
        with self._lock:
            if self._caller >= 0:
                os.close(self._caller)
                os.close(self.descriptor)
                self._caller = -1


class _WakingQueue(queue.Queue[Any]):
    """Queue of what is to be sent; its provider stops waiting for the peer when it gets one."""

    def __init__(self, wake: _Wake) -> None:
        super().__init__()
        self._wake = wake

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._wake.call()
