"""Peers over HTTP: listed with what they may do, and let in or out by one click, at once."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from api_builders import make_parts, serving
from builders import NOON
from conftest import Store as Shelf
from dimse_builder import Reception, association, mammogram, reception, store, until

from oncopixel_pacs.settings import PeerSettings, Settings
from oncopixel_pacs.store.callers import Callers, RejectedCaller, RejectionKind
from oncopixel_pacs.store.peers import AllowedPeers

STRANGER = RejectedCaller("STRANGER", "ONCOPIXEL", "192.0.2.7", "Not known", NOON, NOON)
WE = {"X-Requested-With": "tests"}
ROOM1 = {"ae_title": "ROOM1", "address": "10.0.0.21", "port": 104}


def settings_of(shelf: Shelf, *peers: dict[str, Any]) -> Settings:
    return Settings.model_validate(
        {"data_dir": shelf.files.data_dir, "dimse_host": "10.0.0.1", "peers": peers}
    )


def test_peers_and_rejected_callers_are_listed_and_shown(any_store: Shelf) -> None:
    callers = Callers(any_store.database)
    callers.add([replace(STRANGER, calling_ae_title="<b>X</b>", count=3)])
    settings = settings_of(any_store, ROOM1)
    with serving(make_parts(any_store, settings=settings)) as client:
        listed = client.get("/api/v1/peers").json()
        page = client.get("/peers").text
        assert client.get("/api/v1").json()["links"]["peers"] == "/api/v1/peers"
    (peer,) = listed["items"]
    assert peer.items() >= {**ROOM1, "origin": "configuration", "id": None, "tls": False}.items()
    (rejected,) = listed["rejected"]
    assert rejected["calling_ae_title"] == "<b>X</b>"
    assert (rejected["reason"], rejected["count"]) == ("Not known", 3)
    assert "ROOM1" in page
    assert "&lt;b&gt;X&lt;/b&gt;" in page
    assert "<b>X</b>" not in page.replace("<b>&lt;", "")


def test_without_peers_the_page_says_who_may_send(store: Shelf) -> None:
    with serving(make_parts(store)) as client:
        assert client.get("/api/v1/peers").json() == {"anyone": True, "items": [], "rejected": []}
        assert "whoever is on this machine may send" in client.get("/peers").text
    with serving(make_parts(store, settings=settings_of(store))) as client:
        assert client.get("/api/v1/peers").json()["anyone"] is False
        assert "nobody may send" in client.get("/peers").text


def test_a_rejected_caller_is_allowed_as_it_came_and_may_be_removed(
    any_store: Shelf, capfd: pytest.CaptureFixture[str]
) -> None:
    shown = "ab" * 32
    callers = Callers(any_store.database)
    callers.add([replace(STRANGER, certificate_sha256=shown), replace(STRANGER, reason="Before")])
    with serving(make_parts(any_store, settings=settings_of(any_store))) as client:
        first = next(
            item
            for item in client.get("/api/v1/peers").json()["rejected"]
            if item["certificate_sha256"]
        )
        path = f"/api/v1/peers/rejected/{first['id']}/allow"
        assert client.post(path).status_code == 403  # another site could have sent it
        answer = client.post(path, headers=WE, params={"port": 104})
        assert answer.status_code == 200
        expected = {"ae_title": "STRANGER", "address": "192.0.2.7", "port": 104, "tls": True}
        assert answer.json().items() >= expected.items()
        assert answer.json()["certificate_sha256"] == [shown]
        listed = client.get("/api/v1/peers").json()
        assert listed == {"anyone": False, "items": [answer.json()], "rejected": []}
        assert client.post(path, headers=WE).status_code == 404
        one = f"/api/v1/peers/{answer.json()['id']}"
        assert client.delete(one).status_code == 403
        for _ in range(2):
            assert client.delete(one, headers=WE).json()["items"] == []
        assert client.get("/api/v1/peers").json()["items"] == []
    output = capfd.readouterr().out
    assert re.search(r"peer\.allowed .*STRANGER.* by=127\.0\.0\.1", output) or (
        "peer.allowed" in output and "by=127.0.0.1" in output
    )
    assert output.count("peer.removed") == 1


def test_a_peer_may_be_named_before_it_calls_and_again(any_store: Shelf) -> None:
    with serving(make_parts(any_store, settings=settings_of(any_store))) as client:
        made = [client.post("/api/v1/peers", json=ROOM1, headers=WE).json() for _ in range(2)]
        without_port = {key: ROOM1[key] for key in ("ae_title", "address")}
        made.append(client.post("/api/v1/peers", json=without_port, headers=WE).json())
        assert made[0] == made[1] == made[2]
        refused = client.post("/api/v1/peers", json={"ae_title": "MUCH TOO LONG TITLE"}, headers=WE)
        assert refused.status_code == 422
        assert [item["port"] for item in client.get("/api/v1/peers").json()["items"]] == [104]


@pytest.mark.parametrize(
    "caller",
    [
        replace(STRANGER, kind=RejectionKind.CALLED),
        replace(STRANGER, kind=RejectionKind.TLS, calling_ae_title=""),
        replace(STRANGER, kind=RejectionKind.PLAIN),
        replace(STRANGER, calling_ae_title="BACK\\SLASH"),
    ],
    ids=["called", "TLS", "plain", "no AE title"],
)
def test_what_allowing_does_not_mend_cannot_be_allowed(
    store: Shelf, caller: RejectedCaller
) -> None:
    Callers(store.database).add([caller])
    with serving(make_parts(store, settings=settings_of(store))) as client:
        (listed,) = client.get("/api/v1/peers").json()["rejected"]
        path = f"/api/v1/peers/rejected/{listed['id']}/allow"
        answer = client.post(path, headers=WE)
        assert answer.status_code == 409
        assert "correct the sender" in answer.json()["detail"]
        assert client.get("/api/v1/peers").json()["items"] == []


def test_the_buttons_of_the_page_do_the_same(store: Shelf) -> None:
    Callers(store.database).add([STRANGER])
    with serving(make_parts(store, settings=settings_of(store))) as client:
        ours = {"Origin": str(client.base_url).rstrip("/")}
        allow = re.search(r'action="(/peers/rejected/\d+/allow)"', client.get("/peers").text)
        assert allow is not None
        assert client.post(allow[1], headers=ours, data={"port": "70000"}).status_code == 409
        answer = client.post(allow[1], headers=ours, data={"port": ""})
        assert (answer.status_code, answer.headers["location"]) == (303, "/peers")
        page = client.get("/peers").text
        assert allow[1] not in page
        remove = re.search(r'action="(/peers/\d+/remove)"', page)
        assert remove is not None
        assert client.post(remove[1], headers=ours).status_code == 303
        assert "nobody may send" in client.get("/peers").text


@pytest.fixture
def received(tmp_path: Path) -> Any:
    peers = (PeerSettings(ae_title="ROOM1"),)
    with reception(tmp_path / "data", peers=peers) as running:
        yield running


def test_who_is_allowed_may_send_at_once_until_removed(received: Reception) -> None:
    # The listener and who allows share nothing but the database.
    allowed = AllowedPeers(received.database)
    with association(received.port, calling="ROOM2") as assoc:
        assert assoc.is_rejected
    until(lambda: bool(received.callers.rejected()))
    (rejected,) = received.callers.rejected()
    peer = allowed.allow_rejected(rejected.id or 0, NOON)

    def is_let_in() -> bool:
        with association(received.port, calling="ROOM2") as assoc:
            return bool(assoc.is_established)

    until(is_let_in, 1)
    assert store(received.port, mammogram(), calling="ROOM2").Status == 0x0000
    allowed.remove(peer.id)
    until(lambda: not is_let_in(), 3)
    assert store(received.port, mammogram(2), calling="ROOM1").Status == 0x0000
