"""Decides on each association request, and remembers who was not let in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from pynetdicom import evt

from oncopixel_pacs.receive.floods import Gate
from oncopixel_pacs.receive.guards.server import connection_of
from oncopixel_pacs.receive.peers import Caller, PeerBook
from oncopixel_pacs.receive.rejections import RejectionRecorder
from oncopixel_pacs.store.callers import RejectionKind

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Rejection:
    """Result, source and diagnostic of an A-ASSOCIATE-RJ (PS3.8 9.3.4), and what they say."""

    code: tuple[int, int, int]
    words: str


UNKNOWN_CALLING_AE_TITLE = Rejection((1, 1, 3), "Calling AE title not recognised")
UNKNOWN_CALLED_AE_TITLE = Rejection((1, 1, 7), "Called AE title not recognised")
LOCAL_LIMIT_EXCEEDED = Rejection((2, 3, 2), "Local limit exceeded")


class Admission:
    """The event handler that lets associations in.

    Parameters
    ----------
    ae_titles
        Ours; whoever calls another is rejected.
    """

    def __init__(
        self, ae_titles: Sequence[str], peers: PeerBook, gate: Gate, rejections: RejectionRecorder
    ) -> None:
        self._ae_titles = tuple(title.strip() for title in ae_titles)
        self._peers = peers
        self._gate = gate
        self._rejections = rejections

    def on_request(self, event: evt.Event) -> None:
        """Reject whoever may not call, calls someone else, or is one too many."""
        connection = connection_of(event.assoc)
        request: Any = event.assoc.requestor.primitive
        called = str(request.called_ae_title).strip()
        caller = Caller(
            str(request.calling_ae_title).strip(),
            connection.address,
            connection.secured,
            connection.certificate_sha256,
        )
        objection = self._peers.objection(caller)
        if objection is not None:
            words = objection.words
            if called not in self._ae_titles:
                words += f"; and it calls {called}"
            self._reject(event, UNKNOWN_CALLING_AE_TITLE, caller, called, objection.kind, words)
        elif called not in self._ae_titles:
            words = f"we are {' or '.join(self._ae_titles)}"
            kind = RejectionKind.CALLED
            self._reject(event, UNKNOWN_CALLED_AE_TITLE, caller, called, kind, words)
        elif not self._gate.associate(connection):
            words = "too many associations are open"
            kind = RejectionKind.LIMIT
            self._reject(event, LOCAL_LIMIT_EXCEEDED, caller, called, kind, words)

    def on_tls_refused(self, address: str, reason: str) -> None:
        """Remember a handshake that failed: there was no AE title yet."""
        self._note(Caller("", address, True), "", RejectionKind.TLS, f"TLS: {reason}")

    def _reject(
        self,
        event: evt.Event,
        rejection: Rejection,
        caller: Caller,
        called: str,
        kind: RejectionKind,
        because: str,
    ) -> None:
        assoc = event.assoc
        assoc.acse.send_reject(*rejection.code)
        assoc.is_rejected = True
        self._note(caller, called, kind, f"{rejection.words}: {because}")
        assoc.kill()

    def _note(self, caller: Caller, called: str, kind: RejectionKind, reason: str) -> None:
        log.warning(
            "association.rejected",
            calling_ae_title=caller.ae_title,
            called_ae_title=called,
            address=caller.address,
            certificate_sha256=caller.certificate_sha256,
            reason=reason,
        )
        self._rejections.note(caller, called, kind, reason)
