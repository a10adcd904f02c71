"""Accepted is not delivered: each archive is asked, and what it lost is sent again."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Store
from dimse_builder import Reception, association, free_port, reception, until
from orthanc_server import PASSWORD, Orthanc, running_orthanc
from outbox_builder import Desk
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.presentation import build_role
from workflow_builder import folder_destination

from oncopixel_pacs.deliver import commitment, echo
from oncopixel_pacs.demo.embedded_archive import EmbeddedArchive
from oncopixel_pacs.domain import Delivery, DeliveryState, JobState
from oncopixel_pacs.domain.proofs import CommitmentReport
from oncopixel_pacs.receive.guards.state_machine import use_ending_state_machine
from oncopixel_pacs.receive.peers import reporting_archives
from oncopixel_pacs.settings import (
    CStoreDestination,
    DeliverySettings,
    FolderDestination,
    OrthancDestination,
    PeerSettings,
    Settings,
    StowDestination,
)

HOUR = 3600


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path_factory.mktemp("orthanc"), SaveJobs=False) as server:
        yield server


def cstore_to(port: int, ae_title: str = "ARCHIVE", **changes: Any) -> CStoreDestination:
    return CStoreDestination(
        type="cstore", name="pacs", host="127.0.0.1", port=port, ae_title=ae_title, **changes
    )


def login(orthanc: Orthanc) -> dict[str, Any]:
    return {"user": "onco", "password": PASSWORD}


def deliveries(desk: Desk, job_id: str = "job1") -> tuple[Delivery, ...]:
    return desk.store.ledger.job(job_id).deliveries


def states(desk: Desk) -> set[DeliveryState]:
    return {item.state for item in deliveries(desk)}


def accepted(desk: Desk) -> Desk:
    """Send the results of a job, and see them accepted."""
    desk.add_job(1)
    desk.work()
    assert states(desk) == {DeliveryState.ACCEPTED}
    return desk


def require_confirmed(desk: Desk, how: str) -> None:
    assert [(item.state, item.proof) for item in deliveries(desk)] == [
        (DeliveryState.CONFIRMED, how)
    ] * 2
    assert all(item.confirmed_at == desk.time and not item.error for item in deliveries(desk))
    assert desk.proofs.alarm() == ""


# --- each kind of archive -------------------------------------------------------------------------


@pytest.mark.parametrize("type_", ["orthanc", "stow", "cstore"])
def test_an_orthanc_is_asked_in_the_way_that_suits_its_kind(
    store: Store, orthanc: Orthanc, type_: str
) -> None:
    place, how = {
        "orthanc": (
            OrthancDestination(type="orthanc", name="pacs", url=orthanc.url, **login(orthanc)),
            "Orthanc",
        ),
        "stow": (
            StowDestination(type="stow", name="pacs", url=orthanc.dicomweb_url, **login(orthanc)),
            "QIDO-RS",
        ),
        "cstore": (cstore_to(orthanc.dimse_port, proof="query"), "C-FIND"),
    }[type_]
    desk = accepted(Desk(store, [place]))
    desk.wait(2)
    require_confirmed(desk, how)
    # What it loses afterwards it is not believed to have.
    study = store.ledger.job("job1").study_instance_uid
    desk.add_job(2)
    desk.work()
    forget(orthanc, study="2.25.82")
    desk.wait(2)
    lost = deliveries(desk, "job2")
    assert {item.state for item in lost} == {DeliveryState.ACCEPTED}
    assert all(f"{how} does not find it there" in item.error for item in lost)
    forget(orthanc, study=study)


def forget(orthanc: Orthanc, study: str) -> None:
    answer = orthanc.client.post("/tools/lookup", content=study).json()
    (found,) = (item for item in answer if item["Type"] == "Study")
    orthanc.client.delete(f"/studies/{found['ID']}").raise_for_status()


def test_an_orthanc_reports_commitment_on_an_association_of_its_own(
    store: Store, orthanc: Orthanc, tmp_path: Path
) -> None:
    place = cstore_to(orthanc.dimse_port)
    url = f"sqlite:///{tmp_path / 'oncopixel.sqlite'}"
    with reception(
        tmp_path / "own", database_url=url, destinations=(place,), peers=(SOMEONE,)
    ) as ours:
        orthanc.know("ONCOPIXEL", ours.port)
        try:
            desk = accepted(Desk(store, [place], report_seconds=0.0))
            desk.wait(2)
            until(lambda: states(desk) == {DeliveryState.CONFIRMED})
        finally:
            orthanc.forget()
    assert {item.proof for item in deliveries(desk)} == {"storage commitment"}
    forget(orthanc, "2.25.81")


#: With a known peer nobody else may call, but an archive that reports.
SOMEONE = PeerSettings(ae_title="SOMEONE")


def test_an_archive_reports_commitment_on_the_association_of_the_request(
    store: Store, tmp_path: Path
) -> None:
    with reception(tmp_path / "archive") as archive:
        desk = accepted(Desk(store, [cstore_to(archive.port, "ONCOPIXEL")], report_seconds=15.0))
        desk.wait(2)
        require_confirmed(desk, "storage commitment")
        assert len(archive.stored) == 2


@pytest.mark.dcmtk
@pytest.mark.skipif(shutil.which("dcmqrscp") is None, reason="DCMTK is not installed")
def test_an_archive_without_commitment_is_asked_by_c_find(store: Store, tmp_path: Path) -> None:
    with dcmqrscp(tmp_path) as port:
        desk = accepted(Desk(store, [cstore_to(port)]))
        desk.wait(2)
        require_confirmed(desk, "C-FIND")


@contextmanager
def dcmqrscp(folder: Path) -> Iterator[int]:
    port, storage = free_port(), folder / "storage"
    storage.mkdir()
    (folder / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nARCHIVE {storage} RW (200, 1024mb) ANY\nAETable END\n"
    )
    process = subprocess.Popen(
        ["dcmqrscp", "-c", str(folder / "dcmqrscp.cfg")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(listens)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def test_a_folder_is_read_back(store: Store, tmp_path: Path) -> None:
    place = FolderDestination(type="folder", name="pacs", path=tmp_path / "out")
    desk = accepted(Desk(store, [place]))
    desk.wait(2)
    require_confirmed(desk, "read back")


def test_an_archive_that_offers_no_proof_is_not_suspected(store: Store, tmp_path: Path) -> None:
    archive = EmbeddedArchive(tmp_path / "archive", "ARCHIVE")
    port = archive.start()
    try:
        desk = accepted(Desk(store, [cstore_to(port)]))
        desk.wait(2)
        desk.wait(2 * HOUR)
    finally:
        archive.stop()
    assert states(desk) == {DeliveryState.ACCEPTED}
    assert desk.proofs.alarm() == ""
    assert set(archive.stored.values()) == {1}


def test_an_archive_that_need_not_be_asked_is_not(store: Store, tmp_path: Path) -> None:
    desk = accepted(Desk(store, [folder_destination(tmp_path / "out")]))
    assert desk.proofs.destinations_due(desk.time + timedelta(days=365)) == ()


# --- what is not found ----------------------------------------------------------------------------


@pytest.fixture
def folder(store: Store, tmp_path: Path) -> Desk:
    """Give a job that was written to a folder, from which someone takes a file away."""
    place = FolderDestination(type="folder", name="pacs", path=tmp_path / "out")
    desk = accepted(Desk(store, [place]))
    files(tmp_path)[0].unlink()
    desk.wait(2)
    assert sorted(states(desk)) == [DeliveryState.ACCEPTED, DeliveryState.CONFIRMED]
    return desk


def files(folder: Path) -> list[Path]:
    return sorted((folder / "out").rglob("*.dcm"))


def test_what_is_not_found_within_the_limit_raises_an_alarm_and_is_sent_again(
    folder: Desk, tmp_path: Path
) -> None:
    folder.wait(HOUR - 10)
    assert folder.proofs.alarm() == ""
    folder.wait(400)
    assert folder.proofs.alarm().startswith(
        "Results were accepted and are not found afterwards: pacs (1)."
    )
    job = folder.store.ledger.job("job1")
    assert job.state is JobState.DELIVERING
    (lost,) = (item for item in job.deliveries if item.unconfirmed_at)
    assert (lost.state, lost.resends) == (DeliveryState.QUEUED, 1)
    folder.wait(1)
    assert len(files(tmp_path)) == 2
    assert folder.store.ledger.job("job1").state is JobState.DONE
    folder.wait(2)
    assert states(folder) == {DeliveryState.CONFIRMED}
    assert folder.proofs.alarm() == ""


def test_a_file_with_other_content_is_not_taken_for_ours(store: Store, tmp_path: Path) -> None:
    place = FolderDestination(type="folder", name="pacs", path=tmp_path / "out")
    desk = accepted(Desk(store, [place]))
    files(tmp_path)[0].write_bytes(b"something else")
    desk.wait(2)
    assert sorted(states(desk)) == [DeliveryState.ACCEPTED, DeliveryState.CONFIRMED]


def test_an_archive_that_keeps_losing_it_is_not_sent_it_for_ever(
    folder: Desk, tmp_path: Path
) -> None:
    for _ in range(12):
        folder.wait(HOUR / 2)
        for path in files(tmp_path):
            path.unlink()
    (lost,) = (item for item in deliveries(folder) if item.unconfirmed_at)
    assert (lost.resends, lost.state) == (folder.settings.resends, DeliveryState.ACCEPTED)
    assert "pacs (1)" in folder.proofs.alarm()
    # It is asked for all the same; should it turn up, the alarm is over.
    assert folder.proofs.destinations_due(folder.time + timedelta(seconds=400)) == ("pacs",)


def test_how_often_it_is_asked_grows_rarer(store: Store, tmp_path: Path) -> None:
    place = FolderDestination(type="folder", name="pacs", path=tmp_path / "out")
    desk = accepted(Desk(store, [place], DeliverySettings(confirm_seconds=86_400)))
    for path in files(tmp_path):
        path.unlink()
    asked = 0
    for _ in range(120):
        desk.time += timedelta(seconds=30)
        desk.dispatcher.dispatch()
        asked += len(desk.questions)
        desk.work()
    assert 10 <= asked <= 40


def test_an_archive_that_rests_is_not_asked(folder: Desk) -> None:
    due = folder.time + timedelta(seconds=60)
    assert folder.proofs.destinations_due(due) == ("pacs",)
    folder.outbox.note_failure(
        "pacs", folder.time, "Away.", opens_after=1, wait_until=lambda _: due
    )
    assert folder.proofs.destinations_due(due) == ()


def test_an_archive_that_cannot_be_asked_is_asked_later(store: Store, tmp_path: Path) -> None:
    with reception(tmp_path / "archive") as archive:
        place = cstore_to(archive.port, "ONCOPIXEL")
        desk = accepted(Desk(store, [place]))
    desk.wait(2)
    assert states(desk) == {DeliveryState.ACCEPTED}
    assert desk.proofs.destinations_due(desk.time) == ()
    assert desk.proofs.destinations_due(desk.time + timedelta(seconds=10)) == ("pacs",)


# --- storage commitment in detail -----------------------------------------------------------------


@dataclass
class CommittingArchive:
    """Stores, and answers N-ACTION as it is told; it reports when `report` is called."""

    folder: Path
    status: int = 0x0000

    def __enter__(self) -> CommittingArchive:
        self.entity = ApplicationEntity("ARCHIVE")
        self.entity.add_supported_context("1.2.840.10008.5.1.4.1.1.7")
        self.entity.add_supported_context(commitment.STORAGE_COMMITMENT)
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, use_ending_state_machine),
            (evt.EVT_C_STORE, lambda _event: 0x0000),
            (evt.EVT_N_ACTION, self._on_action),
        ]
        server: Any = self.entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port = server.server_address[1]
        self.requests: list[Dataset] = []
        return self

    def __exit__(self, *_: object) -> None:
        self.entity.shutdown()

    def _on_action(self, event: evt.Event) -> tuple[int, None]:
        self.requests.append(event.action_information)
        return self.status, None

    def report(self, desk: Desk, failed: int | None = None) -> bool:
        """Say that everything is committed, or nothing, for this reason."""
        request = self.requests[-1]
        uids = tuple(str(i.ReferencedSOPInstanceUID) for i in request.ReferencedSOPSequence)
        told = CommitmentReport(
            str(request.TransactionUID),
            uids if failed is None else (),
            {} if failed is None else dict.fromkeys(uids, failed),
        )
        return desk.proofs.report(told, desk.time, desk.settings.resends)


def test_an_archive_that_did_not_commit_gets_the_objects_again_at_once(
    store: Store, tmp_path: Path
) -> None:
    with CommittingArchive(tmp_path) as archive:
        desk = accepted(Desk(store, [cstore_to(archive.port)], report_seconds=0.0))
        desk.wait(2)
        assert archive.report(desk, failed=0x0112)
        assert {item.resends for item in deliveries(desk)} == {1}
        assert "pacs (2)" in desk.proofs.alarm()
        assert desk.wait(1) == 1
        desk.wait(2)
        assert len(archive.requests) == 2
        assert archive.report(desk)
    require_confirmed(desk, "storage commitment")


def test_an_archive_that_takes_its_time_to_report_is_not_asked_all_the_time(
    store: Store, tmp_path: Path
) -> None:
    with CommittingArchive(tmp_path) as archive:
        desk = accepted(Desk(store, [cstore_to(archive.port)], report_seconds=0.0))
        for _ in range(11):
            desk.wait(300)
        assert 2 <= len(archive.requests) <= 4
        assert {item.error for item in deliveries(desk)} == {""}
        assert archive.report(desk)
    require_confirmed(desk, "storage commitment")


def test_an_archive_that_promised_a_report_and_brings_none_is_searched(
    store: Store, orthanc: Orthanc
) -> None:
    """It cannot call us: nobody told it where we listen."""
    desk = accepted(Desk(store, [cstore_to(orthanc.dimse_port)], report_seconds=0.0))
    desk.wait(2)
    assert states(desk) == {DeliveryState.ACCEPTED}
    desk.wait(HOUR / 3)
    require_confirmed(desk, "C-FIND")
    forget(orthanc, "2.25.81")


def test_an_archive_that_only_promises_commitment_is_found_out(
    store: Store, tmp_path: Path
) -> None:
    with CommittingArchive(tmp_path, status=0x0110) as archive:
        place = cstore_to(archive.port, proof="commitment")
        desk = accepted(Desk(store, [place], report_seconds=0.0))
        for _ in range(13):
            desk.wait(300)
    assert "pacs (2)" in desk.proofs.alarm()


def test_a_report_of_a_request_that_we_did_not_send_is_not_taken(
    store: Store, tmp_path: Path
) -> None:
    with reception(tmp_path / "own") as ours, reporting_to(ours) as assoc:
        assert report_to(assoc, TransactionUID="1.2.3") == 0x0115
        assert report_to(assoc, PatientID="no transaction") == 0x0115


@contextmanager
def reporting_to(ours: Reception) -> Iterator[Any]:
    entity = ApplicationEntity("ARCHIVE")
    entity.add_requested_context(commitment.STORAGE_COMMITMENT)
    role = build_role(commitment.STORAGE_COMMITMENT, scu_role=False, scp_role=True)
    assoc = entity.associate("127.0.0.1", ours.port, ae_title="ONCOPIXEL", ext_neg=[role])
    assert assoc.is_established
    yield assoc
    assoc.release()


def report_to(assoc: Any, **attributes: Any) -> int:
    information = Dataset()
    for keyword, value in attributes.items():
        setattr(information, keyword, value)
    answer, _ = assoc.send_n_event_report(
        information, 1, commitment.STORAGE_COMMITMENT, commitment.SOP_INSTANCE
    )
    return int(answer.Status)


def test_only_an_archive_with_an_address_may_call_to_report() -> None:
    def known(**changes: Any) -> list[tuple[str, str | None]]:
        place = cstore_to(104).model_copy(update=changes)
        settings = Settings(destinations=(place,))
        return [(item.ae_title, item.address) for item in reporting_archives(settings)]

    assert known() == [("ARCHIVE", "127.0.0.1")]
    assert known(proof="query") == known(host="pacs.hospital.example") == []


# --- STOW-RS --------------------------------------------------------------------------------------


def test_a_dicomweb_archive_answers_our_question_whether_it_is_there(orthanc: Orthanc) -> None:
    place = StowDestination(type="stow", name="web", url=orthanc.dicomweb_url, **login(orthanc))
    said = echo(place, calling_ae_title="ONCOPIXEL", timeout_seconds=10)
    assert said == f"QIDO-RS answered HTTP 200 at {orthanc.dicomweb_url}"


def test_the_association_is_our_own_product_on_the_other_side(tmp_path: Path) -> None:
    """A commitment context with roles serves modalities as before."""
    with (
        reception(tmp_path) as ours,
        association(ours.port, sop_class=commitment.STORAGE_COMMITMENT) as assoc,
    ):
        (context,) = (
            item
            for item in assoc.accepted_contexts
            if item.abstract_syntax == commitment.STORAGE_COMMITMENT
        )
        assert context.as_scu
        assert not context.as_scp
