"""Archives that know IOCM show neither what a rejection note takes back nor the note itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Store
from mammogram_builder import SCREENING
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    KeyObjectSelectionDocumentStorage,
    SegmentationStorage,
)
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from workflow_builder import PretendedModel, Works, running, until, utc_now

from oncopixel_pacs.deliver.asking import FIND
from oncopixel_pacs.domain import Delivery, DeliveryState, Job, ObjectKind
from oncopixel_pacs.receive.guards.state_machine import use_ending_state_machine
from oncopixel_pacs.report.rejection_note import rejected_uids
from oncopixel_pacs.settings import CStoreDestination, DeliverySettings
from oncopixel_pacs.store.proofs import Proofs
from oncopixel_pacs.store.retention import Retention

SOON = DeliverySettings(first_retry_seconds=0.1, max_retry_seconds=0.2)


@dataclass
class HidingArchive:
    """Shows by C-FIND what it stored, but for notes and what they take back.

    Attributes
    ----------
    shows
        Whether it shows anything yet; some are behind by hours.
    """

    shows: bool = False
    received: Counter[str] = field(default_factory=Counter)
    hidden: set[str] = field(default_factory=set)

    def __enter__(self) -> HidingArchive:
        self.entity = ApplicationEntity("ARCHIVE")
        for uid in (
            FIND,
            SegmentationStorage,
            Comprehensive3DSRStorage,
            KeyObjectSelectionDocumentStorage,
        ):
            self.entity.add_supported_context(uid)
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, use_ending_state_machine),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_FIND, self._find),
        ]
        server: Any = self.entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port = server.server_address[1]
        return self

    def __exit__(self, *_: object) -> None:
        self.entity.shutdown()

    def _store(self, event: evt.Event) -> int:
        item = event.dataset
        self.received[item.SOPInstanceUID] += 1
        if item.SOPClassUID == KeyObjectSelectionDocumentStorage:
            self.hidden |= {item.SOPInstanceUID, *rejected_uids(item)}
        return 0x0000

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        wanted = event.identifier.SOPInstanceUID
        if self.shows and wanted in self.received and wanted not in self.hidden:
            yield 0xFF00, event.identifier


def deliveries(works: Works, job: Job) -> tuple[Delivery, ...]:
    return works.job(job.id).deliveries


def note_of(works: Works, job: Job) -> Delivery:
    (note,) = (item for item in job.objects if item.kind is ObjectKind.REJECTION)
    (sent,) = (i for i in deliveries(works, job) if i.sop_instance_uid == note.sop_instance_uid)
    return sent


@pytest.mark.parametrize("shows", [True, False], ids=["at once", "later"])
def test_what_an_archive_hides_is_neither_missed_nor_sent_again(
    store: Store, tmp_path: Path, shows: bool
) -> None:
    with HidingArchive(shows) as archive:
        pacs = CStoreDestination(
            type="cstore", name="pacs", host="127.0.0.1", port=archive.port, ae_title="ARCHIVE"
        )
        works = Works(store, PretendedModel(), (pacs,), delivery=SOON)
        with running(works):
            works.receive(tmp_path / "in", SCREENING[0])
            first = works.finished(works.settle().id)
            works.receive(tmp_path / "in", SCREENING[1])
            second = works.finished(works.settle().id)
            archive.shows = True
            until(lambda: note_of(works, second).asked > 1)
        assert note_of(works, second).state is DeliveryState.ACCEPTED
        works.delivery = works.delivery.model_copy(update={"confirm_seconds": 0.1})
        with running(works):
            until(lambda: {i.state for i in deliveries(works, second)} == {DeliveryState.CONFIRMED})
            old = {item.sop_instance_uid for item in first.objects} & archive.hidden
            until(lambda: proven_but(old, deliveries(works, first)))
            tomorrow = utc_now() + timedelta(days=1)
            assert Proofs(store.database).destinations_due(tomorrow) == ()
    assert len(old) == 1
    assert Proofs(store.database).alarm() == ""
    assert set(archive.received.values()) == {1}
    # The archive has all that holds: what it took back may go with it.
    (expired,) = Retention(store.database, store.files).expired(tomorrow)
    assert expired.revision == second.revision


def proven_but(taken_back: set[str], sent: tuple[Delivery, ...]) -> bool:
    rest = [item for item in sent if item.sop_instance_uid not in taken_back]
    return {item.state for item in rest} == {DeliveryState.CONFIRMED}
