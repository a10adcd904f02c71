"""A POST that is repeated under its key is answered as before, and not done again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from api_builders import JOB, bearer, fail, make_parts, receive, serving
from builders import STUDY_UID, later
from conftest import Store

from oncopixel_pacs.api.application import create_app
from oncopixel_pacs.store.idempotency import KEPT, UNDER_WAY

BY_SCRIPT = {"X-Requested-With": "test"}
KEY = {"Idempotency-Key": "8e03978e-40d5-43e8-bc93-6894a57f9324", **BY_SCRIPT}
TOKEN = "correct-horse-of-mine"  # noqa: S105
ALLOWED = {"ae_title": "MAMMO1"}
COMPLETE = f"/api/v1/studies/{STUDY_UID}/complete"


def rows(store: Store) -> list[Any]:
    with store.database.engine.connect() as connection:
        return list(connection.execute(sa.text("SELECT * FROM idempotency_key")).mappings())


def test_a_repeat_is_answered_as_before_and_not_done_again(any_store: Store) -> None:
    fail(any_store)
    with serving(make_parts(any_store)) as client:
        first, again = (client.post(f"/api/v1/jobs/{JOB}/retry", headers=KEY) for _ in range(2))
        other = client.post(f"/api/v1/jobs/{JOB}/retry", headers=BY_SCRIPT)
    assert (first.status_code, first.json()["state"]) == (202, "queued")
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["content-type"] == first.headers["content-type"]
    # Without the key it is another request, and the job is at work by now.
    assert other.status_code == 409
    assert any_store.ledger.current_run(JOB) == 2


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/peers", {"ae_title": "MAMMO2"}),
        ("/api/v1/peers?port=104", ALLOWED),
        ("/api/v1/destinations/pacs/echo", None),
    ],
    ids=["body", "query", "path"],
)
def test_a_key_stands_for_one_request(store: Store, path: str, body: object) -> None:
    with serving(make_parts(store)) as client:
        assert client.post("/api/v1/peers", json=ALLOWED, headers=KEY).status_code == 200
        refused = client.post(path, json=body, headers=KEY)
        upload = client.post("/api/v1/images", files={"file": b"DICM"}, headers=KEY)
    assert refused.status_code == upload.status_code == 422
    assert "take a new one" in refused.json()["detail"]


def test_while_a_request_is_under_way_its_repeat_is_told_so(any_store: Store) -> None:
    began, go_on = threading.Event(), threading.Event()
    asked: list[str] = []

    def send(destination: Any) -> str:
        asked.append(destination.name)
        began.set()
        assert go_on.wait(60)
        return "took it"

    with (
        serving(make_parts(any_store, test_send=send)) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(client.post, "/api/v1/destinations/pacs/test", headers=KEY)
        try:
            assert began.wait(60)
            meanwhile = client.post("/api/v1/destinations/pacs/test", headers=KEY)
        finally:
            go_on.set()
        done = first.result(60)
        again = client.post("/api/v1/destinations/pacs/test", headers=KEY)
    assert (meanwhile.status_code, done.status_code) == (409, 200)
    assert "under way" in meanwhile.json()["detail"]
    assert again.content == done.content
    assert asked == ["pacs"]


def test_what_came_to_nothing_may_be_tried_again(store: Store) -> None:
    with serving(make_parts(store)) as client:
        assert client.post(COMPLETE, headers=KEY).status_code == 404
        receive(store)
        assert client.post(COMPLETE, headers=KEY).status_code == 202
        assert client.post(COMPLETE, headers=KEY).status_code == 202
    assert store.catalogue.study(STUDY_UID).declared_complete


def test_what_crashed_may_be_tried_again(store: Store) -> None:
    answers = iter([RuntimeError("a defect"), "took it"])

    def send(_destination: object) -> str:
        if isinstance(answer := next(answers), RuntimeError):
            raise answer
        return str(answer)

    with serving(make_parts(store, test_send=send)) as client:
        found = [
            client.post("/api/v1/destinations/pacs/test", headers=KEY).status_code for _ in range(3)
        ]
    assert found == [500, 200, 200]


def test_no_secret_is_kept_with_an_answer(any_store: Store) -> None:
    user = {"name": "jane", "password": "a long password of hers", "role": "viewer"}
    with serving(make_parts(any_store, tokens=[TOKEN])) as client:
        client.headers.update(bearer(TOKEN))
        made, again = (
            client.post("/api/v1/tokens", json={"name": "ris"}, headers=KEY) for _ in "ab"
        )
        other = {**KEY, "Idempotency-Key": "of-the-user"}
        added = [client.post("/api/v1/users", json=user, headers=other) for _ in range(2)]
        tokens = client.get("/api/v1/tokens").json()["items"]
    assert made.status_code == again.status_code == 201
    assert again.json() == {**made.json(), "token": ""}
    assert len(tokens) == 1
    assert [item.status_code for item in added] == [201, 201]
    held = str(rows(any_store))
    for secret in (made.json()["token"], user["password"], KEY["Idempotency-Key"], "of-the-user"):
        assert secret not in held


def test_each_who_asks_has_keys_of_its_own(store: Store) -> None:
    parts = make_parts(store, tokens=[TOKEN])
    with serving(parts) as client:
        made = client.post(
            "/api/v1/tokens",
            json={"name": "ris", "role": "admin"},
            headers={**BY_SCRIPT, **bearer(TOKEN)},
        ).json()
        answers = [
            client.post("/api/v1/peers", json={"ae_title": name}, headers={**KEY, **bearer(token)})
            for name, token in (("MAMMO1", TOKEN), ("MAMMO2", made["token"]))
        ]
    assert [item.json()["ae_title"] for item in answers] == ["MAMMO1", "MAMMO2"]


def test_keys_are_forgotten_after_a_day_and_crashed_requests_sooner(any_store: Store) -> None:
    clock = [later(0)]

    def now() -> datetime:
        return clock[0]

    def echo(client: httpx.Client, key: str) -> int:
        headers = {**BY_SCRIPT, "Idempotency-Key": key}
        return client.post("/api/v1/destinations/pacs/echo", headers=headers).status_code

    parts = make_parts(any_store, now=now)
    with serving(parts) as client:
        assert echo(client, "a") == 200
        # A server that stopped over a request leaves it so.
        key, content = "0" * 64, "1" * 64
        assert parts.idempotency.begin(key, content, now()) is None
        kept = parts.idempotency.begin(key, content, now())
        assert kept is not None
        assert kept.status == 0
        clock[0] += UNDER_WAY + timedelta(seconds=1)
        assert parts.idempotency.begin(key, content, now()) is None
        clock[0] += KEPT
        assert echo(client, "b") == 200
    assert [row["status"] for row in rows(any_store)] == [200]


def test_every_post_of_the_api_takes_a_key(store: Store) -> None:
    paths = create_app(make_parts(store)).openapi()["paths"]
    posts = {path: item["post"] for path, item in paths.items() if "post" in item}
    of_api = {path: item for path, item in posts.items() if path.startswith("/api/v1/")}
    assert len(of_api) > 10
    for path, operation in of_api.items():
        names = {item["name"].lower() for item in operation.get("parameters", ())}
        assert "idempotency-key" in names, path
        assert path == "/api/v1/images" or "409" in operation["responses"], path
