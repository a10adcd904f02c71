"""The acceptor: association, C-ECHO, C-STORE, storage commitment. 0x0000 means safe."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity

from oncopixel_pacs.errors import ConfigurationError, DatasetMismatch, IntakeRefused
from oncopixel_pacs.receive.commitment_scp import ATTEMPT_WAITS, CommitmentScp
from oncopixel_pacs.receive.contexts import supported_contexts
from oncopixel_pacs.receive.guards import SpoolingServer, make_server
from oncopixel_pacs.receive.intake import Intake
from oncopixel_pacs.receive.limits import DEFAULT_LIMITS, Limits
from oncopixel_pacs.receive.peers import is_known, why_unknown
from oncopixel_pacs.receive.privacy import quieten_libraries
from oncopixel_pacs.receive.rejections import RejectionRecorder
from oncopixel_pacs.receive.spool import received_file
from oncopixel_pacs.receive.status import SUCCESS, refusal
from oncopixel_pacs.settings import Settings
from oncopixel_pacs.store.callers import Callers
from oncopixel_pacs.store.free_space import FreeSpace, free_bytes

log = structlog.get_logger()

#: A-ASSOCIATE-RJ (PS3.8 9.3.4): rejected permanent, by the service user, calling AE unknown.
REJECT_CALLING_AE_TITLE = (0x01, 0x01, 0x03)

#: How often the accept loop cleans up and looks whether it should end.
POLL_SECONDS = 0.1


class StorageScp:
    """Verification, storage and storage commitment SCP.

    Parameters
    ----------
    settings
        AE title, address and known peers.
    intake
        Where each object goes; its answer decides the status.
    callers
        Where rejected callers are remembered.
    now
        Clock, timezone-aware UTC.
    free_bytes
        Tells the free bytes of the volume that a folder lies on.
    attempt_waits
        Seconds before each attempt to report a commitment on an association of our own.
    """

    def __init__(
        self,
        settings: Settings,
        intake: Intake,
        callers: Callers,
        now: Callable[[], datetime],
        limits: Limits = DEFAULT_LIMITS,
        *,
        free_bytes: Callable[[Path], int] = free_bytes,
        attempt_waits: Sequence[float] = ATTEMPT_WAITS,
    ) -> None:
        self._settings = settings
        self._intake = intake
        self._limits = limits
        self._space = FreeSpace(intake.incoming, settings.receive.least_free_bytes, free_bytes)
        self._commitment = CommitmentScp(settings, intake.judge, attempt_waits)
        self._rejections = RejectionRecorder(callers, now)
        self._server: SpoolingServer | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> int:
        """Bind the address and accept associations until `stop`.

        Returns
        -------
        int
            The port, of interest when the configured one is 0.

        Raises
        ------
        ConfigurationError
            When the address cannot be bound.
        """
        quieten_libraries()
        entity = ApplicationEntity(self._settings.ae_title)
        entity.supported_contexts = supported_contexts(self._settings.receive.further_sop_classes)
        entity.require_called_aet = True
        entity.require_calling_aet = [peer.ae_title for peer in self._settings.peers]
        address = (self._settings.dimse_host, self._settings.dimse_port)
        handlers = [
            (evt.EVT_REQUESTED, self._on_request),
            (evt.EVT_REJECTED, self._on_rejected),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_N_ACTION, self._commitment.on_action),
        ]
        try:
            server = make_server(entity, address, handlers, self._space, self._limits)
        except OSError as exc:
            raise ConfigurationError(
                f"DICOM cannot listen on {address[0]} port {address[1]} ({exc.strerror}); "
                "free the port or set dimse_host and dimse_port."
            ) from exc
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever, args=(POLL_SECONDS,), name="dicom", daemon=True
        )
        self._thread.start()
        self._rejections.start()
        return int(server.server_address[1])

    @property
    def callers(self) -> frozenset[str]:
        """Calling AE titles that have an association open now."""
        server = self._server
        if server is None:
            return frozenset()
        return frozenset(
            str(assoc.requestor.ae_title).strip()
            for assoc in list(server.associations)
            if assoc.is_established
        )

    def stop(self, grace_seconds: float = 10.0) -> None:
        """Stop accepting, end what is open, and wait for objects that are being stored.

        Safe to call when not started.
        """
        server, self._server = self._server, None
        if server is None or self._thread is None:
            return
        self._commitment.stop()
        server.shutdown()
        self._thread.join()
        server.end_associations(grace_seconds)
        self._commitment.join(grace_seconds)
        self._rejections.stop()

    def _on_request(self, event: evt.Event) -> None:
        assoc = event.assoc
        request: Any = assoc.requestor.primitive
        calling = str(request.calling_ae_title).strip()
        if not is_known(self._settings.peers, calling, assoc.requestor.address):
            assoc.acse.send_reject(*REJECT_CALLING_AE_TITLE)
            assoc.is_rejected = True
            self._note_rejected(event, f": {why_unknown(self._settings.peers, calling)}")
            assoc.kill()

    def _on_rejected(self, event: evt.Event) -> None:
        self._note_rejected(event)

    def _note_rejected(self, event: evt.Event, because: str = "") -> None:
        request: Any = event.assoc.requestor.primitive
        answer: Any = event.assoc.acceptor.primitive
        caller = {
            "calling_ae_title": str(request.calling_ae_title).strip(),
            "called_ae_title": str(request.called_ae_title).strip(),
            "address": str(event.assoc.requestor.address),
            "reason": f"{answer.reason_str}{because}",
        }
        log.warning("association.rejected", **caller)
        self._rejections.note(**caller)

    def _on_store(self, event: evt.Event) -> Dataset | int:
        """Answer one C-STORE. The only broad except of the package: no object ends a server."""
        request: Any = event.request
        calling = str(event.assoc.requestor.ae_title).strip()
        try:
            with received_file(event) as path:
                if event.context.abstract_syntax != request.AffectedSOPClassUID:
                    raise DatasetMismatch("The command names another SOP class than its context.")
                outcome = self._intake.accept(
                    path,
                    str(request.AffectedSOPClassUID),
                    str(request.AffectedSOPInstanceUID),
                    str(event.context.transfer_syntax),
                    calling,
                )
        except IntakeRefused as exc:
            log.warning("intake.refused", calling_ae_title=calling, reason=str(exc))
            return refusal(exc)
        except Exception as exc:
            # Neither the message nor the traceback's values: both may quote the data set.
            place = traceback.extract_tb(exc.__traceback__)[-1]
            log.error(
                "intake.failed",
                calling_ae_title=calling,
                error=type(exc).__name__,
                place=f"{place.filename}:{place.lineno}",
            )
            return refusal(exc)
        log.info(
            "intake.stored",
            calling_ae_title=calling,
            sop_instance_uid=str(request.AffectedSOPInstanceUID),
            outcome=outcome.value,
        )
        return SUCCESS
