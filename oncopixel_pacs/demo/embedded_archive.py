"""The embedded archive: a small storage SCP that writes to a folder, for demos and tests."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import uid
from pynetdicom import _config, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from oncopixel_pacs.deliver.association import VERIFICATION
from oncopixel_pacs.deliver.folder import write_durably
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.receive.guards.state_machine import stop_waiting, use_ending_state_machine

SOP_CLASSES: tuple[str, ...] = (
    uid.DigitalMammographyXRayImageStorageForPresentation,
    uid.DigitalMammographyXRayImageStorageForProcessing,
    uid.SegmentationStorage,
    uid.BasicTextSRStorage,
    uid.EnhancedSRStorage,
    uid.ComprehensiveSRStorage,
    uid.Comprehensive3DSRStorage,
    uid.MammographyCADSRStorage,
    uid.SecondaryCaptureImageStorage,
    uid.GrayscaleSoftcopyPresentationStateStorage,
    uid.KeyObjectSelectionDocumentStorage,
)

TRANSFER_SYNTAXES: tuple[str, ...] = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.201",
)

Answer = Callable[["Receipt"], int]


@dataclass(frozen=True, slots=True)
class Receipt:
    """One C-STORE request that the archive answered; `sha256` is of the data set."""

    sop_instance_uid: str
    sop_class_uid: str
    calling_ae_title: str
    sha256: str
    status: int = 0x0000


class EmbeddedArchive:
    """Storage SCP: one Part 10 file per SOP Instance UID in a folder.

    It is no product for keeping images: it knows no queries, no limits and no peers.

    Parameters
    ----------
    folder
        Made when missing; files are named ``<SOP Instance UID>.dcm``.
    port
        0 picks a free one.
    answer
        Decides the status of each request; nothing is written unless it is 0x0000 or a
        warning (0xB000 to 0xBFFF). Success when absent.
    """

    def __init__(
        self,
        folder: Path,
        ae_title: str,
        host: str = "127.0.0.1",
        port: int = 0,
        answer: Answer | None = None,
    ) -> None:
        self.folder = folder
        self._address = (host, port)
        self._answer = answer
        self._lock = threading.Lock()
        self._receipts: list[Receipt] = []
        self._entity = ApplicationEntity(ae_title)
        self._server: Any = None

    @property
    def receipts(self) -> tuple[Receipt, ...]:
        """Every request that was answered, refused ones too, in order."""
        with self._lock:
            return tuple(self._receipts)

    @property
    def associations(self) -> tuple[Association, ...]:
        """Those that have not ended."""
        return tuple(self._entity.active_associations)

    @property
    def stored(self) -> Counter[str]:
        """How often each SOP Instance UID was stored; more than once means a re-send."""
        return Counter(item.sop_instance_uid for item in self.receipts if _is_stored(item.status))

    def path(self, sop_instance_uid: str) -> Path:
        """Return where an object lies once it is stored."""
        plain = sop_instance_uid.replace(".", "").isdecimal()
        name = sop_instance_uid if plain else hashlib.sha256(sop_instance_uid.encode()).hexdigest()
        return self.folder / f"{name}.dcm"

    def start(self) -> int:
        """Accept associations until `stop`.

        Returns
        -------
        int
            The port.

        Raises
        ------
        ConfigurationError
            When the folder or the address cannot be used.
        """
        _config.LOG_HANDLER_LEVEL = "none"
        entity = self._entity
        entity.require_called_aet = True
        entity.maximum_associations = 32
        entity.supported_contexts = [
            build_context(VERIFICATION),
            *(build_context(item, list(TRANSFER_SYNTAXES)) for item in SOP_CLASSES),
        ]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            server: Any = entity.start_server(
                self._address,
                block=False,
                evt_handlers=[
                    (evt.EVT_CONN_OPEN, use_ending_state_machine),
                    (evt.EVT_C_STORE, self._on_store),
                ],
            )
        except OSError as exc:
            raise ConfigurationError(
                f"The embedded archive cannot start ({exc.strerror}); "
                f"check {self.folder} and port {self._address[1]}."
            ) from exc
        self._server = server
        return int(server.server_address[1])

    def stop(self) -> None:
        """End every association and stop; safe to call when not started."""
        server, self._server = self._server, None
        if server is None:
            return
        # Waits for connections that are being accepted: after it, each has its association.
        server.shutdown()
        for assoc in self.associations:
            assoc.abort()
            stop_waiting(assoc)

    def _on_store(self, event: evt.Event) -> int:
        content = event.encoded_dataset()
        request: Any = event.request
        receipt = Receipt(
            str(request.AffectedSOPInstanceUID),
            str(request.AffectedSOPClassUID),
            str(event.assoc.requestor.ae_title).strip(),
            hashlib.sha256(event.encoded_dataset(include_meta=False)).hexdigest(),
        )
        status = 0x0000 if self._answer is None else self._answer(receipt)
        if _is_stored(status):
            try:
                write_durably(content, self.path(receipt.sop_instance_uid))
            except OSError:
                status = 0xA700
        with self._lock:
            self._receipts.append(
                Receipt(
                    receipt.sop_instance_uid,
                    receipt.sop_class_uid,
                    receipt.calling_ae_title,
                    receipt.sha256,
                    status,
                )
            )
        return status


def _is_stored(status: int) -> bool:
    return status == 0x0000 or 0xB000 <= status <= 0xBFFF
