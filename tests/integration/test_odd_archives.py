"""Archives that do not answer as one would like: of each object the truth is told all the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Store
from orthanc_server import PASSWORD, running_orthanc
from outbox_builder import Desk
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity

from oncopixel_pacs.deliver import commitment
from oncopixel_pacs.deliver.asking import FIND
from oncopixel_pacs.domain import Delivery, DeliveryState, ObjectKind
from oncopixel_pacs.domain.proofs import CommitmentReport
from oncopixel_pacs.receive.guards.state_machine import use_ending_state_machine
from oncopixel_pacs.settings import CStoreDestination, DeliverySettings, OrthancDestination
from oncopixel_pacs.store.tables import ObjectRow

HOUR = 3600
Answers = Iterable[tuple[int, Dataset | None]]
PYTHON_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancPython.so")
#: Files everything in another study, as sites do that give orders their UIDs.
COERCION = r"""
import orthanc, re
def coerce(dicom, origin):
    moved = re.sub(rb"(\x20\x00\x0d\x00UI..2\.25\.)8", rb"\g<1>9", dicom)
    return orthanc.ReceivedInstanceAction.MODIFY, moved
orthanc.RegisterReceivedInstanceCallback(coerce)
"""


@contextmanager
def archive(
    find: Callable[[Dataset], Answers] | None = None,
    requests: list[Dataset] | None = None,
    status: int | list[int] = 0x0000,
    stores: int = 0x0000,
) -> Iterator[CStoreDestination]:
    """Run one that stores, answers C-FIND, and N-ACTION where requests are to be collected."""
    entity = ApplicationEntity("ARCHIVE")
    entity.add_supported_context(SecondaryCaptureImageStorage)
    handlers: list[Any] = [
        (evt.EVT_CONN_OPEN, use_ending_state_machine),
        (evt.EVT_C_STORE, lambda _event: stores),
    ]
    if find is not None:
        entity.add_supported_context(FIND)
        handlers.append((evt.EVT_C_FIND, lambda event: find(event.identifier)))
    if requests is not None:

        def note(event: evt.Event) -> tuple[int, None]:
            requests.append(event.action_information)
            if isinstance(status, list):
                return status.pop() if status else 0x0000, None
            return status, None

        entity.add_supported_context(commitment.STORAGE_COMMITMENT)
        handlers.append((evt.EVT_N_ACTION, note))
    server: Any = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield CStoreDestination(
            type="cstore",
            name="pacs",
            host="127.0.0.1",
            port=server.server_address[1],
            ae_title="ARCHIVE",
        )
    finally:
        entity.shutdown()


def accepted(desk: Desk) -> Desk:
    desk.add_job(1)
    desk.work()
    assert {item.state for item in sent(desk)} == {DeliveryState.ACCEPTED}
    return desk


def sent(desk: Desk) -> tuple[Delivery, ...]:
    return desk.store.ledger.job("job1").deliveries


def report(desk: Desk, request: Dataset, failed: int | None = None) -> None:
    """Say that everything of a request is committed, or nothing, for this reason."""
    uids = tuple(str(item.ReferencedSOPInstanceUID) for item in request.ReferencedSOPSequence)
    told = CommitmentReport(
        str(request.TransactionUID),
        uids if failed is None else (),
        {} if failed is None else dict.fromkeys(uids, failed),
    )
    assert desk.proofs.report(told, desk.time, desk.settings.resends)


def test_a_question_that_is_not_answered_keeps_no_other_object_from_being_found(
    store: Store,
) -> None:
    def find(wanted: Dataset) -> Answers:
        refused = wanted.SOPInstanceUID.endswith(".1")
        yield (0xC001, None) if refused else (0xFF00, wanted)

    with archive(find) as pacs:
        desk = accepted(Desk(store, [pacs]))
        desk.wait(2)
    unanswered, found = sorted(sent(desk), key=lambda item: item.sop_instance_uid)
    assert found.state is DeliveryState.CONFIRMED
    assert unanswered.state is DeliveryState.ACCEPTED
    assert unanswered.error == "pacs answered C-FIND with 0xC001."


def test_an_archive_that_never_ends_its_answer_holds_nobody_up(store: Store) -> None:
    def find(wanted: Dataset) -> Answers:
        wanted.SOPInstanceUID = "2.25.4711"
        while True:
            yield 0xFF00, wanted

    with archive(find) as pacs:
        desk = accepted(Desk(store, [pacs], DeliverySettings(timeout_seconds=1)))
        desk.wait(2)
        assert desk.proofs.destinations_due(desk.time) == ()
    assert {item.state for item in sent(desk)} == {DeliveryState.ACCEPTED}


@pytest.mark.skipif(not PYTHON_PLUGIN.exists(), reason="needs the package orthanc-python")
def test_what_an_orthanc_filed_in_another_study_is_not_taken_for_delivered(
    store: Store, tmp_path: Path
) -> None:
    script = tmp_path / "coercion.py"
    script.write_text(COERCION)
    with running_orthanc(
        tmp_path, Plugins=[str(PYTHON_PLUGIN)], PythonScript=str(script), DicomWeb={}
    ) as orthanc:
        place = OrthancDestination(
            type="orthanc", name="pacs", url=orthanc.url, user="onco", password=PASSWORD
        )
        desk = accepted(Desk(store, [place]))
        desk.wait(2)
        (study,) = orthanc.client.get("/studies?expand").json()
    assert study["MainDicomTags"]["StudyInstanceUID"] == "2.25.91"
    assert {item.state for item in sent(desk)} == {DeliveryState.ACCEPTED}
    assert all(re.search("does not find it there", item.error) for item in sent(desk))


def test_an_archive_that_changed_attributes_and_does_not_find_the_object_is_told_of_both(
    store: Store,
) -> None:
    with archive(lambda _wanted: iter(()), stores=0xB000) as pacs:
        desk = Desk(store, [pacs])
        desk.add_job(1)
        desk.work()
        assert {item.error for item in sent(desk)} == {
            "pacs answered 0xB000: it was stored with attributes changed."
        }
        desk.wait(2)
    assert {item.state for item in sent(desk)} == {DeliveryState.ACCEPTED}
    for item in sent(desk):
        assert "C-FIND does not find it there" in item.error
        assert "0xB000" in item.error


def test_what_an_archive_found_and_then_did_not_commit_is_sent_again(store: Store) -> None:
    """Some show at once what they put into their long-term store at night, or fail to."""
    requests: list[Dataset] = []
    with archive(lambda wanted: [(0xFF00, wanted)], requests) as pacs:
        desk = accepted(Desk(store, [pacs], report_seconds=0.0))
        desk.wait(2)
        desk.wait(HOUR / 3)
        assert {(item.state, item.proof) for item in sent(desk)} == {
            (DeliveryState.CONFIRMED, "C-FIND")
        }
        report(desk, requests[0], failed=0x0110)
        assert "pacs (2)" in desk.proofs.alarm()
        assert "did not commit it (reason 0x0110)" in sent(desk)[0].error
        assert desk.wait(1) == 1
        assert {item.attempts for item in sent(desk)} == {2}
        # It is told once more what was told; that was before they were sent again.
        report(desk, requests[0], failed=0x0110)
        desk.wait(2)
        report(desk, requests[1])
    assert {item.state for item in sent(desk)} == {DeliveryState.CONFIRMED}
    assert {item.resends for item in sent(desk)} == {1}
    assert desk.proofs.alarm() == ""


@pytest.mark.parametrize("proof", ["auto", "commitment"])
def test_an_archive_that_is_too_busy_for_a_request_is_asked_again(store: Store, proof: Any) -> None:
    requests: list[Dataset] = []
    with archive(requests=requests, status=0x0213) as pacs:
        desk = accepted(Desk(store, [pacs.model_copy(update={"proof": proof})]))
        desk.wait(2)
        assert {item.error for item in sent(desk)} == {"pacs answered N-ACTION with 0x0213."}
        desk.wait(60)
    assert len(requests) == 2


@pytest.mark.parametrize("resends", [0, 1])
@pytest.mark.parametrize("way", ["setting", "refusal"])
def test_an_archive_that_is_not_to_be_asked_any_more_raises_no_alarm(
    store: Store, way: str, resends: int
) -> None:
    """Some never show reports: the admin then says so, here or there."""
    with archive(lambda _wanted: []) as pacs:
        desk = accepted(Desk(store, [pacs], DeliverySettings(resends=resends)))
        desk.wait(2)
        desk.wait(HOUR + 300)
        assert "pacs (2)" in desk.proofs.alarm()
        if way == "setting":
            desk.destinations = [pacs.model_copy(update={"proof": "none"})]
            desk.wait(300)
            desk.wait(300)
    if way == "refusal":
        with archive() as changed:
            desk.destinations = [changed]
            desk.wait(300)
            desk.wait(300)
    assert desk.proofs.alarm() == ""
    assert desk.proofs.destinations_due(desk.time + timedelta(days=1)) == ()
    assert {item.state for item in sent(desk)} == {DeliveryState.ACCEPTED}


def test_what_could_not_be_asked_for_is_asked_for_once_the_archive_answers_questions(
    store: Store,
) -> None:
    """Its query service was down for an hour, or our AE title was not allowed to query."""
    with archive() as mute:
        desk = accepted(Desk(store, [mute]))
        desk.wait(2)
        assert desk.proofs.destinations_due(desk.time + timedelta(days=1)) == ()
    with archive(
        lambda wanted: [(0xFF00, wanted)] if ".81." in wanted.SOPInstanceUID else []
    ) as pacs:
        desk.destinations = [pacs]
        desk.add_job(2)
        desk.work()
        desk.wait(2)
        desk.wait(2)
    assert {(item.state, item.proof) for item in sent(desk)} == {
        (DeliveryState.CONFIRMED, "C-FIND")
    }


@pytest.mark.parametrize("reason", [0x0122, 0x0131])
def test_an_archive_that_does_not_commit_such_objects_is_searched_for_them(
    store: Store, reason: int
) -> None:
    """Some take commitment for images alone; that does not say that results are missing."""
    requests: list[Dataset] = []
    with archive(lambda wanted: [(0xFF00, wanted)], requests) as pacs:
        desk = accepted(Desk(store, [pacs], report_seconds=0.0))
        desk.wait(2)
        report(desk, requests[0], failed=reason)
        assert desk.proofs.alarm() == ""
        # Other results are there to be asked for at the same moment.
        desk.add_job(2)
        desk.work()
        desk.wait(2)
        assert {(item.state, item.proof, item.resends) for item in sent(desk)} == {
            (DeliveryState.CONFIRMED, "C-FIND", 0)
        }
        # Said once more of what a search found it changes nothing.
        report(desk, requests[0], failed=reason)
    assert {item.state for item in sent(desk)} == {DeliveryState.CONFIRMED}
    assert len(requests[1].ReferencedSOPSequence) == 2


def test_an_archive_that_is_first_asked_long_after_has_its_time_to_report(store: Store) -> None:
    """It was down, and so was not asked."""
    requests: list[Dataset] = []
    with archive(requests=requests) as pacs:
        desk = accepted(Desk(store, [pacs], report_seconds=0.0))
        desk.wait(2 * HOUR)
        assert desk.proofs.alarm() == ""
        assert len(requests) == 1
        desk.wait(HOUR / 3)
        assert "pacs (2)" in desk.proofs.alarm()


def test_what_an_archive_says_it_did_not_commit_is_not_confirmed_by_a_search(store: Store) -> None:
    """It shows what it holds for the day, and its long-term store refuses it night after night."""
    requests: list[Dataset] = []
    status: list[int] = []
    with archive(lambda wanted: [(0xFF00, wanted)], requests, status=status) as pacs:
        desk = accepted(Desk(store, [pacs], report_seconds=0.0))
        for _ in range(1 + desk.settings.resends):
            desk.wait(2)
            report(desk, requests[-1], failed=0x0110)
            desk.wait(1)
        for _ in range(3):
            desk.wait(HOUR)
        status.append(0x0213)  # out of resources now
        desk.wait(HOUR)
        assert {item.state for item in sent(desk)} == {DeliveryState.ACCEPTED}
        assert "pacs (2)" in desk.proofs.alarm()
        report(desk, requests[-1])
    assert {(item.state, item.proof) for item in sent(desk)} == {
        (DeliveryState.CONFIRMED, "storage commitment")
    }
    assert desk.proofs.alarm() == ""


def test_a_report_without_a_reason_for_one_object_tells_of_the_others() -> None:
    told = Dataset()
    told.TransactionUID = "1.2"
    told.ReferencedSOPSequence, told.FailedSOPSequence = [Dataset()], [Dataset(), Dataset()]
    told.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.3"
    for number, item in enumerate(told.FailedSOPSequence, 4):
        item.ReferencedSOPInstanceUID = f"1.{number}"
    told.FailedSOPSequence[1].FailureReason = None
    assert commitment.read_report(told) == CommitmentReport(
        "1.2", ("1.3",), {"1.4": 0x0110, "1.5": 0x0110}
    )


def test_a_rejection_note_that_an_archive_does_not_commit_may_be_searched_for(store: Store) -> None:
    """Archives that know IOCM do what it says and need not keep it."""
    requests: list[Dataset] = []
    with archive(lambda wanted: [(0xFF00, wanted)], requests) as pacs:
        desk = accepted(Desk(store, [pacs], report_seconds=0.0))
        with store.database.write() as session:
            for item in sent(desk):
                session.get_one(ObjectRow, item.sop_instance_uid).kind = ObjectKind.REJECTION
        for _ in range(1 + desk.settings.resends):
            desk.wait(2)
            report(desk, requests[-1], failed=0x0112)
            desk.wait(1)
        desk.wait(HOUR)
    assert {item.state for item in sent(desk)} == {DeliveryState.CONFIRMED}
