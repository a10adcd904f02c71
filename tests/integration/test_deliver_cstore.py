"""Results go out by C-STORE: what a PACS says of each object, and what it means."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dimse_builder import (
    Reception,
    cut,
    free_port,
    mammogram,
    reception,
    silent_listener,
    store,
    until,
    write,
)
from pydicom import dcmread
from pydicom.uid import (
    ComprehensiveSRStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    SegmentationStorage,
)
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation as MG
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.transport import ThreadedAssociationServer

from oncopixel_pacs.deliver import OutgoingObject, echo, send
from oncopixel_pacs.deliver.cstore import send_files
from oncopixel_pacs.deliver.outcome import Outcome
from oncopixel_pacs.demo.embedded_archive import EmbeddedArchive, Receipt
from oncopixel_pacs.errors import ConfigurationError, DeliveryFailed
from oncopixel_pacs.receive.guards.state_machine import use_ending_state_machine
from oncopixel_pacs.settings import CStoreDestination


@contextmanager
def archive(folder: Path, answer: Callable[[Receipt], int] | None = None) -> Iterator[Any]:
    running = EmbeddedArchive(folder, "ARCHIVE", answer=answer)
    running.port = running.start()  # type: ignore[attr-defined]
    try:
        yield running
    finally:
        running.stop()


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def destination(port: int, ae_title: str = "ARCHIVE") -> CStoreDestination:
    return CStoreDestination(
        type="cstore", name="pacs", host="127.0.0.1", port=port, ae_title=ae_title
    )


def objects(folder: Path, count: int = 1, **attributes: Any) -> list[OutgoingObject]:
    made = []
    for number in range(1, count + 1):
        image = mammogram(number, **attributes)
        path = write(image, folder / f"{number}.dcm")
        made.append(OutgoingObject(image.SOPInstanceUID, image.SOPClassUID, path))
    return made


def deliver(items: list[OutgoingObject], port: int, seconds: float = 20.0) -> list[Outcome]:
    return list(
        send(items, destination(port), calling_ae_title="ONCOPIXEL", timeout_seconds=seconds)
    )


def test_objects_arrive_as_they_are_and_each_has_its_outcome(tmp_path: Path) -> None:
    items = objects(tmp_path, 3)
    with archive(tmp_path / "archive") as pacs:
        outcomes = deliver(items, pacs.port)
    assert [item.sop_instance_uid for item in outcomes] == [i.sop_instance_uid for i in items]
    assert all(
        item == Outcome(item.sop_instance_uid, True, "0x0000", "", False, item.path)
        for item in outcomes
    )
    for item in items:
        assert dcmread(pacs.path(item.sop_instance_uid)) == dcmread(item.path)
    assert pacs.receipts[0].calling_ae_title == "ONCOPIXEL"


@pytest.mark.parametrize("sop_class", [SegmentationStorage, ComprehensiveSRStorage])
def test_result_objects_are_taken_by_the_archive(tmp_path: Path, sop_class: str) -> None:
    items = objects(tmp_path, SOPClassUID=sop_class)
    with archive(tmp_path / "archive") as pacs:
        (outcome,) = deliver(items, pacs.port)
    assert outcome.accepted


def test_the_archive_counts_what_comes_twice(tmp_path: Path) -> None:
    items = objects(tmp_path, 2)
    with archive(tmp_path / "archive") as pacs:
        deliver(items, pacs.port)
        deliver(items[:1], pacs.port)
    assert pacs.stored == {items[0].sop_instance_uid: 2, items[1].sop_instance_uid: 1}
    assert len({item.sha256 for item in pacs.receipts}) == 2
    assert len(list(pacs.folder.iterdir())) == 2


@pytest.mark.parametrize(
    ("status", "accepted", "permanent"),
    [
        (0xB000, True, False),
        (0xA700, False, False),
        (0xA900, False, True),
        (0xC123, False, True),
    ],
)
def test_one_object_of_three_gets_another_status(
    tmp_path: Path, status: int, accepted: bool, permanent: bool
) -> None:
    items = objects(tmp_path, 3)
    odd = items[1].sop_instance_uid
    with archive(
        tmp_path / "archive", lambda r: status if r.sop_instance_uid == odd else 0
    ) as pacs:
        first, second, third = deliver(items, pacs.port)
    assert first.accepted
    assert third.accepted
    assert (second.accepted, second.permanent) == (accepted, permanent)
    assert second.status == f"0x{status:04X}"
    assert second.error.startswith(f"pacs answered 0x{status:04X}: it ")
    assert pacs.path(odd).exists() == accepted


def test_a_kind_of_object_that_the_pacs_does_not_take_is_given_up(tmp_path: Path) -> None:
    items = objects(tmp_path, 2)
    image = mammogram(3, SOPClassUID=CTImageStorage)
    path = write(image, tmp_path / "3.dcm")
    items.insert(1, OutgoingObject(image.SOPInstanceUID, CTImageStorage, path))
    with archive(tmp_path / "archive") as pacs:
        outcomes = deliver(items, pacs.port)
        assert [item.accepted for item in outcomes] == [True, False, True]
        assert outcomes[1].permanent
        assert f"does not take SOP class {CTImageStorage}" in outcomes[1].error
        (alone,) = deliver(items[1:2], pacs.port)
        assert alone.permanent


def test_a_pacs_that_hangs_up_on_one_object_gets_the_others(tmp_path: Path) -> None:
    items = objects(tmp_path, 3)
    with archive(tmp_path / "archive") as pacs:

        def hang_up(receipt: Receipt) -> int:
            if receipt.sop_instance_uid == items[1].sop_instance_uid:
                for assoc in pacs.associations:
                    if assoc.is_acceptor:
                        assoc.abort()
            return 0x0000

        pacs._answer = hang_up
        first, second, third = deliver(items, pacs.port)
    assert first.accepted
    assert (second.accepted, second.permanent, second.status) == (False, False, "")
    assert "gave no answer" in second.error
    assert third.accepted


def test_a_pacs_that_hangs_up_between_objects_is_said_to_have_done_so(tmp_path: Path) -> None:
    with archive(tmp_path / "archive") as pacs:
        outcomes = send(
            objects(tmp_path, 3),
            destination(pacs.port),
            calling_ae_title="ONCOPIXEL",
            timeout_seconds=20.0,
        )
        first = next(iter(outcomes))
        (ours,) = [item for item in threading.enumerate() if getattr(item, "is_requestor", False)]
        for assoc in pacs.associations:
            if assoc.is_acceptor:
                assoc.abort()
        until(lambda: not getattr(ours, "is_established", True))
        second, third = outcomes
    assert first.accepted
    assert (second.accepted, second.permanent) == (False, False)
    assert second.error == "pacs ended the association before this object; it is sent again."
    assert third.accepted


def test_a_pacs_that_goes_away_leaves_the_rest_for_later(tmp_path: Path) -> None:
    with archive(tmp_path / "archive") as pacs:
        leaving = threading.Thread(target=pacs.stop)

        def leave(_: Receipt) -> int:
            leaving.start()
            until(lambda: not listens(pacs.port))
            return 0x0000

        pacs._answer = leave
        outcomes = deliver(objects(tmp_path, 3), pacs.port)
        leaving.join()
    assert [item.accepted for item in outcomes] == [False] * 3
    assert not any(item.permanent for item in outcomes)
    assert "gave no answer" in outcomes[0].error
    assert "nothing listens" in outcomes[2].error


def test_a_pacs_that_falls_silent_is_left_after_the_timeout(tmp_path: Path) -> None:
    released = threading.Event()

    def wait(_: Receipt) -> int:
        released.wait(20)
        return 0x0000

    with archive(tmp_path / "archive", wait) as pacs:
        begin = time.monotonic()
        first, second = deliver(objects(tmp_path, 2), pacs.port, seconds=0.5)
        released.set()
    assert time.monotonic() - begin < 5
    assert (first.accepted, first.permanent, first.status) == (False, False, "")
    assert "fell silent" in second.error


@contextmanager
def archive_that_stops_reading() -> Iterator[int]:
    """Take associations, and read no byte of any object."""
    released = threading.Event()

    def stall(event: evt.Event) -> None:
        if isinstance(event.pdu, P_DATA_TF):
            released.wait(30)

    entity = ApplicationEntity("ARCHIVE")
    entity.add_supported_context(MG)
    server = entity.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[(evt.EVT_CONN_OPEN, use_ending_state_machine), (evt.EVT_PDU_RECV, stall)],
    )
    assert isinstance(server, ThreadedAssociationServer)
    try:
        yield int(server.server_address[1])
    finally:
        released.set()
        entity.shutdown()


def test_a_pacs_that_stops_reading_is_left_after_the_timeout(tmp_path: Path) -> None:
    more_than_sockets_hold = objects(tmp_path, PixelData=bytes(32 << 20))
    with archive_that_stops_reading() as port:
        begin = time.monotonic()
        (outcome,) = deliver(more_than_sockets_hold, port, seconds=0.5)
        assert time.monotonic() - begin < 15
        assert not [item for item in threading.enumerate() if "Requestor" in item.name]
    assert (outcome.accepted, outcome.permanent, outcome.status) == (False, False, "")


def test_a_pacs_that_is_not_there_is_a_passing_failure_that_says_what_to_check(
    tmp_path: Path,
) -> None:
    port = free_port()
    with pytest.raises(DeliveryFailed, match=f"pacs .* port {port}.: nothing listens") as caught:
        deliver(objects(tmp_path), port)
    assert not caught.value.permanent


def test_a_listener_that_says_nothing_is_a_passing_failure(tmp_path: Path) -> None:
    with silent_listener() as port, pytest.raises(DeliveryFailed, match="did not answer") as caught:
        deliver(objects(tmp_path), port, seconds=0.5)
    assert not caught.value.permanent


def test_a_host_without_an_address_is_a_passing_failure(tmp_path: Path) -> None:
    nowhere = destination(104).model_copy(update={"host": "no-such-host.invalid"})
    with pytest.raises(DeliveryFailed, match="address cannot be used"):
        list(send(objects(tmp_path), nowhere, calling_ae_title="A", timeout_seconds=5))


def test_a_wrong_ae_title_is_told(tmp_path: Path) -> None:
    with archive(tmp_path / "archive") as pacs:
        other = destination(pacs.port, ae_title="OTHER")
        with pytest.raises(DeliveryFailed, match="Called AE title not recognised.*check the AE"):
            list(send(objects(tmp_path), other, calling_ae_title="A", timeout_seconds=5))


def test_a_file_that_is_gone_does_not_stop_the_others(tmp_path: Path) -> None:
    items = objects(tmp_path, 2)
    items[0].path.unlink()
    with archive(tmp_path / "archive") as pacs:
        outcomes = deliver(items, pacs.port)
    assert [item.accepted for item in outcomes] == [False, True]
    assert outcomes[0].sop_instance_uid == items[0].sop_instance_uid
    assert not outcomes[0].permanent


def test_echo_says_who_answered(tmp_path: Path) -> None:
    with archive(tmp_path / "archive") as pacs:
        answer = echo(destination(pacs.port), calling_ae_title="A", timeout_seconds=5)
    assert "ARCHIVE at 127.0.0.1" in answer
    with pytest.raises(DeliveryFailed, match="nothing listens"):
        echo(destination(free_port()), calling_ae_title="A", timeout_seconds=5)


def test_a_modality_sends_files_to_the_server(tmp_path: Path) -> None:
    paths = [write(mammogram(number), tmp_path / f"{number}.dcm") for number in range(1, 4)]
    text = tmp_path / "notes.txt"
    text.write_text("no DICOM")
    cut(paths[2], 100)
    with reception(tmp_path / "data") as received:
        outcomes = _as_modality([paths[0], text, paths[1], paths[2]], received)
    assert [item.path for item in outcomes] == [paths[0], text, paths[1], paths[2]]
    assert [item.accepted for item in outcomes] == [True, False, True, True]
    assert outcomes[1].permanent
    assert "no DICOM Part 10 file" in outcomes[1].error


def _as_modality(paths: list[Path], received: Reception) -> list[Outcome]:
    return list(
        send_files(
            paths,
            "127.0.0.1",
            received.port,
            called_ae_title="ONCOPIXEL",
            calling_ae_title="ROOM1",
            timeout_seconds=20,
        )
    )


def test_files_of_more_kinds_than_one_association_can_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oncopixel_pacs.deliver.cstore.MAX_CONTEXTS", 2)
    kinds = ["1.1.1.2", "1.1.1.2.1", "1.1.13.1.3", "1.1.1.1", "1.1.7"]
    paths = [
        write(
            mammogram(number, SOPClassUID=f"1.2.840.10008.5.1.4.{kind}"),
            tmp_path / f"{number}.dcm",
        )
        for number, kind in enumerate(kinds, start=1)
    ]
    with reception(tmp_path / "data") as received:
        outcomes = _as_modality(paths, received)
        assert [item.accepted for item in outcomes] == [True] * 5
        assert len(received.stored) == 5


def test_no_file_needs_no_association() -> None:
    assert not deliver([], free_port())


def test_an_archive_whose_port_is_taken_is_a_clear_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port}"):
            EmbeddedArchive(tmp_path, "ARCHIVE", port=port).start()


def test_the_archive_can_be_stopped_twice(tmp_path: Path) -> None:
    with archive(tmp_path / "archive") as pacs:
        assert store(pacs.port, mammogram(), called="ARCHIVE").Status == 0x0000
        pacs.stop()


# --- what a PACS takes in another transfer syntax -------------------------------------------------


@contextmanager
def taking(*syntaxes: str) -> Iterator[tuple[int, list[Any]]]:
    """Run an archive that takes mammograms in these transfer syntaxes alone."""
    entity = ApplicationEntity("ARCHIVE")
    entity.add_supported_context(MG, list(syntaxes))
    got: list[Any] = []

    def on_store(event: evt.Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        got.append(dataset)
        return 0x0000

    handlers: list[Any] = [(evt.EVT_C_STORE, on_store)]
    server: Any = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.server_address[1], got
    finally:
        server.shutdown()


@pytest.mark.parametrize("stored", [ExplicitVRLittleEndian, RLELossless])
@pytest.mark.parametrize("taken", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_an_object_goes_out_in_a_syntax_that_the_pacs_takes(
    tmp_path: Path, stored: str, taken: str
) -> None:
    image = mammogram()
    plain = image.pixel_array.copy()
    if stored == RLELossless:
        image.compress(RLELossless, generate_instance_uid=False)
    path = write(image, tmp_path / "a.dcm")
    before = path.read_bytes()
    item = OutgoingObject(image.SOPInstanceUID, image.SOPClassUID, path)
    with taking(taken) as (port, got):
        (outcome,) = deliver([item], port)
    assert (outcome.accepted, outcome.status, outcome.path) == (True, "0x0000", path)
    (received,) = got
    assert received.file_meta.TransferSyntaxUID == taken
    assert received.SOPInstanceUID == image.SOPInstanceUID
    assert (received.pixel_array == plain).all()
    assert received.PatientName == image.PatientName
    assert path.read_bytes() == before


def test_an_object_goes_out_as_it_is_where_that_is_taken(tmp_path: Path) -> None:
    image = mammogram()
    image.compress(RLELossless, generate_instance_uid=False)
    path = write(image, tmp_path / "a.dcm")
    item = OutgoingObject(image.SOPInstanceUID, image.SOPClassUID, path)
    with taking(ExplicitVRLittleEndian, RLELossless) as (port, got):
        (outcome,) = deliver([item], port)
    assert outcome.accepted
    assert got[0].file_meta.TransferSyntaxUID == RLELossless


def test_what_cannot_be_written_otherwise_is_refused_with_the_reason(tmp_path: Path) -> None:
    image = mammogram()
    image.compress(RLELossless, generate_instance_uid=False)
    image.PixelData = image.PixelData[:40] + b"\xfe\xff\xdd\xe0\0\0\0\0"
    path = write(image, tmp_path / "a.dcm")
    item = OutgoingObject(image.SOPInstanceUID, image.SOPClassUID, path)
    with taking(ImplicitVRLittleEndian) as (port, got):
        (outcome,) = deliver([item], port)
    assert (outcome.accepted, outcome.permanent, got) == (False, True, [])
    assert "could not be written in another" in outcome.error


def test_what_a_modality_sends_is_never_encoded_anew(tmp_path: Path) -> None:
    image = mammogram()
    image.compress(RLELossless, generate_instance_uid=False)
    path = write(image, tmp_path / "a.dcm")
    with taking(ExplicitVRLittleEndian) as (port, got):
        (outcome,) = send_files(
            [path], "127.0.0.1", port, called_ae_title="ARCHIVE", calling_ae_title="MODALITY"
        )
    assert (outcome.accepted, got) == (False, [])
