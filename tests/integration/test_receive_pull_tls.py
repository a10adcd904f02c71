"""A real archive behind TLS alone, with a certificate of the hospital's own authority.

Orthanc speaks DICOM over TLS by itself, and HTTP through nginx: Debian's does not survive HTTPS.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority, Identity
from dimse_builder import STUDY, Reception, free_port, mammogram, reception, until, utc_now, write
from orthanc_server import PASSWORD, Orthanc, running_orthanc

from oncopixel_pacs.deliver import OutgoingObject, send
from oncopixel_pacs.deliver.orthanc import is_held
from oncopixel_pacs.deliver.places import read_places
from oncopixel_pacs.domain.pulls import PullState
from oncopixel_pacs.errors import DeliveryFailed, PullFailed
from oncopixel_pacs.receive.pull import echo
from oncopixel_pacs.receive.pull.puller import Puller
from oncopixel_pacs.settings import OrthancDestination, PeerSettings, TlsSettings

pytestmark = pytest.mark.orthanc

KINDS = ["cmove", "dicomweb", "orthanc"]


@dataclass(frozen=True)
class Archive:
    """The running server, and who is who."""

    orthanc: Orthanc
    url: str
    authority: Authority
    ours: Identity
    its: Identity

    @property
    def tls(self) -> TlsSettings:
        return TlsSettings(
            certificate=self.ours.certificate,
            key=self.ours.key,
            ca_file=self.authority.ca_file,
            port=0,
        )

    def source(self, kind: str) -> dict[str, Any]:
        login = {"user": "onco", "password": PASSWORD}
        place: dict[str, Any] = {
            "cmove": {
                "host": "127.0.0.1",
                "port": self.orthanc.dimse_port,
                "ae_title": self.orthanc.ae_title,
                "tls": True,
            },
            "dicomweb": {"url": f"{self.url}/dicom-web", **login},
            "orthanc": {"url": self.url, **login},
        }[kind]
        return {"type": kind, "name": "archive", **place}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    folder = tmp_path_factory.mktemp("orthanc")
    authority = Authority(folder / "certificates")
    ours, its = authority.issue("ours"), authority.issue("its")
    dicom_over_tls = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(its.certificate),
        "DicomTlsPrivateKey": str(its.key),
        "DicomTlsTrustedCertificates": str(authority.ca_file),
        "DicomTlsRemoteCertificateRequired": True,
    }
    with running_orthanc(folder, **dicom_over_tls) as orthanc:
        orthanc.store([mammogram(number) for number in (1, 2)])
        with https_front(folder, orthanc, its) as url:
            yield Archive(orthanc, url, authority, ours, its)


@contextmanager
def https_front(folder: Path, orthanc: Orthanc, its: Identity) -> Iterator[str]:
    """Run nginx before Orthanc; yields the address that it has there."""
    port = free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"""
        daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
        events {{}}
        http {{
          access_log off; client_max_body_size 0;
          client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxied;
          fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
          server {{
            listen 127.0.0.1:{port} ssl;
            ssl_certificate {its.certificate}; ssl_certificate_key {its.key};
            location / {{ proxy_pass {orthanc.url}; proxy_set_header Host $http_host; }}
          }}
        }}
        """
    )
    program = shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if program is None:
        pytest.skip("needs nginx")
    process = subprocess.Popen(
        [program, "-c", str(configuration), "-p", str(folder)], stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: _listens(port))
        yield f"https://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def pulled(server: Reception) -> tuple[PullState, int | None, str]:
    """Pull the study once; tells what came of it."""
    parts = server.pull_parts()
    asked = parts.pulls.add(STUDY, "archive", utc_now())
    assert Puller(parts).work_once()
    pull = parts.pulls.pull(asked.id)
    return pull.state, pull.received, pull.error


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_is_fetched_over_tls(kind: str, archive: Archive, tmp_path: Path) -> None:
    peers = (
        PeerSettings(
            ae_title="ARCHIVE", address="127.0.0.1", certificate_sha256=(archive.its.sha256,)
        ),
    )
    options = {"tls": archive.tls, "peers": peers, "sources": (archive.source(kind),)}
    with reception(tmp_path, pull={"attempts": 1, "timeout_seconds": 20}, **options) as server:
        archive.orthanc.know("ONCOPIXEL", server.tls_port, tls=True)
        source = server.settings.sources[0]
        said = echo(source, calling_ae_title="ONCOPIXEL", timeout_seconds=20, tls=archive.tls)
        assert "answered" in said
        assert pulled(server) == (PullState.DONE, 2, "")


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_whose_authority_is_unknown_is_asked_for_nothing(
    kind: str, archive: Archive, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "certificates", "other")
    with reception(tmp_path / "data", sources=(archive.source(kind),)) as server:
        source = server.settings.sources[0]
    for ca_file in (other.ca_file, tmp_path / "gone.pem"):
        tls = archive.tls.model_copy(update={"ca_file": ca_file})
        with pytest.raises(PullFailed):
            echo(source, calling_ae_title="ONCOPIXEL", timeout_seconds=5, tls=tls)


def test_results_reach_an_orthanc_over_https(archive: Archive, tmp_path: Path) -> None:
    place = OrthancDestination(
        type="orthanc", name="pacs", url=archive.url, user="onco", password=PASSWORD
    )
    image = mammogram(7)
    item = OutgoingObject(image.SOPInstanceUID, image.SOPClassUID, write(image, tmp_path / "a.dcm"))
    (outcome,) = send(
        [item], place, calling_ae_title="ONCOPIXEL", timeout_seconds=20, tls=archive.tls
    )
    assert outcome.accepted
    kept, _ = read_places(item.path)
    assert is_held(kept, place, 20, archive.tls)
    with pytest.raises(DeliveryFailed, match="nothing answers there"):
        # The authorities of the system do not vouch for it.
        is_held(kept, place, 5, TlsSettings())
