"""Whoever is named is called when a study is finished: signed, until it is taken, nowhere else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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
    serving,
    write,
)
from builders import NOON, STUDY_UID, later
from conftest import Store
from pydantic import ValidationError
from server_process import wait_until

from oncopixel_pacs.api.alarms import all_alarms
from oncopixel_pacs.deliver import webhook as courier
from oncopixel_pacs.domain.access import AccessRole
from oncopixel_pacs.domain.webhooks import CallState, WebhookCall
from oncopixel_pacs.errors import DeliveryFailed
from oncopixel_pacs.settings import WebhookSettings
from oncopixel_pacs.store.api_tokens import ApiTokens
from oncopixel_pacs.store.webhooks import Webhooks
from oncopixel_pacs.workflow.notifying import Notifier, notifying
from oncopixel_pacs.workflow.repeated import stop_all
from oncopixel_pacs.workflow.telling import tellers

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@dataclass
class Receiver:
    """What was called: headers and body of each request, and what is answered next."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def settings(self, *networks: str) -> WebhookSettings:
        return WebhookSettings.model_validate(
            {"name": "ris", "url": self.url, "secret": SECRET, "networks": networks}
        )


@contextmanager
def receiving(*answers: int) -> Iterator[Receiver]:
    """Answer calls with these statuses, then with 204."""
    receiver = Receiver(answers=list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.requests.append(
                ({name.lower(): value for name, value in self.headers.items()}, body)
            )
            self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
            self.send_header("Location", f"{receiver.url}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://localhost:{server.server_port}/hook?key=secret"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Clock:
    """A clock that a test moves."""

    value: datetime = later(100)

    def __call__(self) -> datetime:
        return self.value

    def advance(self, seconds: float) -> None:
        self.value += timedelta(seconds=seconds)


def notifier(store: Store, receiver: Receiver, clock: Clock) -> Notifier:
    """Make a notifier for a receiver in a network of our own."""
    settings = receiver.settings("127.0.0.0/8", "::1/128")
    return Notifier(Webhooks(store.database), store.ledger, [settings], clock)


def calls(store: Store) -> tuple[WebhookCall, ...]:
    return Webhooks(store.database).calls().items


def begin(store: Store) -> None:
    """Let the receiver be known before the first study is finished."""
    Webhooks(store.database).note_ended("ris", NOON)


# --- what is told -------------------------------------------------------------------------------


def test_a_finished_study_is_told_once_signed_and_without_the_patient(store: Store) -> None:
    begin(store)
    finish(store)
    with receiving() as receiver:
        assert notifier(store, receiver, Clock()).notify() == 1
        assert notifier(store, receiver, Clock()).notify() == 0
    [(headers, body)] = receiver.requests
    told = json.loads(body)
    assert told["type"] == "study.finished"
    assert told["data"]["study_instance_uid"] == STUDY_UID
    assert told["data"]["state"] == "done"
    assert told["data"]["job"] == f"/api/v1/jobs/{JOB}"
    for secret in (HEADER.patient_id, HEADER.patient_name, HEADER.accession_number):
        assert secret.encode() not in body
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    right = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{right}"
    assert headers["host"].startswith("localhost:")
    assert calls(store)[0].state is CallState.TAKEN


def test_the_signature_is_that_of_the_specification() -> None:
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    at = datetime.fromtimestamp(1614265330, UTC)
    signed = courier.signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_what_ended_before_the_receiver_was_named_is_not_told(store: Store) -> None:
    finish(store)
    with receiving() as receiver:
        assert notifier(store, receiver, Clock()).notify() == 0
        assert notifier(store, receiver, Clock()).notify() == 0


# --- until it is taken --------------------------------------------------------------------------


def test_what_is_not_taken_is_told_again_after_a_restart_with_the_same_id(store: Store) -> None:
    begin(store)
    finish(store)
    clock = Clock()
    with receiving(500, 302) as receiver:
        assert notifier(store, receiver, clock).notify() == 1
        assert notifier(store, receiver, clock).notify() == 0, "it waits"
        clock.advance(5)
        assert notifier(store, receiver, clock).notify() == 1
        clock.advance(10)
        assert notifier(store, receiver, clock).notify() == 1
    assert len(receiver.requests) == 3, "a redirect is not followed"
    assert len({headers["webhook-id"] for headers, _ in receiver.requests}) == 1
    call = calls(store)[0]
    assert (call.state, call.attempts, call.status, call.error) == (CallState.TAKEN, 3, 204, "")


def test_a_host_that_died_while_calling_loses_nothing(store: Store) -> None:
    begin(store)
    finish(store)
    clock = Clock()
    webhooks = Webhooks(store.database)
    assert webhooks.note_ended("ris", clock()) == 1
    assert webhooks.take("ris", clock(), clock() + timedelta(seconds=60)) is not None
    with receiving() as receiver:
        assert notifier(store, receiver, clock).notify() == 0
        clock.advance(61)
        assert notifier(store, receiver, clock).notify() == 1


@pytest.mark.parametrize(("status", "seconds"), [(410, 0.0), (503, 4 * 86_400.0)])
def test_it_ends_when_it_is_asked_to_or_after_days(
    store: Store, status: int, seconds: float
) -> None:
    begin(store)
    fail(store)
    clock = Clock()
    clock.advance(seconds)
    with receiving(status) as receiver:
        assert notifier(store, receiver, clock).notify() == 1
        clock.advance(7200)
        assert notifier(store, receiver, clock).notify() == 0
    call = calls(store)[0]
    assert (call.state, call.status) == (CallState.FAILED, status)


def test_a_receiver_that_is_away_is_an_alarm_until_it_was_told(store: Store) -> None:
    """A day without the receiver, then four: what is not told is seen while it can be mended."""
    begin(store)
    finish(store)
    clock = Clock()
    with receiving(*[503] * 3) as receiver:
        ours = notifier(store, receiver, clock)
        parts = make_parts(store, now=clock)
        settings = parts.settings.model_copy(update={"webhooks": tuple(ours.settings)})

        def stands() -> tuple[tuple[str, str, str], ...]:
            found = all_alarms(replace(parts, settings=settings))
            return tuple((item.subject, item.said, item.page) for item in found)

        ours.notify()
        assert stands() == ()
        clock.advance(3600)
        ours.notify()
        [(subject, said, page)] = stands()
        assert (subject, page) == ("ris", "/webhooks")
        assert "1 finished study was not told to ris, the oldest finished at" in said
        assert "ris answered 503" in said
        assert all_alarms(parts) == (), "nobody waits for one that is no longer configured"
        clock.advance(4 * 86_400)
        ours.notify()
        assert "1 finished study was given up for ris" in stands()[0][1]
        ours.webhooks.send_again(calls(store)[0].id, clock())
        ours.notify()
        assert stands() == ()


def test_one_that_gives_no_answer_keeps_no_other_from_hearing(store: Store) -> None:
    with receiving() as receiver, socket.create_server(("127.0.0.1", 0)) as silent:
        heard = receiver.settings("127.0.0.0/8", "::1/128")
        hung = heard.model_copy(
            update={"name": "down", "url": f"http://127.0.0.1:{silent.getsockname()[1]}/"}
        )
        for name in ("down", "ris"):
            Webhooks(store.database).note_ended(name, NOON)
        finish(store)
        settings = make_parts(store).settings.model_copy(update={"webhooks": (hung, heard)})
        told = tuple(tellers(settings, store.database, store.ledger, store.catalogue, Clock()))
        for teller in told:
            teller.start()
        connection, _ = silent.accept()
        with connection:
            wait_until(lambda: receiver.requests, 10, "the other is called")
        stop_all(told)


def test_two_hosts_make_one_call(store: Store) -> None:
    begin(store)
    finish(store)
    with receiving() as receiver:
        hosts = [notifying(notifier(store, receiver, Clock())) for _ in range(2)]
        for host in hosts:
            host.start()
        wait_until(lambda: calls(store) and calls(store)[0].ended_at, 30, "told")
        for host in hosts:
            host.stop()
    assert len(receiver.requests) == 1


def test_a_clock_that_was_ahead_silences_nobody(store: Store) -> None:
    """A machine that starts with a wrong clock noted that all was told up to next year."""
    Webhooks(store.database).note_ended("ris", NOON)
    Webhooks(store.database).note_ended("ris", NOON + timedelta(days=365))
    finish(store)
    with receiving() as receiver:
        assert notifier(store, receiver, Clock()).notify() == 1
        assert notifier(store, receiver, Clock()).notify() == 0


def test_a_job_that_began_again_is_told_when_it_ends(store: Store) -> None:
    """While its first end waited for the receiver, it was retried: it is not finished now."""
    begin(store)
    fail(store)
    clock = Clock()
    with receiving(503) as receiver:
        assert notifier(store, receiver, clock).notify() == 1
        store.ledger.restart(JOB, lambda *_: None)
        clock.advance(5)
        notifier(store, receiver, clock).notify()
        analyse(store)
        write(store)
        answer(store, finished_at=clock())
        clock.advance(5)
        notifier(store, receiver, clock).notify()
    told = [json.loads(body)["data"]["state"] for _, body in receiver.requests]
    assert told == ["failed", "done"]


# --- nowhere else -------------------------------------------------------------------------------

OUR_OWN = [
    "127.0.0.1",
    "127.9.9.9",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",  # noqa: S104
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "198.18.0.1",
    "::1",
    "::",
    "fd00::1",
    "fe80::1",
    "fe80::1%eth0",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",
    "2001:0:1::1",
    "2001:db8::1",
]


@pytest.mark.parametrize("address", OUR_OWN)
def test_an_address_that_only_we_can_reach_is_not_called(address: str) -> None:
    with receiving() as receiver:
        webhook = WebhookSettings(
            name="ris", url=receiver.url.replace("http:", "https:"), secret=SECRET
        )
        for found in ([address], ["8.8.8.8", address]):
            with pytest.raises(DeliveryFailed, match="not of the public internet"):
                courier.call(webhook, "msg_1", NOON, b"{}", 5.0, lambda *_, to=found: to)
    assert receiver.requests == []


def test_an_address_of_the_internet_or_of_our_own_networks_may_be_called() -> None:
    webhook = Receiver("https://ris.example/").settings("10.1.2.0/24")
    assert [webhook.allows(item) for item in ("8.8.8.8", "2606:4700::1", "10.1.2.3")] == [True] * 3
    assert not webhook.allows("10.1.3.1")


def test_a_name_is_looked_up_once_and_what_was_checked_is_called() -> None:
    with receiving() as receiver:
        asked: list[str] = []

        def look_up(host: str, _port: int) -> list[str]:
            asked.append(host)
            return ["127.0.0.1"]

        webhook = receiver.settings("127.0.0.0/8")
        webhook = webhook.model_copy(update={"url": receiver.url.replace("localhost", "ris.test")})
        assert courier.call(webhook, "msg_1", NOON, b"{}", 5.0, look_up) == 204
    assert asked == ["ris.test"]
    assert receiver.requests[0][0]["host"].startswith("ris.test:")


def test_each_address_of_a_name_is_tried(store: Store) -> None:
    """A name often has an IPv6 address that nothing listens on."""
    with receiving() as receiver:
        webhook = receiver.settings("127.0.0.0/8", "::1/128")
        found = ["127.0.0.9", "127.0.0.1"]
        assert courier.call(webhook, "msg_1", NOON, b"{}", 5.0, lambda *_: found) == 204
        with pytest.raises(DeliveryFailed, match="ConnectError"):
            courier.call(webhook, "msg_1", NOON, b"{}", 5.0, lambda *_: found[:1])


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "http://ris.example/"},
        {"url": "https://user:password@ris.example/"},
        {"url": "file:///etc/passwd"},
        {"secret": "whsec_c2hvcnQ="},
        {"secret": "no base64, but long enough to be a key"},
    ],
)
def test_what_would_not_be_safe_is_refused(wrong: dict[str, str]) -> None:
    right = {"name": "ris", "url": "https://ris.example/", "secret": SECRET}
    assert WebhookSettings.model_validate(right)
    with pytest.raises(ValidationError):
        WebhookSettings.model_validate(right | wrong)


