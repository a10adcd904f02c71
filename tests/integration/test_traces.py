"""One trace of each study from its association to the proof; and no work that waits for it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from api_builders import HEADER, JOB, analyse, answer, fail, finish, queue, receive, write
from builders import NOON, STUDY_UID, later
from conftest import Store
from dimse_builder import reception
from mammogram_builder import SCREENING, write_mammogram
from otlp_collector import Collector, collecting
from pydantic import ValidationError
from pydicom import dcmread
from server_process import free_port, wait_until
from workflow_builder import PretendedModel, Works, folder_destination, running, utc_now

from oncopixel_pacs.deliver.cstore import send_files
from oncopixel_pacs.domain import DeliveryState, JobState
from oncopixel_pacs.domain.proofs import Proof, Verdict
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.settings import CompletionSettings, TracingSettings
from oncopixel_pacs.store.proofs import Proofs
from oncopixel_pacs.store.traces import Traces
from oncopixel_pacs.traces.otlp import open_receiver
from oncopixel_pacs.workflow.settling import Watch
from oncopixel_pacs.workflow.tracing import Storyteller, StorytellerThread

CANARY = "CANARY^PATIENT"


@dataclass
class Clock:
    """A clock that a test moves."""

    value: datetime = later(100)

    def __call__(self) -> datetime:
        return self.value


def storyteller(
    store: Store, url: str, clock: Clock | None = None, ratio: float = 1.0
) -> Storyteller:
    settings = TracingSettings(endpoint=url, headers=("X-Scope: hospital",))
    receiver = open_receiver(settings, "local")
    return Storyteller(Traces(store.database), store.ledger, receiver, ratio, clock or Clock())


def begin(store: Store) -> None:
    """Let the collector be known before the first study is finished."""
    Traces(store.database).note_ended(NOON)


def confirm(store: Store, seconds: float) -> None:
    """Have the destination prove every object."""
    for item in store.ledger.job(JOB).objects:
        proof = Proof(item.sop_instance_uid, Verdict.PRESENT, "C-FIND", "")
        Proofs(store.database).record("pacs", proof, later(seconds), later(seconds))


def names(collector: Collector) -> list[str]:
    return [span.name for span in collector.spans]


# --- the trace ----------------------------------------------------------------------------------


def test_a_study_is_one_trace_from_its_association_to_its_proof(
    store: Store, tmp_path: Path
) -> None:
    images = []
    (tmp_path / "images").mkdir()
    for view in SCREENING:
        path = write_mammogram(tmp_path / "images", view)
        with dcmread(path) as image:
            image.PatientName, image.PatientID = CANARY, "CANARY-1"
            image.save_as(path)
        images.append(path)
    begin(store)
    folder = folder_destination(tmp_path / "out").model_copy(update={"proof": "auto"})
    works = Works(store, PretendedModel(), (folder,), completion=CompletionSettings())
    url = f"sqlite:///{tmp_path / 'oncopixel.sqlite'}"
    with collecting() as collector, running(works), reception(tmp_path, database_url=url) as ours:
        watch = Watch(works.settler, works.reconciler, works.dispatcher, works.reaper)
        told = storyteller(store, collector.url)
        teller = StorytellerThread(
            Storyteller(told.traces, told.ledger, told.receiver, 1.0, utc_now)
        )
        watch.start()
        teller.start()
        try:
            outcomes = send_files(
                images,
                "127.0.0.1",
                ours.port,
                called_ae_title="ONCOPIXEL",
                calling_ae_title="MAMMO",
            )
            assert all(item.accepted for item in outcomes)
            wait_until(lambda: collector.bodies, 60, "no trace was told")
        finally:
            teller.stop()
            watch.stop()
    [job] = store.ledger.jobs().items
    assert job.state is JobState.DONE
    spans = collector.spans
    assert len({span.trace_id for span in spans}) == 1
    assert len({span.span_id for span in spans}) == len(spans)
    assert {collector.path(span) for span in spans} >= {
        ("study",),
        ("study", "association"),
        ("study", "wait for completeness"),
        ("study", "wait in queue"),
        ("study", "analyse"),
        ("study", "write"),
        ("study", "write", "gate"),
        ("study", "deliver"),
        ("study", "deliver", "delivery"),
        ("study", "deliver", "delivery", "proof"),
    }
    order = ["association", "wait for completeness", "wait in queue", "analyse", "write"]
    order += ["deliver", "proof"]
    moments = [collector.named(name).start for name in order]
    assert moments == sorted(moments)
    whole, association = collector.named("study"), collector.named("association")
    assert whole.start == association.start < association.end
    assert whole.end == max(span.end for span in spans)
    assert association.events == ("object received",) * 4
    assert whole.attributes["oncopixel.job.id"] == job.id
    assert whole.service == "oncopixel-pacs"
    assert collector.headers[0]["x-scope"] == "hospital"
    for secret in ("CANARY", job.study_instance_uid, *job.sop_instance_uids):
        assert secret.encode() not in b"".join(collector.bodies)


def test_parts_of_a_step_name_the_model_and_its_seconds(store: Store) -> None:
    begin(store)
    finish(store)
    with collecting() as collector:
        assert storyteller(store, collector.url).tell()
    decode, forward = collector.named("decode"), collector.named("classify")
    assert collector.path(forward) == ("study", "analyse", "classify")
    assert (decode.end, forward.end - forward.start) == (forward.start, 1_250_000_000)
    model = store.ledger.job(JOB).result
    assert model is not None
    assert forward.attributes["oncopixel.model"] == model.algorithms[0].name
    assert collector.named("transfer").attributes["oncopixel.objects"] == 4
    assert collector.named("delivery").attributes["oncopixel.objects.taken"] == 2
    for secret in (HEADER.patient_name, HEADER.patient_id, HEADER.accession_number, STUDY_UID):
        assert secret.encode() not in b"".join(collector.bodies)


def test_what_failed_is_marked_and_its_words_stay_here(store: Store) -> None:
    begin(store)
    fail(store, "The process crashed at EXAMPLE^JANE.")
    with collecting() as collector:
        assert storyteller(store, collector.url).tell()
    assert {span.name for span in collector.spans if span.failed} == {"study", "analyse"}
    assert b"JANE" not in collector.bodies[0]


def test_proofs_that_come_late_are_told_when_they_come(store: Store) -> None:
    begin(store)
    receive(store)
    queue(store)
    analyse(store)
    write(store)
    answer(store, finished_at=later(67), ask_at=later(70))
    clock = Clock(later(68))
    with collecting() as collector:
        teller = storyteller(store, collector.url, clock)
        teller.tell()
        assert not collector.bodies, "it may still become whole"
        clock.value = later(100)
        teller.tell()
        assert "delivery" in names(collector)
        assert "proof" not in names(collector)
        confirm(store, 4000)
        clock.value = later(4060)
        teller.tell()
        teller.tell()
    assert names(collector).count("proof") == 1
    assert collector.path(collector.named("proof"))[-2:] == ("delivery", "proof")


def test_what_a_person_begins_again_becomes_part_of_the_same_trace(store: Store) -> None:
    begin(store)
    finish(store)
    clock = Clock()
    with collecting() as collector:
        teller = storyteller(store, collector.url, clock)
        teller.tell()
        store.ledger.restart(JOB, lambda *_: None, resend=["pacs"])
        store.ledger.set_state(JOB, JobState.DELIVERING)
        for item in store.ledger.job(JOB).deliveries:
            store.ledger.begin_delivery("pacs", [item.sop_instance_uid])
        answered = later(200)
        answer(store, DeliveryState.ACCEPTED, finished_at=answered)
        store.ledger.finish(JOB, JobState.DONE, answered)
        clock.value = later(300)
        teller.tell()
    again = collector.named("study again")
    first = next(span for span in collector.spans if span.name == "study")
    assert (again.parent_id, again.trace_id) == (first.span_id, first.trace_id)
    assert [span.name for span in collector.spans if span.start >= again.start] == [
        "study again",
        "delivery",
    ]


# --- a collector that is away, and several hosts ------------------------------------------------


def test_a_collector_that_is_away_keeps_nobody_from_working_and_is_told_later(
    store: Store,
) -> None:
    port = free_port()
    begin(store)
    finish(store)
    away = storyteller(store, f"http://127.0.0.1:{port}")
    thread = StorytellerThread(away)
    thread.start()
    assert store.ledger.job(JOB).state is JobState.DONE
    thread.stop()
    clock = Clock(later(100) + timedelta(minutes=1))
    with collecting(port) as collector:
        collector.status = 400
        assert not storyteller(store, collector.url, clock).tell()
        collector.status = 200
        # Another process, as after a restart: nothing is lost, and nothing told twice.
        assert storyteller(store, collector.url, clock).tell()
        assert storyteller(store, collector.url, clock).tell()
    assert names(collector).count("study") == 1


def test_two_hosts_tell_a_study_once(store: Store) -> None:
    begin(store)
    finish(store)
    with collecting() as collector:
        hosts = [StorytellerThread(storyteller(store, collector.url)) for _ in range(2)]
        for host in hosts:
            host.start()
        wait_until(lambda: collector.bodies, 30, "no trace was told")
        for host in hosts:
            host.stop()
    assert names(collector).count("study") == 1


def test_what_ended_before_and_what_is_not_sampled_is_not_told(store: Store) -> None:
    finish(store)
    with collecting() as collector:
        assert storyteller(store, collector.url).tell()
        assert storyteller(store, collector.url).tell()
        store.ledger.restart(JOB, lambda *_: None)
        store.ledger.finish(JOB, JobState.DONE, later(101))
        assert storyteller(store, collector.url, Clock(later(102)), ratio=0.0).tell()
    assert collector.bodies == []


# --- settings -----------------------------------------------------------------------------------


def test_without_the_libraries_a_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigurationError, match=r"oncopixel-pacs\[tracing\]"):
        open_receiver(TracingSettings(endpoint="http://127.0.0.1:1"), "local")


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint": "collector:4318"},
        {"endpoint": "http://user:password@collector"},
        {"headers": ["Authorization"]},
        {"ratio": 1.5},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TracingSettings.model_validate(wrong)


def test_the_path_of_traces_is_added_where_there_is_none() -> None:
    assert TracingSettings(endpoint="http://c:4318").address == "http://c:4318/v1/traces"
    assert TracingSettings(endpoint="https://c/otlp/v1/traces").address.endswith("/otlp/v1/traces")
