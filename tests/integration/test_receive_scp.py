"""Images arrive by C-STORE: what is kept, what is refused, and with which words."""

from __future__ import annotations

import errno
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dimse_builder import (
    STUDY,
    Reception,
    association,
    cut,
    free_port,
    mammogram,
    reception,
    store,
    until,
    utc_now,
    write,
)
from pydicom import dcmread
from pydicom.uid import (
    ComprehensiveSRStorage,
    DigitalMammographyXRayImageStorageForProcessing,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)
from pynetdicom import _config
from structlog.testing import capture_logs

from oncopixel_pacs.digests import dataset_digest
from oncopixel_pacs.domain import IntakeOutcome
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.receive.guards.event_requests import AskingDimse
from oncopixel_pacs.receive.limits import Limits
from oncopixel_pacs.receive.scp import StorageScp
from oncopixel_pacs.settings import PeerSettings


@pytest.fixture
def received(tmp_path: Path) -> Iterator[Reception]:
    with reception(tmp_path / "data") as running:
        yield running


@pytest.fixture
def raw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let senders send files as they are, even broken ones."""
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)


def test_an_image_is_stored_byte_for_byte(received: Reception, tmp_path: Path, raw: None) -> None:
    sent = write(mammogram(), tmp_path / "a.dcm")
    assert store(received.port, sent).Status == 0x0000
    (study,) = received.catalogue.studies().items
    (instance,) = study.instances
    kept = received.files.absolute(instance.path)
    assert dcmread(kept) == dcmread(sent)
    assert instance.digest == dataset_digest(sent, len(sent.read_bytes()) - _body(sent))
    assert instance.calling_ae_title == "MODALITY"
    assert instance.size_bytes == kept.stat().st_size
    assert study.header.patient_name == "Phantom^Anna"
    assert not received.leftovers


def _body(path: Path) -> int:
    content = path.read_bytes()
    return len(content) - content.index(b"\x08\x00\x16\x00")


def test_echo_is_answered(received: Reception) -> None:
    with association(received.port) as assoc:
        assert assoc.send_c_echo().Status == 0x0000


def test_many_images_over_one_association(received: Reception) -> None:
    with association(received.port) as assoc:
        answers = [assoc.send_c_store(mammogram(number)).Status for number in range(1, 21)]
    assert answers == [0x0000] * 20
    assert len(received.stored) == 20
    assert not received.leftovers


def test_the_same_image_eight_times_at_once_is_one_row(received: Reception) -> None:
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(store(received.port, mammogram()).Status))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [0x0000] * 8
    assert len(received.stored) == 1
    assert len(list(received.files.stored_paths())) == 1


def test_a_resend_with_another_file_meta_header_is_the_same_image(
    received: Reception, tmp_path: Path
) -> None:
    assert store(received.port, mammogram()).Status == 0x0000
    image = mammogram()
    image.file_meta.ImplementationVersionName = "OTHER"
    received.intake.accept_file(write(image, tmp_path / "again.dcm"))
    (study,) = received.catalogue.studies().items
    assert (len(study.instances), study.conflicts) == (1, 0)


def test_other_content_under_a_known_uid_is_kept_beside_the_first(received: Reception) -> None:
    assert store(received.port, mammogram(fill=100)).Status == 0x0000
    assert store(received.port, mammogram(fill=200)).Status == 0x0000
    (study,) = received.catalogue.studies().items
    assert (len(study.instances), study.conflicts) == (1, 1)
    first = dcmread(received.files.absolute(study.instances[0].path))
    assert first.pixel_array.max() == 100
    assert len(list(received.files.stored_paths())) == 2


def test_pixel_data_shorter_than_declared_is_accepted_as_it_is(
    received: Reception, tmp_path: Path, raw: None
) -> None:
    sent = cut(write(mammogram(), tmp_path / "a.dcm"), 500)
    assert store(received.port, sent).Status == 0x0000
    (study,) = received.catalogue.studies().items
    kept = received.files.absolute(study.instances[0].path).read_bytes()
    assert kept[-_body(sent) :] == sent.read_bytes()[-_body(sent) :]


@pytest.mark.parametrize(
    ("damage", "status", "comment"),
    [
        (lambda c: c[: c.index(b"Phantom^Anna") + 4], 0xC000, "ends inside its header"),
        (lambda c: c[: c.index(b"\x08\x00\x16\x00")] + b"\xff" * 900, 0xC000, ""),
        (lambda c: c.replace(b"\x20\x00\x0d\x00UI", b"\x20\x00\x0f\x00UI"), 0xC000, "StudyInst"),
        (lambda c: _late(c, (STUDY + ".1.1").encode(), b"9"), 0xA900, "SOPInstanceUID"),
    ],
    ids=["header cut", "not DICOM", "no Study Instance UID", "another SOP Instance UID"],
)
def test_what_cannot_be_understood_is_refused_with_a_reason(
    received: Reception, tmp_path: Path, raw: None, damage: Any, status: int, comment: str
) -> None:
    sent = write(mammogram(), tmp_path / "a.dcm")
    sent.write_bytes(damage(sent.read_bytes()))
    answer = store(received.port, sent)
    assert answer.Status == status
    assert comment in answer.ErrorComment
    assert not received.stored
    assert not list(received.files.stored_paths())
    assert not received.leftovers
    assert store(received.port, mammogram()).Status == 0x0000


def _late(content: bytes, value: bytes, last: bytes) -> bytes:
    """Change the last character of the second occurrence: the data set's, not the meta's."""
    position = content.index(value, content.index(value) + 1) + len(value)
    return content[: position - 1] + last + content[position:]


def test_another_sop_class_than_the_command_names_is_refused(
    received: Reception, tmp_path: Path, raw: None
) -> None:
    sent = write(mammogram(), tmp_path / "a.dcm")
    sent.write_bytes(_late(sent.read_bytes(), b"1.2.840.10008.5.1.4.1.1.1.2", b"1"))
    with capture_logs() as logged:
        answer = store(received.port, sent)
    (refused,) = (item for item in logged if item["event"] == "intake.refused")
    assert refused["sop_instance_uid"] == STUDY + ".1.1"
    assert answer.Status == 0xA900
    assert "SOPClassUID" in answer.ErrorComment


def test_another_sop_class_than_was_negotiated_is_refused(received: Reception) -> None:
    with association(received.port) as assoc:
        # The sender believes that it negotiated For Processing.
        image = mammogram(SOPClassUID=DigitalMammographyXRayImageStorageForProcessing)
        context = assoc.accepted_contexts[0]
        context.abstract_syntax = image.SOPClassUID
        answer = assoc.send_c_store(image)
    assert answer.Status == 0xA900
    assert "than its context" in answer.ErrorComment


def test_a_uid_that_leads_out_of_the_folder_goes_nowhere(received: Reception) -> None:
    image = mammogram()
    image["StudyInstanceUID"]._value = "../../x"
    assert store(received.port, image).Status == 0xC000


@pytest.mark.parametrize(
    ("sop_class", "syntax"),
    [(ComprehensiveSRStorage, ImplicitVRLittleEndian), (None, "1.2.840.10008.1.2.4.100")],
    ids=["not an image", "unsupported transfer syntax"],
)
def test_what_we_do_not_take_is_refused_at_negotiation(
    received: Reception, sop_class: str | None, syntax: str
) -> None:
    options = {"sop_class": sop_class} if sop_class else {}
    with association(received.port, syntaxes=(syntax,), **options) as assoc:
        rejected = {str(item.abstract_syntax) for item in assoc.rejected_contexts}
        assert len(rejected) == 1
        assert assoc.send_c_echo().Status == 0x0000


@pytest.mark.parametrize(
    ("calling", "called", "reason"), [("STRANGER", "ONCOPIXEL", 0x03), ("ROOM1", "OTHER", 0x07)]
)
def test_strangers_are_rejected_with_the_reason(
    tmp_path: Path, calling: str, called: str, reason: int
) -> None:
    peers = (PeerSettings(ae_title="ROOM1", address="127.0.0.1"),)
    with reception(tmp_path / "data", peers=peers) as received:
        with association(received.port, calling=calling, called=called) as assoc:
            assert assoc.is_rejected
            assert assoc.acceptor.primitive.diagnostic == reason
        assert store(received.port, mammogram(), calling="ROOM1").Status == 0x0000


def test_a_known_title_from_another_address_is_rejected(tmp_path: Path) -> None:
    peers = (PeerSettings(ae_title="ROOM1", address="192.0.2.1"),)
    with (
        reception(tmp_path / "data", peers=peers) as received,
        association(received.port, calling="ROOM1") as assoc,
    ):
        assert assoc.acceptor.primitive.diagnostic == 0x03


@pytest.mark.parametrize("failing", ["fsync", "rename"])
def test_a_disk_that_refuses_is_told_and_nothing_is_acknowledged(
    received: Reception, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if failing == "fsync":
        monkeypatch.setattr(os, "fsync", refuse)
    else:
        monkeypatch.setattr(os, "link", refuse)
        monkeypatch.setattr(os, "replace", refuse)
    answer = store(received.port, mammogram())
    assert answer.Status == 0xA700
    assert "No space left" in answer.ErrorComment
    assert not received.stored
    assert not received.leftovers
    monkeypatch.undo()
    assert store(received.port, mammogram()).Status == 0x0000


def test_a_volume_without_hard_links_keeps_images_too(
    received: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    assert store(received.port, mammogram()).Status == 0x0000
    assert len(list(received.files.stored_paths())) == 1
    assert not received.leftovers


def test_a_disk_that_is_full_while_the_image_arrives_is_told(
    received: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    received.files.incoming.rmdir()
    assert store(received.port, mammogram()).Status == 0xA700
    received.files.incoming.mkdir()
    assert store(received.port, mammogram()).Status == 0x0000


def test_a_database_that_does_not_take_it_is_told(
    received: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    with received.database.engine.connect() as connection:
        connection.exec_driver_sql("ALTER TABLE instance RENAME TO gone")
        assert store(received.port, mammogram()).Status == 0xA700
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO instance")
    assert store(received.port, mammogram()).Status == 0x0000


def test_an_error_that_nobody_foresaw_is_answered_and_not_quoted(
    received: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("Phantom^Anna")

    monkeypatch.setattr(received.catalogue, "add_instance", fail)
    answer = store(received.port, mammogram())
    assert answer.Status == 0xC001
    assert "Anna" not in answer.ErrorComment


def test_an_image_over_the_limit_is_refused_and_the_association_goes_on(tmp_path: Path) -> None:
    with reception(tmp_path / "data", Limits(dataset_bytes=100_000)) as received:
        with association(received.port) as assoc:
            answer = assoc.send_c_store(mammogram(rows=512, columns=512))
            assert answer.Status == 0xA700
            assert "larger than" in answer.ErrorComment
            assert assoc.send_c_store(mammogram()).Status == 0x0000
        assert not received.leftovers


@pytest.mark.parametrize(
    "fragment",
    [b"", b"\x03", b"\x03junk that is no command", b"\x03" + b"\x00" * 40],
    ids=["empty", "no command", "junk", "zeros"],
)
def test_a_command_that_is_none_ends_its_association_only(
    received: Reception, fragment: bytes
) -> None:
    with association(received.port) as assoc:
        item = struct.pack(">LB", 1 + len(fragment), 1) + fragment
        assoc.dul.socket.send(struct.pack(">BBL", 4, 0, len(item)) + item)
        until(lambda: not assoc.is_established)
    assert store(received.port, mammogram()).Status == 0x0000


def test_a_port_that_is_taken_is_a_clear_error(tmp_path: Path) -> None:
    with reception(tmp_path / "one") as received:
        settings = received.settings.model_copy(update={"dimse_port": received.port})
        with pytest.raises(ConfigurationError, match=f"port {received.port}"):
            StorageScp(settings, received.intake, received.records, utc_now).start()


def test_stopping_ends_open_associations(tmp_path: Path) -> None:
    with reception(tmp_path / "data") as received:
        with association(received.port) as assoc:
            received.scp.stop()
            until(lambda: not assoc.is_established)
        with association(received.port) as late:
            assert not late.is_established
        received.scp.stop()


def test_stopping_waits_for_the_image_that_is_being_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reception(tmp_path / "data") as received:
        reached, released = threading.Event(), threading.Event()
        add = received.catalogue.add_instance

        def slow(*arguments: Any) -> IntakeOutcome:
            reached.set()
            released.wait(15)
            return add(*arguments)

        monkeypatch.setattr(received.catalogue, "add_instance", slow)
        answers: list[Any] = []
        sender = threading.Thread(
            target=lambda: answers.append(store(received.port, mammogram())), daemon=True
        )
        sender.start()
        assert reached.wait(15)
        stopper = threading.Thread(target=received.scp.stop, daemon=True)
        stopper.start()
        sender.join(15)
        assert stopper.is_alive()
        released.set()
        stopper.join(15)
        assert "Status" not in answers[0]
        assert len(received.stored) == 1
        assert not received.leftovers


def test_no_name_reaches_the_log(
    received: Reception, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    assert store(received.port, mammogram()).Status == 0x0000
    image = mammogram(number=2)
    image["StudyInstanceUID"]._value = "not a UID"
    assert store(received.port, image).Status == 0xC000
    output = capfd.readouterr()
    assert "intake.stored" in output.out
    assert "Phantom" not in output.out + output.err + caplog.text
    assert "P-1" not in output.out + output.err


def test_what_is_stored_is_logged_though_nobody_hears_the_answer(
    received: Reception, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise ConnectionResetError("the peer hung up")

    monkeypatch.setattr(AskingDimse, "send_now", lost)
    with association(received.port) as assoc:
        assert "Status" not in assoc.send_c_store(mammogram())
    assert len(received.stored) == 1
    until(lambda: "intake.stored" in capfd.readouterr().out)


def test_unused_port_refuses() -> None:
    with association(free_port()) as assoc:
        assert not assoc.is_established


def test_baseline_jpeg_is_offered_only_if_it_can_be_decoded(received: Reception) -> None:
    from oncopixel_pacs.imaging.codecs import SUPPORTED_TRANSFER_SYNTAXES

    with association(received.port, syntaxes=(JPEGBaseline8Bit,)) as assoc:
        accepted = {str(item.transfer_syntax[0]) for item in assoc.accepted_contexts}
    assert (JPEGBaseline8Bit in accepted) == (JPEGBaseline8Bit in SUPPORTED_TRANSFER_SYNTAXES)
