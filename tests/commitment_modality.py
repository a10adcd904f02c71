"""A modality that asks for storage commitment and hears what it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dimse_builder import mammogram
from pydicom.dataset import Dataset
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation as MG
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association

from oncopixel_pacs.deliver.association import Requestor
from oncopixel_pacs.receive import commitment
from oncopixel_pacs.receive.contexts import STORAGE_COMMITMENT

TRANSACTION = "1.2.826.0.1.3680043.8.498.77"
UIDS = [str(mammogram(number).SOPInstanceUID) for number in range(1, 4)]


@dataclass
class Modality:
    """Asks for commitment and hears what it is told, on either kind of association."""

    port: int
    reports: list[tuple[int, Dataset, bool]] = field(default_factory=list)
    heard: threading.Event = field(default_factory=threading.Event)
    answers: list[int] = field(default_factory=list)

    def on_report(self, event: evt.Event) -> tuple[int, None]:
        here = event.assoc.is_requestor
        self.reports.append((event.event_type, event.event_information, here))
        self.heard.set()
        return self.answers.pop(0) if self.answers else 0x0000, None

    @contextmanager
    def calling(self) -> Iterator[Association]:
        entity = Requestor("MODALITY")
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
        entity.add_requested_context(STORAGE_COMMITMENT)
        entity.add_requested_context(MG)
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self.on_report)]
        assoc = entity.associate(
            "127.0.0.1", self.port, ae_title="ONCOPIXEL", evt_handlers=handlers
        )
        assert assoc.is_established
        try:
            yield assoc
        finally:
            if assoc.is_established:
                assoc.release()

    @contextmanager
    def listening(self, port: int) -> Iterator[None]:
        entity = ApplicationEntity("MODALITY")
        entity.require_called_aet = True
        entity.add_supported_context(STORAGE_COMMITMENT, scu_role=False, scp_role=True)
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self.on_report)]
        server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
        try:
            yield
        finally:
            server.shutdown()

    @property
    def told(self) -> tuple[int, dict[str, int | None], bool]:
        """Event type, Failure Reason by SOP Instance UID, and whether on our association."""
        assert self.heard.wait(15)
        event_type, information, here = self.reports[-1]
        assert information.TransactionUID == TRANSACTION
        committed = information.get("ReferencedSOPSequence") or []
        failed = information.get("FailedSOPSequence") or []
        verdicts: dict[str, int | None] = {i.ReferencedSOPInstanceUID: None for i in committed}
        verdicts |= {i.ReferencedSOPInstanceUID: i.FailureReason for i in failed}
        return event_type, verdicts, here


def ask(
    assoc: Association,
    uids: list[str],
    *,
    sop_class: str = MG,
    action: int = 1,
    instance: str = commitment.SOP_INSTANCE,
    **changes: Any,
) -> int:
    information = Dataset()
    information.TransactionUID = TRANSACTION
    information.ReferencedSOPSequence = [reference(sop_class, uid) for uid in uids]
    for keyword, value in changes.items():
        setattr(information, keyword, value)
    answer, _ = assoc.send_n_action(information, action, STORAGE_COMMITMENT, instance)
    return int(answer.Status)


def reference(sop_class: str, uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class
    item.ReferencedSOPInstanceUID = uid
    return item
