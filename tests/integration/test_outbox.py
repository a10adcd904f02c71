"""What waits for another attempt, and destinations that rest: nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from builders import NOON, make_instance
from conftest import Store
from outbox_builder import Desk
from server_process import free_port
from workflow_builder import PretendedPacs, accept, folder_destination, install, put_off

from oncopixel_pacs.deliver import Outcome, OutgoingObject
from oncopixel_pacs.demo.embedded_archive import EmbeddedArchive
from oncopixel_pacs.domain import DeliveryState, JobState, StepName, StudyHeader
from oncopixel_pacs.domain.backlog import Backlog
from oncopixel_pacs.errors import DeliveryFailed
from oncopixel_pacs.settings import CStoreDestination, DeliverySettings
from oncopixel_pacs.store.briefs import Briefs

DAY = 86_400


def away(_: OutgoingObject) -> Outcome:
    raise DeliveryFailed("pacs (127.0.0.1:104): nothing listens there.", permanent=False)


@pytest.fixture
def desk(store: Store, tmp_path: Path) -> Desk:
    return Desk(store, [folder_destination(tmp_path / "out")])


@pytest.fixture
def pacs(monkeypatch: pytest.MonkeyPatch) -> PretendedPacs:
    return install(monkeypatch, PretendedPacs(away))


def backlog(desk: Desk, name: str = "pacs") -> Backlog:
    return desk.outbox.backlogs().get(name, Backlog())


def opened(desk: Desk) -> Desk:
    """Let attempts fail until the destination rests."""
    desk.add_job(0)
    desk.work()
    while not backlog(desk).circuit.open:
        desk.wait(60)
    return desk


# --- a day without the archive --------------------------------------------------------------------


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def archive(tmp_path: Path, port: int) -> Iterator[EmbeddedArchive]:
    archive = EmbeddedArchive(tmp_path / "archive", "ARCHIVE", port=port)
    yield archive
    archive.stop()


def test_an_outage_of_a_day_loses_nothing_and_catches_up_by_itself(
    store: Store, archive: EmbeddedArchive, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs = CStoreDestination(
        type="cstore", name="pacs", host="127.0.0.1", port=port, ae_title="ARCHIVE"
    )
    desk = Desk(store, [pacs], DeliverySettings(max_retry_seconds=1800))
    attempts: list[str] = []
    note_failure = type(desk.outbox).note_failure

    def counted(outbox: object, destination: str, *rest: object, **options: object) -> object:
        attempts.append(destination)
        return note_failure(outbox, destination, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(type(desk.outbox), "note_failure", counted)
    jobs = []
    for hour in range(24):
        jobs.append(desk.add_job(hour).id)
        for _ in range(12):
            desk.wait(300)
    assert backlog(desk).waiting == 48
    assert backlog(desk).oldest_queued_at == NOON
    assert backlog(desk).circuit.open
    # One attempt in 15 to 30 minutes, however many studies wait, and a few at the beginning.
    assert DAY / 2100 <= len(attempts) <= DAY / 900 + 12
    archive.start()
    back = desk.time
    while backlog(desk).waiting:
        desk.wait(60)
    assert desk.time - back <= timedelta(seconds=desk.settings.max_retry_seconds + 120)
    assert {store.ledger.job(job_id).state for job_id in jobs} == {JobState.DONE}
    assert set(archive.stored.values()) == {1}
    assert len(archive.stored) == 48
    assert not backlog(desk).circuit.open


# --- who has a delivery ---------------------------------------------------------------------------


def test_what_failed_waits_in_the_ledger_until_its_time(desk: Desk, pacs: PretendedPacs) -> None:
    job = desk.add_job(1)
    assert desk.work() == 1
    waiting = desk.store.ledger.job(job.id)
    assert {item.state for item in waiting.deliveries} == {DeliveryState.QUEUED}
    due = min(item.next_attempt_at for item in waiting.deliveries if item.next_attempt_at)
    assert NOON + timedelta(seconds=1) <= due <= NOON + timedelta(seconds=2)
    assert desk.wait(0.9) == 0
    pacs.answer = accept
    assert desk.wait(1.2) == 1
    assert desk.store.ledger.job(job.id).state is JobState.DONE


def test_only_what_was_not_taken_is_sent_again(desk: Desk, pacs: PretendedPacs) -> None:
    pacs.answer = lambda item: (accept if item.sop_instance_uid.endswith(".2") else put_off)(item)
    desk.add_job(1, objects=3)
    desk.work()
    pacs.answer = accept
    desk.wait(5)
    sent = [uid.rpartition(".")[2] for uid, _ in pacs.received]
    assert sent == ["1", "2", "3", "1", "3"]


def test_a_job_of_which_a_part_is_on_the_wire_is_not_given_to_a_second(
    desk: Desk, pacs: PretendedPacs
) -> None:
    """An object that is put off early may be due while the rest of its set still goes out."""
    pacs.answer = put_off
    desk.add_job(1)
    handed: list[int] = []

    def later_and_look(item: OutgoingObject) -> Outcome:
        desk.time += timedelta(seconds=60)
        handed.append(desk.dispatcher.dispatch())
        return put_off(item)

    pacs.answer = later_and_look
    desk.work()
    assert handed == [0, 0]
    assert desk.wait(60) == 1


def test_two_hosts_hand_every_job_over_once(
    any_store: Store, tmp_path: Path, pacs: PretendedPacs
) -> None:
    desk = Desk(any_store, [folder_destination(tmp_path / "out")])
    for number in range(20):
        desk.add_job(number)
    desk.work()
    pacs.answer = accept
    desk.time += timedelta(days=1)
    desk.outbox.note_answer("pacs", desk.time)
    start = threading.Barrier(2)

    def dispatch() -> None:
        start.wait()
        desk.dispatcher.dispatch()

    hosts = [threading.Thread(target=dispatch) for _ in range(2)]
    for host in hosts:
        host.start()
    for host in hosts:
        host.join()
    assert sorted(desk.handed) == sorted((f"job{number}", 1, "pacs") for number in range(20))


def test_a_new_run_of_a_job_takes_its_deliveries_from_the_outbox(
    desk: Desk, pacs: PretendedPacs
) -> None:
    job = desk.add_job(1)
    desk.work()
    desk.store.ledger.restart(job.id, lambda *_: None)
    objects = desk.store.ledger.job(job.id).objects
    desk.store.ledger.add_objects(
        job.id, objects, {"pacs": [objects[0].kind]}, desk.time, lambda *_: None
    )
    assert desk.wait(3600) == 0
    assert len(desk.store.ledger.open_deliveries(job.id, "pacs")) == 2


def test_a_later_revision_that_shares_an_object_ends_with_the_one_that_sends_it(
    desk: Desk, pacs: PretendedPacs
) -> None:
    first = desk.add_job(1)
    desk.work()
    store = desk.store
    study = first.study_instance_uid
    store.catalogue.add_instance(make_instance(7, study=study), StudyHeader())
    seen = store.catalogue.study(study)
    assert store.catalogue.settle(seen, "digest", "second", desk.time, lambda *_: None)
    store.ledger.begin_step("second", StepName.DELIVER, desk.time)
    store.ledger.add_objects(
        "second", first.objects, {"pacs": [first.objects[0].kind]}, desk.time, lambda *_: None
    )
    desk.handed.append(("second", 1, "pacs"))
    pacs.answer = accept
    desk.work()
    desk.wait(60)
    assert store.ledger.job(first.id).state is JobState.DONE
    assert store.ledger.job("second").state is JobState.DONE
    assert [uid for uid, _ in pacs.received].count(first.objects[0].sop_instance_uid) == 2


# --- the circuit breaker --------------------------------------------------------------------------


def test_a_destination_that_cannot_be_used_rests(desk: Desk, pacs: PretendedPacs) -> None:
    opened(desk)
    circuit = backlog(desk).circuit
    assert circuit.failures == desk.settings.circuit_failures
    assert circuit.reason == "pacs (127.0.0.1:104): nothing listens there."
    before = len(pacs.received)
    desk.add_job(1)
    assert desk.work() == 1
    assert len(pacs.received) == before
    assert backlog(desk).waiting == 4


def test_a_job_that_waits_for_a_destination_that_rests_says_when_that_is_tried(
    desk: Desk, pacs: PretendedPacs
) -> None:
    """Its own time is past as soon as another job is the one that tries."""
    opened(desk)
    tried_at = backlog(desk).circuit.next_probe_at
    assert tried_at is not None
    said = f"destination pacs, which rests and is tried again {tried_at:%H:%M:%S} UTC"
    assert desk.store.ledger.job("job0").waiting_for == said
    assert [job.waiting_for for job in Briefs(desk.store.database).jobs().items] == [said]


def test_one_job_at_a_time_tries_a_destination_that_rests_and_each_has_its_turn(
    desk: Desk, pacs: PretendedPacs
) -> None:
    opened(desk)
    for number in range(1, 4):
        desk.add_job(number)
    desk.work()
    before = len(pacs.received)
    tried = [desk.wait(301) for _ in range(8)]
    assert set(tried) == {1}
    studies = {uid.split(".")[2] for uid, _ in pacs.received[before:]}
    assert studies == {"80", "81", "82", "83"}


def test_the_first_answer_ends_the_rest_for_all(desk: Desk, pacs: PretendedPacs) -> None:
    opened(desk)
    for number in range(1, 4):
        desk.add_job(number)
    desk.work()
    pacs.answer = accept
    assert desk.wait(301) == 1
    assert not backlog(desk).circuit.open
    assert desk.wait(0.1) == 3
    assert backlog(desk).waiting == 0


@pytest.mark.parametrize("answer", [put_off, accept], ids=["A700", "success"])
def test_an_archive_that_answers_at_all_does_not_rest(
    desk: Desk, pacs: PretendedPacs, answer: Callable[[OutgoingObject], Outcome]
) -> None:
    pacs.answer = answer
    desk.add_job(1)
    desk.work()
    for _ in range(10):
        desk.wait(600)
    assert backlog(desk).circuit.failures == 0


def test_an_archive_that_never_answers_rests(desk: Desk, pacs: PretendedPacs) -> None:
    pacs.answer = lambda item: Outcome(item.sop_instance_uid, False, "", "No answer.", False)
    opened(desk)
    assert backlog(desk).circuit.reason.startswith("pacs gave no answer")


def test_a_probe_that_died_with_its_host_is_followed_by_another(
    desk: Desk, pacs: PretendedPacs
) -> None:
    opened(desk)
    desk.add_job(1)
    desk.work()
    desk.time += timedelta(seconds=301)
    assert desk.dispatcher.dispatch() == 1
    desk.handed.clear()
    assert desk.wait(200) == 0
    assert desk.wait(101) == 1


def test_one_destination_that_rests_does_not_hold_up_another(
    desk: Desk, pacs: PretendedPacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(objects: object, destination: object, **options: object) -> object:
        pacs.answer = away if destination.name == "pacs" else accept  # type: ignore[attr-defined]
        return PretendedPacs.send(pacs, objects, destination, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("oncopixel_pacs.workflow.delivery.send", send)
    desk.destinations = [*desk.destinations, folder_destination(tmp_path, "second")]
    opened(desk)
    desk.add_job(1)
    desk.work()
    assert backlog(desk, "second").waiting == 0
    assert not backlog(desk, "second").circuit.open


def test_deliveries_to_a_destination_that_was_removed_end_while_it_rests(
    desk: Desk, pacs: PretendedPacs
) -> None:
    opened(desk)
    desk.destinations = []
    desk.wait(301)
    assert desk.store.ledger.job("job0").state is JobState.FAILED


def test_a_rest_that_ends_while_a_job_is_put_back_does_not_hold_it_up(
    desk: Desk, pacs: PretendedPacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(desk)
    job = desk.add_job(1)
    rests = type(desk.outbox).rests

    def answered_just_then(outbox: object, *arguments: str) -> bool:
        answer = rests(outbox, *arguments)  # type: ignore[arg-type]
        desk.outbox.note_answer("pacs", desk.time)
        return answer

    monkeypatch.setattr(type(desk.outbox), "rests", answered_just_then)
    desk.work()
    assert {item.next_attempt_at for item in desk.store.ledger.job(job.id).deliveries} == {
        desk.time
    }


def test_the_number_of_failures_before_a_rest_is_a_setting(desk: Desk, pacs: PretendedPacs) -> None:
    desk = replace(desk, settings=DeliverySettings(circuit_failures=1))
    desk.add_job(1)
    desk.work()
    assert backlog(desk).circuit.open
    assert backlog(desk).next_attempt_at == backlog(desk).circuit.next_probe_at
