"""Workitems of a worklist (UPS-RS, beta) are claimed, performed and ended, once each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_builders import (
    PACS,
    analyse,
    answer,
    fail,
    finish,
    make_parts,
    queue,
    receive,
    serving,
    write,
)
from builders import NOON, STUDY_UID, later, make_clock
from conftest import Store, opened
from dimse_builder import STUDY, mammogram
from dimse_builder import write as write_image
from pydantic import ValidationError
from rejection_builder import rejection_note, write_note
from server_process import free_port
from structlog.testing import capture_logs
from ups_stub import PERFORMED, PROGRESS, STATE, UpsStub, coded, element, ups_stub, value
from workflow_builder import (
    PretendedModel,
    PretendedPacs,
    PretendedPool,
    Works,
    accept,
    engine_threads,
    install,
    until,
)

from oncopixel_pacs import bootstrap, work_server
from oncopixel_pacs.api.health import alarms
from oncopixel_pacs.deliver.worklist import Worklist
from oncopixel_pacs.deliver.worklist import opened as open_worklist
from oncopixel_pacs.domain import JobState, Reason
from oncopixel_pacs.domain.pulls import PullState
from oncopixel_pacs.domain.workitems import Workitem, WorkitemState
from oncopixel_pacs.receive.intake import Intake
from oncopixel_pacs.receive.pull.puller import Puller, PullParts
from oncopixel_pacs.settings import DestinationSettings, Settings, StowDestination, TlsSettings
from oncopixel_pacs.settings.worklist import WorklistSettings
from oncopixel_pacs.store.pulls import Pulls
from oncopixel_pacs.store.waits import Waits
from oncopixel_pacs.store.workitems import Workitems
from oncopixel_pacs.workflow.performed_step import Station
from oncopixel_pacs.workflow.performing import LEASE, TaskPerformer, Work

ITEM = "2.25.1001"
BEARER = "abc"
STOW = StowDestination(type="stow", name="web", url="http://127.0.0.1:9/dicom-web")


@pytest.fixture(scope="module")
def service() -> Iterator[UpsStub]:
    with ups_stub() as stub:
        yield stub


@pytest.fixture
def stub(service: UpsStub) -> UpsStub:
    """Empty the worklist."""
    for kept in (service.workitems, service.locks, service.asked, service.answers, service.lost):
        kept.clear()
    return service


@dataclass
class Clock:
    value: datetime = later(3600)

    def __call__(self) -> datetime:
        return self.value

    def advance(self, seconds: float) -> None:
        self.value += timedelta(seconds=seconds)


@dataclass
class Performing:
    """Performs a worklist; each time with a performer of its own, as after a restart."""

    store: Store
    stub: UpsStub
    clock: Clock = field(default_factory=Clock)
    options: dict[str, Any] = field(default_factory=dict)
    places: tuple[DestinationSettings, ...] = (PACS,)
    hook: Callable[[object], None] | None = None

    @property
    def workitems(self) -> Workitems:
        return Workitems(self.store.database)

    @property
    def worklist(self) -> WorklistSettings:
        named = {"name": "ris", "url": self.stub.url, **self.options}
        return WorklistSettings.model_validate(named)

    def performer(self) -> TaskPerformer:
        places = {item.name: item for item in self.places}
        work = Work(
            self.workitems,
            self.store.catalogue,
            self.store.ledger,
            Pulls(self.store.database),
            self.open,
            self.clock,
        )
        return TaskPerformer(work, (self.worklist,), {"ris": Station("READER", places)})

    @contextmanager
    def open(self, worklist: WorklistSettings) -> Iterator[Worklist]:
        with open_worklist(worklist, 5.0, TlsSettings()) as connection:
            if self.hook is not None:
                connection.client.event_hooks = {"request": [self.hook], "response": [self.hook]}
            yield connection

    def perform(self) -> int:
        return self.performer().perform()

    def after(self, seconds: float) -> int:
        self.clock.advance(seconds)
        return self.perform()

    def known(self) -> dict[str, WorkitemState]:
        return {item.workitem_uid: item.state for item in self.workitems.workitems().items}

    def named(self, uid: str) -> list[Workitem]:
        items = self.workitems.workitems(limit=200).items
        return [item for item in items if item.workitem_uid == uid]

    @property
    def only(self) -> Workitem:
        (item,) = self.workitems.workitems().items
        return item


@pytest.fixture
def performing(store: Store, stub: UpsStub) -> Performing:
    return Performing(store, stub)


def alarm(performing: Performing) -> str:
    now = performing.clock
    said = alarms(make_parts(performing.store, now=now))
    return " ".join(item for item in said if "workitem" in item)


# --- a study that is here -----------------------------------------------------------------------


@contextmanager
def working(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[None]:
    """Run the real server, but for its models and destinations."""
    install(monkeypatch, PretendedPacs(accept))
    monkeypatch.setattr(work_server, "DevicePool", lambda *_: PretendedPool())
    server = bootstrap.Server(settings, (bootstrap.Role.WORK,))
    server.start()
    try:
        yield
    finally:
        server.stop()
        until(lambda: not engine_threads())


def test_the_server_performs_a_workitem_and_tells_all_that_was_delivered(
    store: Store, stub: UpsStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Proof has tests of its own; nobody could be asked here.
    places = [place.model_copy(update={"proof": "none"}) for place in (PACS, STOW)]
    worklist = {"name": "ris", "url": stub.url, "token": BEARER, "poll_seconds": 1}
    settings = Settings.model_validate(
        {
            "data_dir": tmp_path,
            "ae_title": "READER",
            "destinations": [place.model_dump() for place in places],
            "worklists": [{**worklist, "station_name": ""}],
            "completion": {"quiet_seconds": 0, "settle_seconds": 0},
            "results": {"validators": "off"},
        }
    )
    stub.schedule(ITEM, "2.25.77")
    performing = Performing(store, stub)
    with working(monkeypatch, settings):
        until(lambda: stub.state(ITEM) == "IN PROGRESS")
        Works(store, PretendedModel()).receive(tmp_path / "in", StudyInstanceUID="2.25.77")
        until(lambda: performing.known()[ITEM].final)
    (job,) = store.ledger.jobs().items
    assert job.state is JobState.DONE

    assert (stub.state(ITEM), performing.only.state) == ("COMPLETED", WorkitemState.COMPLETED)
    assert stub.authorization == f"Bearer {BEARER}"
    performed = stub.sequence_item(ITEM, PERFORMED)
    assert value(value(performed, "00404019"), "00080100") == "AI1"
    assert value(value(performed, "00404028"), "00080100") == "READER"
    assert value(performed, "00404050") <= value(performed, "00404051")
    told = {
        (value(output, "0020000E"), value(item, "00081150"), value(item, "00081155"))
        for output in performed["00404033"]["Value"]
        for item in output["00081199"]["Value"]
    }
    assert told == {
        (item.series_instance_uid, item.sop_class_uid, item.sop_instance_uid)
        for item in job.objects
    }
    outputs = performed["00404033"]["Value"]
    assert {value(item, "0020000D") for item in outputs} == {"2.25.77"}
    titles = {value(value(item, "0040E021"), "00080054") for item in outputs if "0040E021" in item}
    urls = {value(value(item, "0040E025"), "00081190") for item in outputs if "0040E025" in item}
    assert titles == {"ARCHIVE"}
    assert urls == {
        f"{STOW.url}/studies/2.25.77/series/{item.series_instance_uid}" for item in job.objects
    }
    assert len(outputs) == 2 * len(job.objects)


def test_what_is_held_with_its_results_is_told_at_once(performing: Performing) -> None:
    finish(performing.store)
    performing.stub.schedule(ITEM, STUDY_UID, **{"00404018": {"vr": "SQ"}})
    performing.perform()
    assert performing.stub.state(ITEM) == "COMPLETED"
    asked = len(performing.stub.asked)
    performing.after(60)
    assert performing.stub.asked[asked:] == [("GET", "/ups/workitems")], "it is done once"
    performed = performing.stub.sequence_item(ITEM, PERFORMED)
    assert value(value(performed, "00404019"), "00080100") == "110004"
    (output,) = performed["00404033"]["Value"]
    assert len(output["00081199"]["Value"]) == 2
    assert alarm(performing) == ""


def test_only_what_is_meant_for_us_is_taken_and_not_all_at_once(performing: Performing) -> None:
    finish(performing.store)
    performing.options = {"code_value": "AI1", "code_scheme": "99LIST", "at_a_time": 2}
    for number in range(3):
        performing.stub.schedule(f"2.25.{number}", "2.25.88")
    performing.stub.schedule("2.25.7", STUDY_UID, code="AI2")
    performing.perform()
    assert set(performing.known()) == {"2.25.0", "2.25.1"}
    assert [performing.stub.state(f"2.25.{n}") for n in (0, 2, 7)] == [
        "IN PROGRESS",
        "SCHEDULED",
        "SCHEDULED",
    ]
    # A service that does not match codes lists it all the same.
    performing.options |= {"code_value": "AI3", "at_a_time": 9}
    listed = b'[{"00080018":{"vr":"UI","Value":["2.25.7"]}}]'
    performing.stub.answers = [(200, listed)]
    performing.after(30)
    assert "2.25.7" not in performing.known()


def test_every_page_of_a_long_worklist_is_read(performing: Performing) -> None:
    for number in range(230):
        performing.stub.schedule(f"2.25.{number}", STUDY_UID)
    with open_worklist(performing.worklist, 5.0, TlsSettings()) as connection:
        assert len(connection.scheduled()) == 230


# --- a study that is elsewhere ------------------------------------------------------------------


def test_a_study_that_is_not_here_is_pulled_from_the_source(
    performing: Performing, tmp_path: Path
) -> None:
    performing.options = {"source": "archive"}
    performing.stub.schedule(ITEM, STUDY)
    for archive in opened(f"sqlite:///{tmp_path / 'archive.sqlite'}", tmp_path / "archive"):
        intake = Intake(archive.files, archive.catalogue, make_clock(NOON))
        intake.accept_file(write_image(mammogram(1), tmp_path / "1.dcm"))
        with serving(make_parts(archive)) as client:
            url = f"{client.base_url}".rstrip("/") + "/dicom-web"
            source = {"type": "dicomweb", "name": "archive", "url": url}
            performing.perform()
            (pull,) = Pulls(performing.store.database).pulls().items
            assert (pull.study_instance_uid, pull.state) == (STUDY, PullState.QUEUED)
            performing.after(30)
            assert pull_once(performing, source) is PullState.DONE
    performing.after(30)
    assert performing.stub.state(ITEM) == "IN PROGRESS", "the study is here and not yet analysed"
    queue(performing.store, study=STUDY)
    analyse(performing.store)
    write(performing.store)
    answer(performing.store)
    performing.after(30)
    assert performing.stub.state(ITEM) == "COMPLETED"


def pull_once(performing: Performing, source: dict[str, str]) -> PullState:
    """Have the real puller work on what is asked for."""
    store = performing.store
    settings = Settings.model_validate({"data_dir": store.files.data_dir, "sources": (source,)})
    intake = Intake(store.files, store.catalogue, performing.clock)
    pulls = Pulls(store.database)
    parts = PullParts(pulls, store.catalogue, store.ledger, intake, settings, performing.clock)
    assert Puller(parts).work_once()
    return pulls.pulls().items[0].state


def test_a_study_that_the_source_does_not_have_is_told_in_words(performing: Performing) -> None:
    performing.options = {"source": "archive"}
    performing.stub.schedule(ITEM, STUDY)
    performing.perform()
    pulls = Pulls(performing.store.database)
    pull = pulls.claim("host", performing.clock(), timedelta(minutes=1))
    assert pull is not None
    pulls.finish(pull.id, "host", PullState.FAILED, performing.clock(), "It does not have it.")
    performing.after(30)
    progress = performing.stub.sequence_item(ITEM, PROGRESS)
    assert performing.stub.state(ITEM) == "CANCELED"
    assert value(progress, "00741238") == "The study could not be had. It does not have it."
    assert value(value(progress, "0074100E"), "00080100") == "110523"


def test_a_study_that_never_comes_is_waited_for_and_then_told(performing: Performing) -> None:
    performing.options = {"wait_seconds": 600}
    performing.stub.schedule(ITEM, STUDY)
    performing.perform()
    performing.after(590)
    assert performing.stub.state(ITEM) == "IN PROGRESS"
    performing.after(40)
    assert performing.stub.state(ITEM) == "CANCELED"
    progress = performing.stub.sequence_item(ITEM, PROGRESS)
    assert value(progress, "00741006") == "The study did not arrive here."


# --- no result ----------------------------------------------------------------------------------


def test_a_document_of_a_study_does_not_stand_for_its_images(
    performing: Performing, tmp_path: Path
) -> None:
    performing.options = {"source": "archive"}
    store = performing.store
    intake = Intake(store.files, store.catalogue, performing.clock)
    intake.accept_file(write_note(tmp_path, rejection_note(["2.25.9"], study=STUDY)), "PACS")
    study = store.catalogue.study(STUDY)
    assert store.catalogue.settle(study, "d" * 64, "j", later(1), lambda *_: None) is None
    performing.stub.schedule(ITEM, STUDY)
    performing.perform()
    pulls = Pulls(store.database)
    pull = pulls.claim("host", performing.clock(), timedelta(minutes=1))
    assert pull is not None, "the images are asked for"
    pulls.finish(pull.id, "host", PullState.DONE, performing.clock(), "")
    performing.after(30)
    assert performing.stub.state(ITEM) == "CANCELED"
    progress = performing.stub.sequence_item(ITEM, PROGRESS)
    assert value(progress, "00741006") == "The study holds no image."


def test_a_study_that_failed_is_canceled_with_the_words_of_its_job(
    performing: Performing,
) -> None:
    fail(performing.store, "The process that runs the models crashed.")
    performing.stub.schedule(ITEM, STUDY_UID)
    performing.perform()
    progress = performing.stub.sequence_item(ITEM, PROGRESS)
    assert (performing.stub.state(ITEM), performing.only.state) == (
        "CANCELED",
        WorkitemState.CANCELED,
    )
    assert value(progress, "00741238") == "The process that runs the models crashed."
    assert value(value(progress, "0074100E"), "00080100") == "110513"
    assert value(progress, "00404052").startswith(f"{performing.clock():%Y%m%d%H%M}")


def test_a_study_without_an_image_for_the_models_is_canceled_with_the_reasons(
    performing: Performing,
) -> None:
    receive(performing.store)
    queue(performing.store)
    analyse(performing.store, reason=Reason.TOMOSYNTHESIS)
    write(performing.store, destinations={})
    performing.stub.schedule(ITEM, STUDY_UID)
    performing.perform()
    assert performing.stub.state(ITEM) == "CANCELED"
    said = value(performing.stub.sequence_item(ITEM, PROGRESS), "00741006")
    assert said == f"No image of the study was analysed. {Reason.TOMOSYNTHESIS.sentence}"


# --- others, and what goes wrong ----------------------------------------------------------------


def test_what_somebody_else_has_is_left_alone(performing: Performing) -> None:
    finish(performing.store)
    performing.stub.schedule(ITEM, STUDY_UID)

    def overtake(sent: object) -> None:
        if isinstance(sent, httpx.Request) and sent.method == "PUT":
            performing.stub.claim(ITEM)

    performing.hook = overtake
    performing.perform()
    assert performing.only.state is WorkitemState.LEFT
    assert performing.stub.count("POST", ITEM) == 0
    performing.hook = None
    asked = len(performing.stub.asked)
    performing.after(600)
    assert performing.stub.asked[asked:] == [("GET", "/ups/workitems")]
    assert performing.stub.state(ITEM) == "IN PROGRESS"
    assert performing.stub.locks[ITEM] == "2.25.999"


def test_a_service_that_is_away_is_asked_again(performing: Performing, stub: UpsStub) -> None:
    finish(performing.store)
    stub.schedule(ITEM, STUDY_UID)
    url = stub.url
    stub.url = f"http://127.0.0.1:{free_port()}/ups"
    assert performing.perform() == 0
    stub.url = url
    # The search, the reading and the claim go through; then it is overloaded for a while.
    stub.answers = [None, None, None, None, (503, b"")]
    performing.after(30)
    assert performing.only.state is WorkitemState.CLAIMED
    stub.answers = [(302, b""), (404, b"")]
    performing.after(10)
    assert performing.only.state is WorkitemState.CLAIMED
    stub.answers = []
    performing.after(600)
    assert stub.state(ITEM) == "COMPLETED"
    assert stub.count("PUT", "/state") == 2


@pytest.mark.parametrize("theirs", [False, True], ids=["ours", "somebody else's"])
def test_a_claim_without_an_answer_is_asked_after_and_not_made_anew(
    performing: Performing, stub: UpsStub, theirs: bool
) -> None:
    finish(performing.store)
    stub.schedule(ITEM, STUDY_UID)
    stub.lost = ["PUT"]
    performing.perform()
    before = performing.only
    assert (before.state, stub.state(ITEM)) == (WorkitemState.CLAIMING, "IN PROGRESS")
    if theirs:
        stub.claim(ITEM)
    performing.after(10)
    assert performing.only.transaction_uid == before.transaction_uid
    if theirs:
        assert performing.only.state is WorkitemState.LEFT
        assert (stub.state(ITEM), stub.count("PUT", "/state")) == ("IN PROGRESS", 1)
    else:
        assert stub.locks[ITEM] == before.transaction_uid
        assert (stub.state(ITEM), stub.count("PUT", "/state")) == ("COMPLETED", 2)


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("study", [STUDY_UID, "2.25.404"], ids=["completed", "canceled"])
def test_killed_at_any_step_it_is_done_once_by_another(
    performing: Performing, stub: UpsStub, study: str
) -> None:
    finish(performing.store)
    performing.options = {"wait_seconds": 0}
    for step in range(1, 100):
        uid, left = f"2.25.5{step}", [step]
        stub.schedule(uid, study)

        def kill(_: object, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Killed

        performing.hook = kill
        survived = False
        try:
            performing.perform()
            survived = True
        except Killed:
            pass
        performing.hook = None
        claims = [
            item
            for item in performing.workitems.workitems(limit=200).items
            if item.workitem_uid == uid
        ]
        performing.after(LEASE.total_seconds() + 1)
        assert stub.state(uid) == ("COMPLETED" if study == STUDY_UID else "CANCELED"), step
        (item,) = [
            item
            for item in performing.workitems.workitems(limit=200).items
            if item.workitem_uid == uid
        ]
        assert item.state.final and item.state is not WorkitemState.LEFT
        assert stub.locks[uid] == item.transaction_uid
        assert all(claim.transaction_uid == item.transaction_uid for claim in claims)
        performing.clock.advance(60)
        if survived:
            assert step > 8, "it was killed at both ends of each request"
            return
    raise AssertionError("it never came to an end")


def test_a_host_that_was_taken_for_dead_has_no_say(any_store: Store) -> None:
    workitems, clock = Workitems(any_store.database), Clock()
    assert workitems.add("ris", ITEM, STUDY_UID, 4, clock())
    assert not workitems.add("ris", ITEM, STUDY_UID, 4, clock())
    first = workitems.take(["ris"], clock(), clock() + LEASE)
    assert first is not None
    assert workitems.take(["ris"], clock(), clock() + LEASE) is None
    clock.advance(LEASE.total_seconds() + 1)
    second = workitems.take(["ris"], clock(), clock() + LEASE)
    assert second is not None
    assert (second.attempts, second.transaction_uid) == (2, first.transaction_uid)
    assert not workitems.record(first, first)
    assert workitems.record(second, second)


def test_a_wait_that_a_wrong_clock_set_is_ended(store: Store) -> None:
    workitems, clock = Workitems(store.database), Clock()
    workitems.add("ris", ITEM, STUDY_UID, 4, later(10_000_000))
    assert workitems.take(["ris"], clock(), clock() + LEASE) is None
    assert Waits(store.database).shorten(clock() + LEASE, clock()) == 1
    assert workitems.take(["ris"], clock(), clock() + LEASE) is not None


def test_one_that_cannot_be_ended_is_an_alarm_for_a_day(performing: Performing) -> None:
    finish(performing.store)
    performing.stub.schedule(ITEM, STUDY_UID)
    # Search, two readings, claim, reading, and the update is refused.
    performing.stub.answers = [None, None, None, None, None, (400, b"")]
    performing.perform()
    for _ in range(4):
        assert performing.only.state is WorkitemState.CLAIMED, "it may be a proxy's word"
        performing.stub.answers = [(200, b"[]"), None, (404, b"")]
        performing.after(600)
    assert performing.only.state is WorkitemState.STUCK
    assert "1 workitem of worklist ris cannot be ended there" in alarm(performing)
    performing.clock.advance(2 * 86_400)
    assert alarm(performing) == ""


def test_one_that_an_admin_ended_there_is_ended_here(performing: Performing) -> None:
    performing.stub.schedule(ITEM, STUDY_UID)
    performing.perform()
    performing.stub.workitems[ITEM][STATE] = element("CS", "CANCELED")
    finish(performing.store)
    performing.after(30)
    assert performing.only.state is WorkitemState.CANCELED
    assert performing.stub.count("POST", ITEM) == 0


# --- hostile answers ----------------------------------------------------------------------------

SPOILED: list[tuple[str, dict[str, Any], str]] = [
    ("no input", {"00404021": {"vr": "SQ"}}, "no Input Information"),
    ("no sequence", {"00404021": {"vr": "SQ", "Value": "x"}}, "no Input Information"),
    ("no items", {"00404021": {"vr": "SQ", "Value": [1, None]}}, "no Input Information"),
    ("not a UID", {"00404021": element("SQ", {"0020000D": element("UI", "../1")})}, "no valid"),
    ("a number", {"00404021": element("SQ", {"0020000D": element("UI", 12)})}, "no valid"),
    ("too long", {"00404021": element("SQ", {"0020000D": element("UI", "1." + "2" * 63)})}, "no v"),
    ("not ready", {"00404041": element("CS", "INCOMPLETE")}, "not ready"),
    ("another state", {STATE: element("CS", "SCHEDULED\\X")}, "not scheduled"),
    ("another workitem", {"00080018": element("UI", "2.25.9")}, "another workitem"),
    ("another code", {"00404018": element("SQ", coded("AI9"))}, "not the one"),
]


@pytest.mark.parametrize(
    ("spoil", "reason"), [item[1:] for item in SPOILED], ids=[item[0] for item in SPOILED]
)
def test_a_workitem_that_makes_no_sense_is_left_alone_and_said_once(
    performing: Performing, spoil: dict[str, Any], reason: str
) -> None:
    performing.options = {"code_value": "AI1", "code_scheme": "99LIST"}
    stub = performing.stub
    stub.schedule(ITEM, STUDY_UID, **spoil)
    stub.schedule("2.25.2", STUDY_UID)
    listed = [{"00080018": element("UI", uid)} for uid in (ITEM, "2.25.2")]
    performer = performing.performer()
    with capture_logs() as lines:
        for seconds in (0, 30, 120):
            stub.answers = [(200, json.dumps(listed).encode())]
            performing.clock.advance(seconds)
            performer.perform()
    left = [line for line in lines if line["event"] == "workitem.left_alone"]
    assert [(line["workitem_uid"], reason in line["reason"]) for line in left] == [(ITEM, True)]
    assert set(performing.known()) == {"2.25.2"}, "the next one is taken all the same"
    assert stub.count("PUT", f"{ITEM}/state") == 0
    assert "CANARY" not in str(lines)


HOSTILE = {
    "no JSON": b"<html>CANARY</html>",
    "deep JSON": b"[" * 200_000,
    "no list": b'"CANARY"',
    "no items": b"[1, null, [], {}]",
    "bad UIDs": b'[{"00080018": {"Value": ["../state"]}}, {"00080018": {"Value": [{}]}}]',
    "huge": b" " * (17 << 20),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_an_answer_that_is_no_worklist_does_no_harm(performing: Performing, body: bytes) -> None:
    performing.stub.schedule(ITEM, STUDY_UID)
    performing.stub.answers = [(200, body)]
    with capture_logs() as lines:
        assert performing.perform() == 0
    assert performing.known() == {}
    assert "CANARY" not in str(lines)
    performing.after(30)
    assert performing.known() == {ITEM: WorkitemState.CLAIMED}


# --- API ----------------------------------------------------------------------------------------


def test_a_program_sees_how_far_each_workitem_is(performing: Performing) -> None:
    finish(performing.store)
    performing.options = {"wait_seconds": 60}
    performing.stub.schedule("2.25.1", STUDY_UID)
    performing.perform()
    performing.clock.advance(1)
    performing.stub.schedule("2.25.2", "2.25.404")
    performing.perform()
    performing.after(120)
    with serving(make_parts(performing.store)) as client:
        first = client.get("/api/v1/workitems", params={"limit": 1}).json()
        cursor = {"cursor": first["next_cursor"]}
        rest = client.get("/api/v1/workitems", params=cursor).json()
    (canceled,), (completed,) = first["items"], rest["items"]
    assert (canceled["workitem_uid"], canceled["state"], canceled["error"]) == (
        "2.25.2",
        "canceled",
        "The study did not arrive here.",
    )
    assert (completed["study_instance_uid"], completed["state"]) == (STUDY_UID, "completed")
    assert completed["ended_at"] is not None and rest["next_cursor"] is None
    # Who knows it may end our work.
    assert performing.stub.locks["2.25.1"] not in str(rest)


# --- settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "http:///ups"}, "names no host"),
        ({"user": "me", "token": "abc"}, "not both"),
        ({"code_value": "AI1"}, "or neither"),
        ({"source": "nowhere"}, "names the source nowhere"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, str], words: str) -> None:
    worklist = {"name": "ris", "url": "http://127.0.0.1/ups", **options}
    with pytest.raises(ValidationError, match=words):
        Settings.model_validate({"worklists": (worklist,)})


def test_two_worklists_need_names_of_their_own() -> None:
    worklist = {"name": "ris", "url": "http://127.0.0.1/ups"}
    with pytest.raises(ValidationError, match="used twice: ris"):
        Settings.model_validate({"worklists": (worklist, worklist)})
