"""The listener starts on a port of its own, says when it cannot, and stops."""

from __future__ import annotations

import shutil
import socket
import ssl
import threading
from pathlib import Path

import httpx
import pytest
from certificates import Authority
from fastapi import FastAPI
from structlog.testing import capture_logs

from oncopixel_pacs.api.http_server import HttpServer, https_context
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.settings import ApiSettings
from oncopixel_pacs.tls import fingerprint


def hello() -> FastAPI:
    app = FastAPI(openapi_url=None)
    app.add_api_route("/", lambda: "hello")
    return app


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_it_answers_as_soon_as_it_has_started(host: str, address: str) -> None:
    server = HttpServer(hello(), host, 0)
    port = server.start()
    try:
        answer = httpx.get(f"http://{address}:{port}/", trust_env=False)
        assert answer.json() == "hello"
        assert "server" not in answer.headers
    finally:
        server.stop()


def test_it_is_gone_after_a_stop_and_the_port_is_free_again() -> None:
    first = HttpServer(hello(), "127.0.0.1", 0)
    port = first.start()
    first.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)
    assert not any(thread.name == "http" for thread in threading.enumerate())
    again = HttpServer(hello(), "127.0.0.1", port)
    try:
        assert again.start() == port
    finally:
        again.stop()


def test_https_shows_a_renewed_certificate_without_a_restart(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    shown, renewed = authority.issue("shown"), authority.issue("renewed")
    tls = https_context(ApiSettings(certificate=shown.certificate, key=shown.key))
    server = HttpServer(hello(), "127.0.0.1", 0, tls)
    address = ("127.0.0.1", server.start())

    def sha256() -> str:
        der = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(address))
        return fingerprint(der)

    try:
        assert sha256() == shown.sha256
        shutil.copy(renewed.key, shown.key)
        with capture_logs() as logged:
            assert sha256() == shown.sha256  # half of it is no pair yet
        assert [item["event"] for item in logged] == ["tls.files_refused"]
        shutil.copy(renewed.certificate, shown.certificate)
        assert sha256() == renewed.sha256
    finally:
        server.stop()


def test_a_port_that_is_taken_is_said_in_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"cannot listen on 127\.0\.0\.1:{port}"):
            HttpServer(hello(), "127.0.0.1", port).start()


def test_a_host_that_is_no_address_is_said_in_one_sentence() -> None:
    with pytest.raises(ConfigurationError, match="set http_host and http_port"):
        HttpServer(hello(), "no such host", 0).start()


def test_stopping_what_never_started_is_harmless() -> None:
    HttpServer(hello(), "127.0.0.1", 0).stop()