# --- seen ---------------------------------------------------------------------------------------


def test_a_test_call_tells_of_no_study_and_a_call_is_sent_again(store: Store) -> None:
    begin(store)
    finish(store)
    ours = {"X-Requested-With": "test"}
    with receiving(410) as receiver:
        assert notifier(store, receiver, Clock()).notify() == 1
        [given_up] = calls(store)
        assert given_up.state is CallState.FAILED
        settings = make_parts(store).settings.model_copy(
            update={"webhooks": (receiver.settings("127.0.0.0/8", "::1/128"),)}
        )
        with serving(make_parts(store, settings=settings)) as client:
            tried = client.post("/api/v1/webhooks/ris/test", headers=ours).json()
            assert tried == {"ok": True, "said": "ris answered 204."}
            receiver.answers.append(503)
            tried = client.post("/api/v1/webhooks/ris/test", headers=ours).json()
            assert tried == {"ok": False, "said": "ris answered 503."}
            path = f"/api/v1/webhooks/calls/{given_up.id}/again"
            assert client.post(path, headers=ours).json()["state"] == "waiting"
            again = client.post(f"/webhooks/calls/{given_up.id}/again", headers=ours)
            assert again.status_code == 303
            page = client.get("/webhooks").text
            assert "Send again" in page
            assert "key=secret" not in page
            for unknown in ("/nobody/test", "/calls/msg_0/again"):
                asked = client.post(f"/api/v1/webhooks{unknown}", headers=ours)
                assert asked.status_code == 404
        assert notifier(store, receiver, Clock(later(4000))).notify() == 1
    first, test, _, last = receiver.requests
    assert json.loads(test[1])["type"] == "test"
    assert STUDY_UID.encode() not in test[1]
    assert first[0]["webhook-id"] == last[0]["webhook-id"]
    assert calls(store)[0].state is CallState.TAKEN


def test_an_admin_sees_each_call_and_no_secret(store: Store) -> None:
    begin(store)
    finish(store)
    tokens = ApiTokens(store.database)
    viewer, admin = (
        bearer(tokens.create("who", role, (), later(0), later(999_999))[1])
        for role in (AccessRole.VIEWER, AccessRole.ADMIN)
    )
    with receiving(503) as receiver:
        assert notifier(store, receiver, Clock()).notify() == 1
        parts = make_parts(store)
        settings = parts.settings.model_copy(update={"webhooks": (receiver.settings("::1/128"),)})
        with serving(make_parts(store, settings=settings)) as client:
            assert client.get("/api/v1/webhooks", headers=viewer).status_code == 403
            seen = client.get("/api/v1/webhooks", headers=admin)
    found = seen.json()
    assert found["webhooks"][0]["waiting"] == 1
    assert found["items"][0]["error"] == "ris answered 503; it is called again."
    assert "key=secret" not in seen.text
    assert SECRET not in seen.text
