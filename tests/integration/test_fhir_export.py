"""A FHIR server that is named gets a preliminary report of each study that is done (beta)."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from api_builders import HEADER, JOB, analyse, bearer, fail, finish, make_parts, queue, serving
from builders import NOON, STUDY_UID, later, make_instance
from conftest import Store
from fhir.resources.R4B.bundle import Bundle
from fhir_server import FhirServer, fhir_server
from pydantic import ValidationError
from server_process import free_port

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.deliver.fhir import post_transaction
from oncopixel_pacs.domain import (
    ClassScore,
    Concept,
    ImageResult,
    JobState,
    PictureAnswer,
    Subject,
)
from oncopixel_pacs.domain.access import AccessRole
from oncopixel_pacs.domain.uids import derive_uid
from oncopixel_pacs.domain.webhooks import CallState
from oncopixel_pacs.report.fhir_report import fhir_transaction
from oncopixel_pacs.settings import ExportSettings, Settings
from oncopixel_pacs.store.api_tokens import ApiTokens
from oncopixel_pacs.store.webhooks import Webhooks
from oncopixel_pacs.workflow.exporting import FhirWriter
from oncopixel_pacs.workflow.notifying import Notifier

BEARER = "abc"
DCM = "http://dicom.nema.org/resources/ontology/DCM"


@pytest.fixture
def fhir() -> Iterator[FhirServer]:
    with fhir_server() as server:
        yield server


def export_to(url: str, **settings: str) -> ExportSettings:
    return ExportSettings.model_validate({"name": "emr", "type": "fhir", "url": url, **settings})


@dataclass
class Clock:
    value: datetime = later(100)

    def __call__(self) -> datetime:
        return self.value

    def advance(self, seconds: float) -> None:
        self.value += timedelta(seconds=seconds)


def notify(store: Store, export: ExportSettings, clock: Clock, seconds: float = 15.0) -> int:
    """Send what is due with a notifier of its own, as after a restart."""

    def post(to: ExportSettings, *message: Any) -> int:
        return post_transaction(to, *message[:3], seconds)

    write = FhirWriter(
        export,
        store.catalogue.study,
        lambda uid: store.ledger.jobs(study_instance_uid=uid).items,
        Webhooks(store.database),
    )
    return Notifier(Webhooks(store.database), store.ledger, [export], clock, post, write).notify()


def told_once(store: Store, fhir: FhirServer) -> ExportSettings:
    """Tell a FHIR server of a finished job; returns the export that did."""
    begin(store)
    finish(store)
    export = export_to(fhir.url)
    notify(store, export, Clock())
    return export


def begin(store: Store) -> None:
    Webhooks(store.database).note_ended("emr", NOON)


def state_of(store: Store) -> tuple[CallState, int, int]:
    (call,) = Webhooks(store.database).calls().items
    return call.state, call.attempts, call.status


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [
        entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind
    ]


def test_a_finished_study_arrives_as_a_valid_transaction(store: Store, fhir: FhirServer) -> None:
    begin(store)
    finish(store)
    export = export_to(fhir.url, token=BEARER, patient_system="urn:oid:1.2.3")

    assert notify(store, export, Clock()) == 1
    assert notify(store, export, Clock()) == 0

    [(headers, bundle)] = fhir.requests
    assert headers["authorization"] == f"Bearer {BEARER}"
    assert headers["x-request-id"].startswith("msg_")
    assert headers["content-type"] == "application/fhir+json"
    Bundle.model_validate(bundle)
    assert bundle["type"] == "transaction"
    (report,) = resources(bundle, "DiagnosticReport")
    (study,) = resources(bundle, "ImagingStudy")
    observations = resources(bundle, "Observation")
    job = store.ledger.job(JOB)
    assert report["status"] == "preliminary"
    assert RESEARCH_NOTICE in report["conclusion"]
    assert report["subject"]["identifier"] == {"system": "urn:oid:1.2.3", "value": "P-0007"}
    assert report["effectiveDateTime"] == "2025-03-01"
    assert report["code"]["coding"][0]["code"] == "18748-4"
    assert study["identifier"][0]["value"] == f"urn:oid:{STUDY_UID}"
    shown = {item["uid"] for series in study["series"] for item in series["instance"]}
    assert shown == {*job.sop_instance_uids, *(item.sop_instance_uid for item in job.objects)}
    assert job.result is not None
    assert len(observations) == len(job.result.breasts) + len(job.result.findings) > 0
    for observation in observations:
        assert observation["status"] == "preliminary"
        assert observation["note"] == [{"text": RESEARCH_NOTICE}]
        assert observation["code"]["coding"][0]["system"] == DCM
        assert observation["bodySite"]["coding"][0]["system"] == "http://snomed.info/sct"
    entries = {entry["fullUrl"]: entry["request"] for entry in bundle["entry"]}
    assert {item["reference"] for item in report["result"] + report["imagingStudy"]} < set(entries)
    assert all(request["ifNoneExist"] for request in entries.values())
    assert HEADER.patient_name not in json.dumps(bundle)
    assert state_of(store) == (CallState.TAKEN, 1, 200)


@pytest.mark.parametrize("state", [JobState.DONE, JobState.NOT_ANALYSED])
def test_what_a_later_job_says_otherwise_is_withdrawn(
    store: Store, fhir: FhirServer, state: JobState
) -> None:
    # As when a sender corrected the patient: the report of before stands under another one.
    export = told_once(store, fhir)
    store.catalogue.add_instance(make_instance(5, received_at=later(120)), HEADER)
    queue(store, "later", at=200)
    if state is JobState.DONE:
        analyse(store, "later")
    store.ledger.finish("later", state, later(210))

    assert notify(store, export, Clock(later(300))) == 1

    (_, first), (_, second) = fhir.requests
    Bundle.model_validate(second)
    told = {
        entry["request"]["ifNoneExist"]
        for entry in first["entry"]
        if entry["resource"]["resourceType"] != "ImagingStudy"
    }
    withdrawn = {
        entry["request"]["url"].partition("?")[2]: entry["resource"]
        for entry in second["entry"]
        if entry["request"]["method"] == "PUT"
    }
    assert withdrawn.keys() == told
    assert {item["status"] for item in withdrawn.values()} == {"entered-in-error"}
    assert not any("subject" in item for item in withdrawn.values())
    reports = resources(second, "DiagnosticReport")
    assert [item["status"] for item in reports] == (
        ["preliminary", "entered-in-error"] if state is JobState.DONE else ["entered-in-error"]
    )


@pytest.mark.parametrize("state", [JobState.DELIVERING, JobState.FAILED])
def test_what_was_told_is_withdrawn_whatever_became_of_its_job(
    store: Store, fhir: FhirServer, state: JobState
) -> None:
    """An archive lost a result afterwards, and is away or refuses what is sent again."""
    export = told_once(store, fhir)
    store.ledger.restart(JOB, lambda *_: None, resend=["pacs"])
    store.ledger.set_state(JOB, state)
    store.catalogue.add_instance(make_instance(5, received_at=later(120)), HEADER)
    queue(store, "later", at=200)
    analyse(store, "later")
    store.ledger.finish("later", JobState.DONE, later(210))
    notify(store, export, Clock(later(300)))
    reports = resources(fhir.requests[1][1], "DiagnosticReport")
    assert [item["status"] for item in reports] == ["preliminary", "entered-in-error"]


@pytest.mark.parametrize("state", [JobState.DONE, JobState.NOT_ANALYSED])
def test_a_study_that_is_read_again_says_no_more_what_it_said_before(
    store: Store, fhir: FhirServer, state: JobState
) -> None:
    """As with another model; its job stays the same one."""
    export = told_once(store, fhir)
    store.ledger.restart(JOB, lambda *_: None, anew=True)
    if state is JobState.DONE:
        analyse(store, skip_last=True)
    store.ledger.finish(JOB, state, later(210))
    assert notify(store, export, Clock(later(300))) == 1

    (_, first), (_, second) = fhir.requests
    Bundle.model_validate(second)
    told = {item["identifier"][0]["value"]: item for item in content(first)}
    now = {item["identifier"][0]["value"]: item for item in content(second)}
    assert told.keys() == now.keys()
    assert {entry["request"]["method"] for entry in second["entry"][1:]} == {"PUT"}
    (report,) = resources(second, "DiagnosticReport")
    if state is JobState.NOT_ANALYSED:
        assert {item["status"] for item in now.values()} == {"entered-in-error"}
        return
    assert report["conclusion"] != resources(first, "DiagnosticReport")[0]["conclusion"]
    valid = [item for item in resources(second, "Observation") if item["status"] == "preliminary"]
    assert len(valid) == len(report["result"]) < len(resources(first, "Observation"))
    # Sent once more without having been read again, it leaves what is there alone.
    store.ledger.finish(JOB, JobState.DONE, later(400))
    notify(store, export, Clock(later(500)))
    assert {entry["request"]["method"] for entry in fhir.requests[2][1]["entry"]} == {"POST"}


def content(bundle: dict[str, Any]) -> list[dict[str, Any]]:
    return resources(bundle, "DiagnosticReport") + resources(bundle, "Observation")


def test_what_arrives_too_late_is_not_told(store: Store, fhir: FhirServer) -> None:
    begin(store)
    finish(store)
    export, clock = export_to(fhir.url), Clock()
    fhir.answers.append(503)
    notify(store, export, clock)
    store.catalogue.add_instance(make_instance(5, received_at=later(120)), HEADER)
    queue(store, "later", at=200)
    analyse(store, "later")
    store.ledger.finish("later", JobState.DONE, later(210))
    clock.advance(600)
    assert notify(store, export, clock) == 2
    assert [resources(bundle, "DiagnosticReport")[0]["identifier"] for _, bundle in fhir.requests][
        1:
    ] == [[{"system": "urn:dicom:uid", "value": f"urn:oid:{derive_uid('fhir report', 'later')}"}]]


def test_classes_of_pictures_are_told_by_their_codes(store: Store) -> None:
    finish(store)
    job, study = store.ledger.job(JOB), store.catalogue.study(STUDY_UID)
    assert job.result is not None
    classes = (
        ClassScore("glioma", Concept("393564001", "SCT", "Glioma"), 0.75),
        ClassScore("notumor", Concept("c-1", "99ONCOPIXEL", "notumor"), 0.25, absence=True),
    )
    answer = PictureAnswer(classes, "glioma", site=Concept("12738006", "SCT", "Brain"))
    image = ImageResult(job.result.images[0].facts, picture=answer)
    result = replace(job.result, images=(image,), breasts={}, subject=Subject.PICTURE)
    bundle = fhir_transaction(replace(job, result=result, revision=2), study, "")
    Bundle.model_validate(bundle)
    (observation,) = resources(bundle, "Observation")
    assert observation["valueCodeableConcept"]["coding"][0]["code"] == "393564001"
    assert observation["component"][0]["valueQuantity"]["value"] == 75.0
    assert observation["component"][1]["code"] == {"text": "notumor"}
    assert "Revision 2" in resources(bundle, "DiagnosticReport")[0]["conclusion"]


def test_an_attempt_that_fails_is_repeated_after_a_restart(store: Store, fhir: FhirServer) -> None:
    begin(store)
    finish(store)
    clock, export = Clock(), export_to(fhir.url)
    away = export_to(f"http://127.0.0.1:{free_port()}/r4")
    assert notify(store, away, clock) == 1, "nobody listens"
    assert state_of(store) == (CallState.WAITING, 1, 0)
    fhir.answers = [503, 0]
    clock.advance(5)
    assert notify(store, export, clock) == 1
    assert state_of(store) == (CallState.WAITING, 2, 503)
    clock.advance(20)
    assert notify(store, export, clock, seconds=0.3) == 1, "it is silent"
    assert state_of(store) == (CallState.WAITING, 3, 0)
    clock.advance(40)
    assert notify(store, export, clock) == 1
    assert state_of(store) == (CallState.TAKEN, 4, 200)
    first, *others = [bundle for _, bundle in fhir.requests]
    assert all(bundle == first for bundle in others), "the same content, the same identifiers"


@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_refuses_the_content_is_not_asked_again(
    store: Store, fhir: FhirServer, status: int
) -> None:
    begin(store)
    finish(store)
    fhir.answers = [status]
    clock = Clock()
    notify(store, export_to(fhir.url), clock)
    clock.advance(7200)
    assert notify(store, export_to(fhir.url), clock) == 0
    assert state_of(store) == (CallState.FAILED, 1, status)


def test_nothing_is_sent_of_a_study_without_a_result(store: Store, fhir: FhirServer) -> None:
    begin(store)
    fail(store)
    notify(store, export_to(fhir.url), Clock())
    assert fhir.requests == []
    assert state_of(store) == (CallState.TAKEN, 1, 0)


def test_an_admin_sees_each_attempt_and_has_it_repeated(store: Store, fhir: FhirServer) -> None:
    begin(store)
    finish(store)
    clock, export = Clock(), export_to(fhir.url)
    fhir.answers = [422]
    notify(store, export, clock)
    tokens = ApiTokens(store.database)
    admin = bearer(tokens.create("who", AccessRole.ADMIN, (), later(0), later(999_999))[1])
    settings = make_parts(store).settings.model_copy(update={"exports": (export,)})
    with serving(make_parts(store, settings=settings)) as client:
        found = client.get("/api/v1/webhooks", headers=admin).json()
        assert (found["webhooks"][0]["url"], found["webhooks"][0]["failed"]) == (fhir.url, 1)
        page = client.get("/webhooks", headers=admin)
        assert page.status_code == 200
        assert "export, beta" in page.text and "no longer configured" not in page.text
        again = f"/api/v1/webhooks/calls/{found['items'][0]['id']}/again"
        assert client.post(again, headers=admin).status_code == 200
    clock.advance(999_999)
    assert notify(store, export, clock) == 1
    assert state_of(store) == (CallState.TAKEN, 2, 200)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"url": "http:///r4"}, "no host"), ({"user": "me", "token": "abc"}, "not both")],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, str], words: str) -> None:
    make = partial(export_to, "http://127.0.0.1/r4")
    with pytest.raises(ValidationError, match=words):
        ExportSettings.model_validate({**make().model_dump(), **settings})


def test_an_export_and_a_webhook_need_names_of_their_own() -> None:
    export = export_to("http://127.0.0.1/r4")
    with pytest.raises(ValidationError, match="used twice: emr"):
        Settings(exports=(export, export))


def test_of_an_answer_without_end_the_status_alone_is_read() -> None:
    """Whatever a server says, the process that reads studies keeps its memory."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        written: list[int] = []

        def answer() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n")
                while len(written) < 256:
                    connection.sendall(bytes(1 << 20))
                    written.append(1)

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        export = ExportSettings(name="fhir", type="fhir", url=url)
        assert post_transaction(export, "msg_1", NOON, b"{}", 10.0) == 200
        thread.join()
    assert len(written) < 64
