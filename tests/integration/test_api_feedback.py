"""Readers accept or reject findings; how far they agree with the models is told by week."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from api_builders import JOB, bearer, finish, make_parts, queue, receive, serving
from builders import STUDY_UID, later, make_finding
from conftest import Store

from oncopixel_pacs.api.feedback import week_of
from oncopixel_pacs.audit import AuditKind
from oncopixel_pacs.domain import Job
from oncopixel_pacs.domain.access import AccessRole
from oncopixel_pacs.errors import NotFound
from oncopixel_pacs.store.api_tokens import ApiTokens
from oncopixel_pacs.store.audit_trail import AuditTrail
from oncopixel_pacs.store.feedback import Opinion, ReaderFeedback

OURS = {"X-Requested-With": "test"}


def tracking_uids(store: Store) -> list[str]:
    result = store.ledger.job(JOB).result
    assert result is not None
    return [finding.tracking_uid for _, finding in result.findings]


def put(client: httpx.Client, uid: str, opinion: str, **headers: str) -> httpx.Response:
    return client.put(
        f"/api/v1/jobs/{JOB}/findings/{uid}/feedback",
        json={"opinion": opinion},
        headers={**OURS, **headers},
    )


def two_findings(job: Job) -> Job:
    assert job.result is not None
    image = replace(job.result.images[0], findings=(make_finding(1), make_finding(2)))
    return replace(job, result=replace(job.result, images=(image,)))


def test_an_opinion_is_kept_replaced_and_withdrawn(any_store: Store) -> None:
    finish(any_store)
    uid = tracking_uids(any_store)[0]
    of_study = f"/api/v1/studies/{STUDY_UID}/feedback"
    with serving(make_parts(any_store)) as client:
        assert client.get(of_study).json() == {"items": []}
        said = put(client, uid, "accept").json()
        assert said["opinion"] == "accept"
        assert (said["model"], said["study_instance_uid"]) == ("Test segment", STUDY_UID)
        put(client, uid, "reject")
        (only,) = client.get(of_study).json()["items"]
        assert (only["opinion"], only["tracking_uid"]) == ("reject", uid)
        assert client.get("/api/v1/feedback").json()["items"] == [only]
        left = client.delete(f"/api/v1/jobs/{JOB}/findings/{uid}/feedback", headers=OURS)
        assert left.json() == {"items": []}


def test_an_opinion_needs_a_finding_and_a_word(store: Store) -> None:
    finish(store)
    with serving(make_parts(store)) as client:
        assert put(client, "1.2.3", "accept").status_code == 404
        assert put(client, tracking_uids(store)[0], "perhaps").status_code == 422
        assert client.get("/api/v1/studies/1.2.3/feedback").status_code == 404
        path = f"/jobs/{JOB}/findings/1.2.3/accept"
        assert client.post(path, headers=OURS).status_code == 404
    receive(store, study="1.2.4")
    empty = queue(store, "another", study="1.2.4")
    with pytest.raises(NotFound, match="has no finding"):
        ReaderFeedback(store.database).say(empty, "1.2.3", "jane", Opinion.ACCEPT, later(0))


def test_each_reader_has_a_word_of_its_own_and_may_do_nothing_else(store: Store) -> None:
    finish(store)
    uid = tracking_uids(store)[0]
    tokens = ApiTokens(store.database)
    jane, john, guest = (
        bearer(tokens.create(name, role, (), later(0), None)[1])
        for name, role in (
            ("jane", AccessRole.VIEWER),
            ("john", AccessRole.VIEWER),
            ("guest", AccessRole.VIEWER),
        )
    )
    with serving(make_parts(store)) as client:
        assert put(client, uid, "accept", **jane).status_code == 200
        pressed = client.post(f"/jobs/{JOB}/findings/{uid}/reject", headers=john | OURS)
        assert pressed.status_code == 303
        # Whose word it is follows from who asks: nobody takes back another's.
        client.delete(f"/api/v1/jobs/{JOB}/findings/{uid}/feedback", headers=guest | OURS)
        page = client.get(f"/studies/{STUDY_UID}", headers=guest).text
        weeks = client.get("/api/v1/monitoring/agreement", headers=guest).json()["items"]
        for method, path in (
            ("POST", f"/api/v1/jobs/{JOB}/retry"),
            ("POST", f"/api/v1/studies/{STUDY_UID}/read-again"),
            ("PUT", f"/api/v1/jobs/{JOB}/findings/{uid}/feedback/more"),
            ("POST", f"/jobs/{JOB}/retry"),
            ("POST", "/upload"),
        ):
            refused = client.request(method, path, headers=jane | OURS)
            assert refused.status_code == 403, path
    assert "accepted by jane" in page
    assert "rejected by john" in page
    assert "Reject<span" in page
    assert [(i["accepted"], i["rejected"], i["divided"]) for i in weeks] == [(0, 0, 1)]
    trail = AuditTrail(store.database, "ONCOPIXEL")
    noted = trail.records(kind=AuditKind.CHANGE.name.lower(), study_instance_uid=STUDY_UID).items
    assert {(item.who, item.outcome) for item in noted} >= {("jane", 0), ("john", 0)}


def test_agreement_is_told_by_week(store: Store) -> None:
    finish(store)
    job, feedback = two_findings(store.ledger.job(JOB)), ReaderFeedback(store.database)
    uids = ("2.25.1", "2.25.2")
    now = later(3600)
    feedback.say(job, uids[0], "jane", Opinion.ACCEPT, now)
    feedback.say(job, uids[1], "jane", Opinion.REJECT, now - timedelta(weeks=1))
    feedback.say(job, uids[1], "john", Opinion.REJECT, now - timedelta(weeks=1))
    feedback.say(job, uids[1], "jack", Opinion.REJECT, now - timedelta(weeks=60))
    with serving(make_parts(store)) as client:
        before, latest = client.get("/api/v1/monitoring/agreement").json()["items"]
        page = client.get("/models").text
    assert (before["accepted"], before["rejected"]) == (0, 1)
    assert (latest["accepted"], latest["rejected"]) == (1, 0)
    assert latest["week"] == week_of(now).isoformat().replace("+00:00", "Z")
    assert week_of(now).weekday() == 0
    assert "Findings accepted, Test segment 1.0" in page
    assert "50.0%" in page


def test_what_was_said_is_listed_page_by_page(any_store: Store) -> None:
    finish(any_store)
    job, feedback = any_store.ledger.job(JOB), ReaderFeedback(any_store.database)
    uid = tracking_uids(any_store)[0]
    for number in range(5):
        feedback.say(job, uid, f"reader{number}", Opinion.ACCEPT, later(number // 2))
    listed: list[str] = []
    cursor = None
    with serving(make_parts(any_store)) as client:
        while True:
            query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
            part = client.get("/api/v1/feedback", params=query).json()
            listed += [item["reader"] for item in part["items"]]
            # What comes in front meanwhile moves nothing.
            feedback.say(job, uid, f"late{len(listed)}", Opinion.REJECT, later(900))
            if (cursor := part["next_cursor"]) is None:
                break
    assert listed == ["reader4", "reader3", "reader2", "reader1", "reader0"]


def test_the_buttons_of_the_page_do_the_same(store: Store) -> None:
    finish(store)
    uid = tracking_uids(store)[0]
    with serving(make_parts(store)) as client:
        answer = client.post(f"/jobs/{JOB}/findings/{uid}/accept", headers=OURS)
        assert (answer.status_code, answer.headers["location"]) == (
            303,
            f"/studies/{STUDY_UID}#findings",
        )
        page = client.get(f"/studies/{STUDY_UID}").text
        assert 'aria-pressed="true">Accept' in page
        assert "accepted by someone" in page
        client.post(f"/jobs/{JOB}/findings/{uid}/withdraw", headers=OURS)
        assert 'aria-pressed="true"' not in client.get(f"/studies/{STUDY_UID}").text
