"""Who has an answer already is told that it still holds."""

from __future__ import annotations

import pytest
from api_builders import JOB, finish, make_parts, queue, receive, serving
from builders import STUDY_UID
from conftest import Store

from oncopixel_pacs.api.application import create_app
from oncopixel_pacs.domain import JobState

KNOWN = {"{job_id}": JOB, "{study_instance_uid}": STUDY_UID}


def test_an_answer_holds_until_its_thing_changes(store: Store) -> None:
    receive(store)
    queue(store)
    with serving(make_parts(store)) as client:
        first = client.get(f"/api/v1/jobs/{JOB}")
        held = {"If-None-Match": f'"other", W/{first.headers["etag"]}'}
        same = client.get(f"/api/v1/jobs/{JOB}", headers=held)
        store.ledger.set_state(JOB, JobState.ANALYSING)
        changed = client.get(f"/api/v1/jobs/{JOB}", headers=held)
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["etag"] == first.headers["etag"]
    assert same.headers["cache-control"] == "no-store"
    assert (changed.status_code, changed.json()["state"]) == (200, "analysing")
    assert changed.headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize("path", ["/api/v1/jobs/none", "/api/v1/jobs", "/api/v1/destinations"])
def test_what_is_not_there_and_what_holds_an_age_has_no_tag(store: Store, path: str) -> None:
    finish(store)
    with serving(make_parts(store)) as client:
        answer = client.get(path, headers={"If-None-Match": "*"})
    assert answer.status_code in (200, 404)
    assert "etag" not in answer.headers


def test_every_route_that_is_described_with_a_tag_has_one_and_no_other(store: Store) -> None:
    finish(store)
    parts = make_parts(store)
    paths = create_app(parts).openapi()["paths"]
    with serving(parts) as client:
        for path, operations in paths.items():
            asked = path
            for name, value in KNOWN.items():
                asked = asked.replace(name, value)
            if "get" not in operations or "{" in asked or asked.endswith("/events"):
                continue
            described = operations["get"]["responses"]["200"].get("headers", {})
            answer = client.get(asked)
            if answer.headers["content-type"] == "application/json":
                assert ("ETag" in described) is ("etag" in answer.headers), path
            if "etag" in answer.headers:
                again = client.get(asked, headers={"If-None-Match": answer.headers["etag"]})
                assert again.status_code == 304, path
