"""Associations that we open: requested with our limits, refused in words."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, cast

from pynetdicom import _config, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import uid_to_service_class
from pynetdicom.transport import AddressInformation, AssociationSocket

from oncopixel_pacs.deliver.commitment import STORAGE_COMMITMENT
from oncopixel_pacs.errors import DeliveryFailed

MAX_PDU_BYTES = 128 << 10
#: Verification SOP Class (PS3.4 A.4), C-ECHO.
VERIFICATION = "1.2.840.10008.1.1"


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom we call, and as whom. `name` stands for it in messages.

    Attributes
    ----------
    tls
        Context of the connection; ``None`` for a plain one.
    """

    name: str
    host: str
    port: int
    called_ae_title: str
    calling_ae_title: str
    tls: SSLContext | None = None

    @property
    def place(self) -> str:
        """AE title and address, for messages."""
        return f"{self.called_ae_title} at {self.host} port {self.port}"


@contextmanager
def opened(
    peer: Peer,
    contexts: Sequence[PresentationContext],
    timeout_seconds: float,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    handlers: Sequence[tuple[Any, ...]] = (),
) -> Iterator[Association]:
    """Open an association, and release it when the block ends.

    It is yielded even if the peer took none of the contexts: `takes_nothing` tells.

    Parameters
    ----------
    timeout_seconds
        How long the peer may be silent, at any point.
    roles
        SCP/SCU role selections to propose (PS3.7 D.3.3.4).
    handlers
        Of what the peer asks of us on it, as pairs of event and function.

    Raises
    ------
    DeliveryFailed
        When there is no association; passing, for peers come back.
    """
    # Identifiers of patients have no place in logs.
    _config.LOG_HANDLER_LEVEL = "none"
    entity = Requestor(peer.calling_ae_title)
    entity.connection_timeout = timeout_seconds
    entity.acse_timeout = timeout_seconds
    entity.dimse_timeout = timeout_seconds
    entity.network_timeout = timeout_seconds
    connection = _Connection(timeout_seconds)
    try:
        assoc = entity.associate(
            peer.host,
            peer.port,
            contexts=list(contexts),
            ae_title=peer.called_ae_title,
            max_pdu=MAX_PDU_BYTES,
            ext_neg=list(roles),
            tls_args=None if peer.tls is None else (peer.tls, peer.host),
            evt_handlers=[(evt.EVT_CONN_OPEN, connection.on_open), *handlers],
        )
    except OSError as exc:
        raise _failed(peer, f"its address cannot be used ({exc}); check host and port") from exc
    if not assoc.is_established and not takes_nothing(assoc):
        raise _failed(peer, _why(assoc, connection.open, peer.tls is not None))
    try:
        yield assoc
    finally:
        if assoc.is_established:
            assoc.release()


def takes_nothing(assoc: Association) -> bool:
    """Whether the peer accepted the association but none of its presentation contexts."""
    answer = assoc.acceptor.primitive
    return answer is not None and answer.result == 0x00 and not assoc.accepted_contexts


class Requestor(ApplicationEntity):
    """Application entity whose connections are closed when they are over, and not before.

    pynetdicom leaves a connection that failed to the garbage collector, and releases one while a
    request that came on it (N-EVENT-REPORT) is still to be answered.
    """

    def _create_socket(
        self,
        assoc: Association,
        address: AddressInformation,
        tls_args: tuple[SSLContext, str] | None,
    ) -> AssociationSocket:
        _Answering(assoc)
        sock = _ClosingSocket(assoc, address=address)
        sock.tls_args = tls_args
        return sock


class _Answering:
    """Answers the reports (N-EVENT-REPORT) of a peer, and releases the association after that.

    The library serves them on a thread of their own. There it marks the association's thread as
    running, for which a request or release that waits for it to pause then waits for ever; and a
    release does not wait for the answer, though nothing may follow A-RELEASE-RQ (PS3.8 7.2): the
    peer would never hear it.
    """

    def __init__(self, assoc: Association) -> None:
        self._assoc = library = cast(Any, assoc)
        self._answering = threading.Lock()
        self._serve_others, self._release = library._serve_request, library.release
        library._serve_request, library.release = self._serve, self._release_answered

    def _serve(self, message: Any, context_id: int) -> None:
        if not (isinstance(message, N_EVENT_REPORT) and message.is_valid_request):
            self._serve_others(message, context_id)
            return
        with self._answering:
            if self._assoc.is_established:
                self._answer(message, context_id)

    def _answer(self, report: Any, context_id: int) -> None:
        context = self._assoc._accepted_cx.get(context_id)
        if context and context.abstract_syntax == report.AffectedSOPClassUID == STORAGE_COMMITMENT:
            uid_to_service_class(STORAGE_COMMITMENT)(self._assoc).SCP(report, context)
        else:
            self._assoc.abort()

    def _release_answered(self) -> None:
        answered = self._answering.acquire(timeout=self._assoc.dimse_timeout or 0.0)
        try:
            self._release()
        finally:
            if answered:
                self._answering.release()


class _ClosingSocket(AssociationSocket):
    def _shutdown_socket(self) -> None:
        super()._shutdown_socket()
        if self.socket is not None:
            self.socket.close()


class _Connection:
    """Prepares the socket once it is connected, and remembers that it was."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self.open = False

    def on_open(self, event: evt.Event) -> None:
        self.open = True
        transport: Any = event.assoc.dul.socket
        sock = transport.socket
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A peer that stops reading would hold us for ever.
        sock.settimeout(self._timeout_seconds)


def _why(assoc: Association, connected: bool, secured: bool) -> str:
    if not connected and secured:
        return (
            "nothing listens there, or one side refused the other's certificate; check host, "
            "port and firewall, and the authorities on both sides"
        )
    if not connected:
        return "nothing listens there; check that it runs, and host, port and firewall"
    if assoc.is_rejected:
        answer: Any = assoc.acceptor.primitive
        return (
            f"it rejected the association ({answer.reason_str}); check the AE titles on both sides"
        )
    # Some close so soon after they rejected that their answer is lost.
    return (
        "it did not answer the association request; check that a DICOM server listens there, and "
        "the AE titles on both sides"
    )


def _failed(peer: Peer, reason: str) -> DeliveryFailed:
    return DeliveryFailed(f"{peer.name} ({peer.place}): {reason}.", permanent=False)
