"""Whose certificates count where we call a server over HTTPS: this machine's authorities, too."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority

from oncopixel_pacs.deliver import orthanc
from oncopixel_pacs.deliver.dicomweb_client import open_client
from oncopixel_pacs.errors import ConfigurationError, PullFailed
from oncopixel_pacs.receive.pull import dicomweb
from oncopixel_pacs.settings import StowDestination, TlsSettings
from oncopixel_pacs.settings.sources import DicomWebSource, OrthancSource
from oncopixel_pacs.web_trust import web_context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def archive(authority: Authority) -> Iterator[str]:
    """Serve an archive that holds nothing, under a certificate of the hospital's authority."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    identity = authority.issue("archive")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}/dicom-web"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_authority_of_this_system_vouches_for_an_archive(
    authority: Authority, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the hospital's machines know its authority, nothing has to be configured."""
    source = DicomWebSource(type="dicomweb", name="pacs", url=archive)
    place: dict[str, Any] = {"type": "orthanc", "name": "pacs", "url": archive}
    destination = StowDestination(type="stow", name="pacs", url=archive)
    with pytest.raises(PullFailed, match="cannot be reached"):
        dicomweb.echo(source, "ONCOPIXEL", 10.0, TlsSettings())
    # OpenSSL's own way to say which authorities the system has.
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    dicomweb.echo(source, "ONCOPIXEL", 10.0, TlsSettings())
    with open_client(destination, 10.0, TlsSettings()) as client:
        assert client.get("studies").status_code == 204
    with closing(orthanc.open_client(OrthancSource(**place), TlsSettings())) as client:
        assert client.get("system").status_code == 204


def test_a_file_without_certificates_is_said(tmp_path: Path) -> None:
    path = tmp_path / "empty.pem"
    path.touch()
    for wrong in (path, tmp_path / "absent.pem"):
        with pytest.raises(ConfigurationError, match=wrong.name):
            web_context(wrong)
