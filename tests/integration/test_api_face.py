"""What the pages add to the API: search, overview, views, changes, doing it again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_builders import (
    HEADER,
    JOB,
    analyse,
    answer,
    bearer,
    fail,
    finish,
    make_parts,
    queue,
    receive,
    serving,
    write,
)
from builders import STUDY_UID, later
from conftest import Store
from mammogram_builder import SCREENING, write_mammogram
from pydantic import SecretStr
from pydicom import dcmread

from oncopixel_pacs.api import events
from oncopixel_pacs.domain import DeliveryState, JobState
from oncopixel_pacs.domain.access import AccessRole
from oncopixel_pacs.errors import DeliveryFailed
from oncopixel_pacs.receive.intake import Intake
from oncopixel_pacs.settings import DestinationSettings, OrthancDestination
from oncopixel_pacs.store.activity import Activity, Span
from oncopixel_pacs.store.api_tokens import ApiTokens
from oncopixel_pacs.store.changes import Changes, changed
from oncopixel_pacs.store.history import History

OURS = {"X-Requested-With": "test"}


def found(client: httpx.Client, **asked: Any) -> list[str]:
    answer = client.get("/api/v1/studies", params=asked)
    assert answer.status_code == 200, answer.text
    return [item["study_instance_uid"] for item in answer.json()["items"]]


def test_studies_are_found_by_what_a_person_knows_of_them(any_store: Store) -> None:
    finish(any_store)
    other = replace(HEADER, patient_id="Q_1%", accession_number="B-9", study_date="20240105")
    receive(any_store, 1, study="1.2.3", header=other)
    receive(any_store, 1, study="1.2.4", header=replace(HEADER, study_date=""))
    with serving(make_parts(any_store)) as client:
        assert set(found(client)) == {STUDY_UID, "1.2.3", "1.2.4"}
        for asked, expected in (
            ({"patient_id": "Q"}, {"1.2.3"}),
            ({"patient_id": "Q_1%"}, {"1.2.3"}),
            ({"patient_id": "Q%"}, set()),
            ({"accession_number": "B-"}, {"1.2.3"}),
            ({"date_to": "2024-12-31"}, {"1.2.3"}),
            ({"date_from": "2025-01-01"}, {STUDY_UID}),
            ({"score_from": 0.7}, {STUDY_UID}),
            ({"score_from": 0.71}, set()),
            ({"score_to": 0.7, "job_state": "done"}, {STUDY_UID}),
            ({"job_state": "failed"}, set()),
            ({"state": "receiving"}, {"1.2.3", "1.2.4"}),
        ):
            assert set(found(client, **asked)) == expected, asked
        assert client.get("/api/v1/studies", params={"score_from": 2}).status_code == 422


def test_a_search_is_paged(store: Store) -> None:
    for number in range(5):
        receive(store, 1, study=f"1.2.{number}", header=replace(HEADER, patient_id="MANY"))
    receive(store, 1, study="1.3")
    with serving(make_parts(store)) as client:
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = client.get(
                "/api/v1/studies", params={"patient_id": "MANY", "limit": 2, **cursor}
            ).json()
            seen += [item["study_instance_uid"] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
    assert sorted(seen) == [f"1.2.{number}" for number in range(5)]


def test_a_study_is_read_again_or_sent_again_once_it_has_ended(store: Store) -> None:
    receive(store)
    with serving(make_parts(store)) as client:
        for action in ("read-again", "send-again"):
            path = f"/api/v1/studies/{STUDY_UID}/{action}"
            assert client.post(path, headers=OURS).status_code == 409
            assert client.post("/api/v1/studies/9.9/" + action, headers=OURS).status_code == 404
    finish_rest(store)
    with serving(make_parts(store)) as client:
        sent = client.post(f"/api/v1/studies/{STUDY_UID}/send-again", headers=OURS)
        assert sent.status_code == 202
        job = store.ledger.job(JOB)
        assert job.state is JobState.QUEUED
        assert job.result is not None
        assert {item.state for item in job.deliveries} == {DeliveryState.QUEUED}
        store.ledger.finish(JOB, JobState.DONE, later(90))
        page = client.post(f"/studies/{STUDY_UID}/read-again", headers=OURS)
        assert page.status_code == 303
    assert store.ledger.job(JOB).result is None
    assert found_score(store) == []


def found_score(store: Store) -> list[str]:
    with serving(make_parts(store)) as client:
        return found(client, score_from=0)


def finish_rest(store: Store) -> None:
    queue(store)
    analyse(store)
    write(store)
    answer(store, finished_at=later(67))


@pytest.mark.parametrize("span", list(Span))
def test_the_overview_counts_what_was_done_and_when(any_store: Store, span: Span) -> None:
    finish(any_store)
    receive(any_store, 1, study="1.2.3")
    queue(any_store, "waiting", study="1.2.3", at=120)
    with serving(make_parts(any_store, now=lambda: later(1800))) as client:
        told = client.get("/api/v1/overview", params={"span": span}).json()
    assert len(told["buckets"]) == span.buckets
    assert sum(item["received"] for item in told["buckets"]) == 2
    assert sum(item["done"] for item in told["buckets"]) == 1
    assert told["waiting"] == 1
    assert told["oldest_waiting_since"] == "2025-03-01T12:02:00Z"
    assert told["jobs"] == {"done": 1, "queued": 1}
    assert told["device"] == "cpu"


def test_what_is_older_than_the_span_is_not_counted(store: Store) -> None:
    finish(store)
    buckets = Activity(store.database).over(Span.HOUR, later(3 * 3600))
    assert [(item.received, item.done) for item in buckets] == [(0, 0)] * 60


def test_changes_name_the_studies_in_which_something_happened(any_store: Store) -> None:
    changes = Changes(any_store.database)
    receive(any_store, 1)
    before = changes.look()
    assert changed(before, changes.look()) == frozenset()
    receive(any_store, 1, study="1.2.3")
    after = changes.look()
    assert changed(before, after) == {"1.2.3"}
    finish_rest(any_store)
    assert changed(after, changes.look()) == {STUDY_UID}


def test_who_listens_is_told_of_a_change(store: Store) -> None:
    receive(store, 1)
    with (
        serving(make_parts(store)) as client,
        client.stream("GET", "/api/v1/events") as stream,
    ):
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        assert next_change(lines) == {"study_instance_uid": None}
        receive(store, 1, study="1.2.3")
        assert next_change(lines) == {"study_instance_uid": "1.2.3"}


def test_who_listens_hears_that_it_is_not_cut_off_until_its_token_is_revoked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_SILENCE_LOOKS", 1)
    tokens = ApiTokens(store.database)
    tokens.create("another", AccessRole.VIEWER, (), later(0), None)
    token, secret = tokens.create("ris", AccessRole.VIEWER, (), later(0), None)
    with (
        serving(make_parts(store)) as client,
        client.stream("GET", "/api/v1/events", headers=bearer(secret)) as stream,
    ):
        lines = stream.iter_lines()
        assert "event: still" in lines
        tokens.revoke(token.id)
        for _ in lines:  # to its end
            pass


def next_change(lines: Any) -> Any:
    return json.loads(next(line for line in lines if line.startswith("data:"))[5:])


def test_views_hang_in_reading_order_and_are_turned_as_their_header_says(
    store: Store, tmp_path: Path
) -> None:
    intake = Intake(store.files, store.catalogue, lambda: later(0))
    for view in reversed(SCREENING):
        path = write_mammogram(tmp_path, view)
        if view.number == 1:
            dataset = dcmread(path)
            dataset.PatientOrientation = ["A", "R"]
            dataset.save_as(path)
        intake.accept_file(path, "MODALITY")
    with serving(make_parts(store)) as client:
        answer = client.get("/api/v1/studies/2.25.1000/views").json()
        pictures = [client.get(item["picture"]).status_code for item in answer["items"]]
    assert answer["job_id"] is None
    shown = [(item["name"], item["mirror"], item["upside_down"]) for item in answer["items"]]
    assert shown == [
        ("R CC", True, True),
        ("L CC", False, False),
        ("R MLO", False, False),
        ("L MLO", False, False),
    ]
    assert pictures == [200] * 4
    assert (answer["items"][0]["window_centre"], answer["items"][0]["window_width"]) == (2048, 4096)


def test_a_destination_says_whether_it_is_there(store: Store) -> None:
    def silent(destination: DestinationSettings) -> str:
        raise DeliveryFailed(f"{destination.name}: nothing listens there.", permanent=False)

    with serving(make_parts(store)) as client:
        good = client.post("/api/v1/destinations/pacs/echo", headers=OURS)
        assert good.json() == {"ok": True, "said": "pacs answered 0x0000"}
        assert client.post("/api/v1/destinations/nobody/echo", headers=OURS).status_code == 404
    with serving(make_parts(store, echo=silent)) as client:
        bad = client.post("/api/v1/destinations/pacs/echo", headers=OURS)
        assert bad.json() == {"ok": False, "said": "pacs: nothing listens there."}
        page = client.post("/destinations/pacs/echo", headers=OURS).text
        assert "nothing listens there" in page


def test_monitoring_tells_each_sender_and_says_nothing_of_few(any_store: Store) -> None:
    finish(any_store)
    with serving(make_parts(any_store)) as client:
        everything, modality = client.get("/api/v1/monitoring").json()["items"]
        page = client.get("/models").text
    assert everything["sender"] == "*"
    assert (modality["sender"], modality["studies"]) == ("MODALITY", 1)
    assert modality["histogram"][13:15] in ([0, 1], [1, 0])
    assert modality["scores"]["verdict"] == modality["views"]["verdict"] == "too-few"
    assert any_store_views(any_store) == ("L CC", "L MLO", "R CC", "R MLO")
    assert "Studies by score, MODALITY" in page


def test_scores_of_other_models_are_not_compared_with_those_of_today(any_store: Store) -> None:
    finish(any_store)
    receive(any_store, study="1.2.3")
    study = any_store.catalogue.study("1.2.3")
    any_store.catalogue.settle(study, "e" * 64, "newer", later(90), lambda *_: None)
    history = History(any_store.database)
    assert [item.study_instance_uid for item in history.studies(9)] == [STUDY_UID]
    analyse(any_store, "newer")
    assert [item.study_instance_uid for item in history.studies(9)] == ["1.2.3"]


def any_store_views(store: Store) -> tuple[str, ...]:
    (study,) = History(store.database).studies(9)
    return study.views


def test_alarms_gather_what_needs_a_person(store: Store) -> None:
    with serving(make_parts(store)) as client:
        assert client.get("/api/v1/alarms").json() == {"items": []}
    fail(store)
    with serving(make_parts(store, models_ready=lambda: False)) as client:
        told = {
            item["subject"]: item["said"] for item in client.get("/api/v1/alarms").json()["items"]
        }
    assert "1 job failed" in told["jobs"]
    assert "models are not loaded" in told["server"]


def test_settings_are_shown_without_what_is_secret(store: Store) -> None:
    orthanc = OrthancDestination(
        type="orthanc",
        name="orthanc",
        url="http://alice:swordfish-swordfish@127.0.0.1:8042",
        password=SecretStr("swordfish-swordfish"),
    )
    parts = make_parts(store, tokens=["swordfish-swordfish"])
    settings = parts.settings.model_copy(
        update={
            "destinations": (orthanc,),
            "database_url": "postgresql+psycopg://bob:swordfish-swordfish@127.0.0.1/pacs",
        }
    )
    with serving(replace(parts, settings=settings)) as client:
        ours = {"Authorization": "Bearer swordfish-swordfish"}
        answer = client.get("/api/v1/settings", headers=ours)
        page = client.get("/settings", headers=ours).text
    told = {item["name"]: item["value"] for item in answer.json()["items"]}
    assert "swordfish-swordfish" not in answer.text + page
    assert told["destinations[0].url"] == "http://127.0.0.1:8042"
    assert told["database_url"] == "postgresql+psycopg://127.0.0.1/pacs"
    assert told["api.tokens"] == "(set, hidden)"
    assert told["completion.quiet_seconds"] == "60.0"
