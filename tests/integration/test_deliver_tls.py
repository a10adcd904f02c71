"""DICOM over TLS with a real PACS: Orthanc takes results from us, and sends images to us."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from certificates import Authority, Identity
from dimse_builder import free_port, mammogram, reception, until, write

from oncopixel_pacs.deliver import OutgoingObject, echo, send
from oncopixel_pacs.errors import DeliveryFailed
from oncopixel_pacs.settings import CStoreDestination, PeerSettings, TlsSettings

ORTHANC = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")

pytestmark = [
    pytest.mark.orthanc,
    pytest.mark.skipif(ORTHANC is None, reason="needs the orthanc package"),
]


@dataclass(frozen=True)
class Pacs:
    """A running Orthanc that speaks DICOM over TLS alone."""

    authority: Authority
    ours: Identity
    its: Identity
    dimse_port: int
    our_port: int
    http: httpx.Client

    @property
    def tls(self) -> TlsSettings:
        return TlsSettings(
            certificate=self.ours.certificate,
            key=self.ours.key,
            ca_file=self.authority.ca_file,
            port=self.our_port,
        )

    def destination(self, *, tls: bool = True) -> CStoreDestination:
        return CStoreDestination(
            type="cstore",
            name="pacs",
            host="127.0.0.1",
            port=self.dimse_port,
            ae_title="ORTHANC",
            tls=tls,
        )


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacs]:
    folder = tmp_path_factory.mktemp("orthanc")
    authority = Authority(folder / "certificates")
    ours, its = authority.issue("ours"), authority.issue("its")
    dimse_port, http_port, our_port = free_port(), free_port(), free_port()
    us = {"AET": "ONCOPIXEL", "Host": "127.0.0.1", "Port": our_port, "UseDicomTls": True}
    config = {
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "DicomAet": "ORTHANC",
        "DicomPort": dimse_port,
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(its.certificate),
        "DicomTlsPrivateKey": str(its.key),
        "DicomTlsTrustedCertificates": str(authority.ca_file),
        "DicomTlsRemoteCertificateRequired": True,
        "DicomModalities": {"us": us},
    }
    (folder / "orthanc.json").write_text(json.dumps(config))
    process = subprocess.Popen(
        [str(ORTHANC), str(folder / "orthanc.json")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{http_port}", trust_env=False) as http:
            until(lambda: _answers(http), 30)
            yield Pacs(authority, ours, its, dimse_port, our_port, http)
    finally:
        process.terminate()
        process.wait(30)


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get("/system").status_code == 200
    except httpx.TransportError:
        return False


def outgoing(folder: Path) -> list[OutgoingObject]:
    image = mammogram(1, rows=400, columns=300)
    path = write(image, folder / "a.dcm")
    return [OutgoingObject(image.SOPInstanceUID, image.SOPClassUID, path)]


def test_results_reach_a_pacs_over_tls(pacs: Pacs, tmp_path: Path) -> None:
    said = echo(pacs.destination(), calling_ae_title="ONCOPIXEL", timeout_seconds=20, tls=pacs.tls)
    assert "C-ECHO answered 0x0000" in said
    (outcome,) = send(
        outgoing(tmp_path),
        pacs.destination(),
        calling_ae_title="ONCOPIXEL",
        timeout_seconds=20,
        tls=pacs.tls,
    )
    assert outcome.accepted
    (kept,) = pacs.http.get("/instances").json()
    tags = pacs.http.get(f"/instances/{kept}/simplified-tags").json()
    assert tags["SOPInstanceUID"] == mammogram(1).SOPInstanceUID


def test_a_pacs_whose_authority_is_unknown_gets_nothing(pacs: Pacs, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    mistrusting = pacs.tls.model_copy(update={"ca_file": other.ca_file})
    missing = pacs.tls.model_copy(update={"ca_file": tmp_path / "gone.pem"})
    for tls, words in ((mistrusting, "refused the other's certificate"), (missing, "ca_file")):
        with pytest.raises(DeliveryFailed, match=words) as caught:
            echo(pacs.destination(), calling_ae_title="ONCOPIXEL", timeout_seconds=5, tls=tls)
        assert not caught.value.permanent
    with pytest.raises(DeliveryFailed):
        echo(pacs.destination(tls=False), calling_ae_title="ONCOPIXEL", timeout_seconds=5)


def test_a_pacs_sends_images_over_tls(pacs: Pacs, tmp_path: Path) -> None:
    peers = (
        PeerSettings(
            ae_title="ORTHANC", address="127.0.0.1", certificate_sha256=(pacs.its.sha256,)
        ),
    )
    with reception(tmp_path / "data", tls=pacs.tls, peers=peers) as received:
        image = write(mammogram(2), tmp_path / "b.dcm").read_bytes()
        sent = pacs.http.post("/instances", content=image).json()["ID"]
        done = pacs.http.post("/modalities/us/store", json={"Resources": [sent]}, timeout=30)
        assert done.json()["FailedInstancesCount"] == 0
        assert received.stored == [mammogram(2).SOPInstanceUID]
