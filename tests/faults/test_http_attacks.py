"""Whoever says nothing over HTTP, or too much, keeps nobody else out."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_builders import bearer, make_parts, receive, serving
from certificates import Authority
from conftest import Store
from fastapi import FastAPI

from oncopixel_pacs.api.application import create_app
from oncopixel_pacs.api.http_connections import MOST_RESTING, MOST_WAITING
from oncopixel_pacs.api.http_server import HttpServer, https_context
from oncopixel_pacs.api.small_bodies import MOST_BYTES, SmallBodies
from oncopixel_pacs.settings import ApiSettings

SECRET = "0123456789abcdef"  # noqa: S105
MANY = 2 * MOST_WAITING + 44


@contextmanager
def listening(app: FastAPI, *tls: ssl.SSLContext, **seconds: Any) -> Iterator[int]:
    """Serve an application on a port."""
    server = HttpServer(app, "127.0.0.1", 0, *tls, **seconds)
    try:
        yield server.start()
    finally:
        server.stop()


@contextmanager
def connections(port: int, number: int, said: bytes = b"") -> Iterator[list[socket.socket]]:
    """Open so many connections, say this much over each, and nothing more."""
    with ExitStack() as stack:
        opened = []
        for _ in range(number):
            # From another address of this machine, as an attacker's would be another.
            connection = socket.create_connection(
                ("127.0.0.1", port), timeout=20, source_address=("127.0.0.9", 0)
            )
            connection.sendall(said)
            opened.append(stack.enter_context(connection))
        yield opened


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HT",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nX-Requested-With: me\r\n"
        b"Content-Length: 2000\r\n\r\nuser=",
    ],
    ids=["nothing", "half a head", "half a form"],
)
def test_silent_connections_keep_nobody_out(store: Store, said: bytes) -> None:
    receive(store)
    with serving(make_parts(store, tokens=(SECRET,))) as client:
        assert client.base_url.port is not None
        following = client.stream("GET", "/api/v1/events", headers=bearer(SECRET))
        with following as events, connections(client.base_url.port, MANY, said) as silent:
            with httpx.Client(base_url=client.base_url, trust_env=False) as newcomer:
                assert newcomer.get("/health/live").status_code == 200
                assert newcomer.get("/api/v1/studies", headers=bearer(SECRET)).is_success
            # They are cut for one another, and not those who were let in.
            assert silent[0].recv(1) == b""
            lines = events.iter_lines()
            receive(store, 1, study="1.2.3")
            assert any("1.2.3" in line for line in lines)


def test_silent_connections_before_tls_keep_nobody_out(tmp_path: Path, store: Store) -> None:
    authority = Authority(tmp_path)
    mine = authority.issue("mine")
    tls = https_context(ApiSettings(certificate=mine.certificate, key=mine.key))
    trusting = ssl.create_default_context(cafile=authority.ca_file)
    trusting.check_hostname = False
    with (
        listening(create_app(make_parts(store)), tls) as port,
        connections(port, MANY),
        httpx.Client(verify=trusting, trust_env=False) as newcomer,
    ):
        assert newcomer.get(f"https://127.0.0.1:{port}/health/live").is_success


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: loc"], ids=["nothing", "half"])
def test_a_request_that_does_not_come_is_not_waited_for(store: Store, said: bytes) -> None:
    app = create_app(make_parts(store))
    with (
        listening(app, head_seconds=0.3) as port,
        connections(port, 1, said) as (silent,),
    ):
        assert silent.recv(1) == b""


def ask(connection: HTTPConnection) -> int:
    connection.request("GET", "/api/v1/studies", headers=bearer(SECRET))
    answer = connection.getresponse()
    answer.read()
    return answer.status


def test_a_connection_of_someone_who_was_let_in_may_rest(store: Store) -> None:
    app = create_app(make_parts(store, tokens=(SECRET,)))
    with (
        listening(app, head_seconds=0.3) as port,
        # As a proxy keeps it for its next request, which it may be unable to send twice.
        closing(HTTPConnection("127.0.0.1", port, timeout=20)) as kept,
    ):
        assert ask(kept) == 200
        with connections(port, 1) as (silent,):
            assert silent.recv(1) == b""
        assert ask(kept) == 200


def test_a_connection_does_not_rest_for_ever(store: Store) -> None:
    app = create_app(make_parts(store, tokens=(SECRET,)))
    with (
        listening(app, resting_seconds=1) as port,
        closing(HTTPConnection("127.0.0.1", port, timeout=3)) as kept,
    ):
        assert ask(kept) == 200
        assert kept.sock.recv(1) == b""


def test_the_connection_that_rested_longest_gives_way(store: Store) -> None:
    with ExitStack() as stack:
        client = stack.enter_context(serving(make_parts(store, tokens=(SECRET,))))
        kept = [
            stack.enter_context(closing(HTTPConnection("127.0.0.1", client.base_url.port, 20)))
            for _ in range(MOST_RESTING + 1)
        ]
        first, second, *others = kept
        assert ask(first) == ask(second) == ask(first) == 200
        assert {ask(other) for other in others} == {200}
        assert second.sock.recv(1) == b""
        assert ask(first) == 200


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "in chunks"])
def test_a_body_that_is_too_large_is_refused_before_it_is_held(
    store: Store, announced: bool
) -> None:
    body = b'{"opinion": "' + b"a" * 4 * MOST_BYTES + b'"}'
    with serving(make_parts(store, tokens=(SECRET,))) as client:
        for path in ("/api/v1/peers", "/pulls", "/api/v1/jobs/1/retry"):
            answer = client.post(
                path,
                content=body if announced else iter([body[:1000], body[1000:]]),
                headers={**bearer(SECRET), "Idempotency-Key": "k"},
            )
            assert answer.status_code == 413, path
            assert answer.json()["detail"].startswith("The body is longer than 64 KiB")


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    app = FastAPI()

    @app.post("/")
    def take(said: dict[str, str]) -> dict[str, str]:
        return said

    app.add_middleware(SmallBodies, within_seconds=0.3)
    with listening(app) as port:
        with connections(port, 1) as (slow,):
            slow.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{")
            assert slow.recv(12) == b"HTTP/1.1 408"
        with httpx.Client(trust_env=False) as client:
            answer = client.post(f"http://127.0.0.1:{port}/", json={"opinion": "accept"})
            assert answer.json() == {"opinion": "accept"}


def test_a_provider_that_is_silent_holds_nobody_up_but_who_signs_in_there(store: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        issuer = f"http://127.0.0.1:{silent.getsockname()[1]}"
        oidc = {"issuer": issuer, "client_id": "oncopixel", "admins": ["it"]}
        asked = b"GET /login/oidc HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with serving(make_parts(store, tokens=(SECRET,), api={"oidc": oidc})) as client:
            assert client.base_url.port is not None
            # More than there are threads.
            with connections(client.base_url.port, 50, asked):
                held, _ = silent.accept()
                with held:
                    answer = client.get("/api/v1/studies", headers=bearer(SECRET), timeout=5)
                    assert answer.is_success
                silent.close()
