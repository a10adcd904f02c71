"""DICOM over TLS: who shakes hands, who is turned away with which words, and nobody waits."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority, Identity
from dimse_builder import Reception, association, mammogram, reception, store, until, write
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from server_process import STORESCU

from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.receive.limits import DEFAULT_LIMITS, Limits
from oncopixel_pacs.settings import PeerSettings, TlsSettings
from oncopixel_pacs.tls import acceptor_context, fingerprint


@dataclass(frozen=True)
class Office:
    """An authority, our identity, a modality's, and that of another authority's modality."""

    authority: Authority
    ours: Identity
    modality: Identity
    stranger: Identity


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority(folder)
    stranger = Authority(folder, "elsewhere").issue("stranger")
    return Office(authority, authority.issue("ours"), authority.issue("modality"), stranger)


def tls_settings(office: Office, **changes: Any) -> TlsSettings:
    values = {
        "certificate": office.ours.certificate,
        "key": office.ours.key,
        "ca_file": office.authority.ca_file,
        "port": 0,
    }
    return TlsSettings(**{**values, **changes})


@contextmanager
def secured(
    tmp_path: Path, office: Office, limits: Limits = DEFAULT_LIMITS, **options: Any
) -> Iterator[Reception]:
    tls = options.pop("tls", None) or tls_settings(office)
    with reception(tmp_path / "data", limits, tls=tls, **options) as received:
        yield received


def client(office: Office, shown: Identity | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(office.authority.ca_file))
    context.check_hostname = False
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    return context


def reasons(received: Reception) -> list[str]:
    return [item.reason for item in received.callers.rejected()]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_images_arrive_over_tls_and_beside_it_in_the_clear(
    tmp_path: Path, office: Office, version: ssl.TLSVersion
) -> None:
    context = client(office, office.modality)
    context.minimum_version = context.maximum_version = version
    with secured(tmp_path, office) as received:
        image = mammogram(1, rows=600, columns=500)
        assert store(received.tls_port, image, tls=context).Status == 0x0000
        assert store(received.port, mammogram(2)).Status == 0x0000
        assert len(received.stored) == 2
        assert not received.leftovers


def test_only_leaves_out_the_plain_listener(tmp_path: Path, office: Office) -> None:
    with secured(tmp_path, office, tls=tls_settings(office, only=True)) as received:
        assert received.port == 0
        context = client(office, office.modality)
        assert store(received.tls_port, mammogram(), tls=context).Status == 0x0000


def old_versions(office: Office) -> ssl.SSLContext:
    context = client(office, office.modality)
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def weak_suites(office: Office) -> ssl.SSLContext:
    context = client(office, office.modality)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AES+SHA1:ECDHE+AES+SHA256:-AESGCM")
    return context


def expired(office: Office) -> Identity:
    return office.authority.issue("expired", valid=timedelta(days=-2))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (old_versions, "it offers no TLS version later than 1.1"),
        (weak_suites, "it offers no cipher suite of RFC 9325"),
        (client, "it showed no certificate"),
        (
            lambda office: client(office, office.stranger),
            "no authority of [tls] ca_file vouches for its certificate",
        ),
        (lambda office: client(office, expired(office)), "its certificate expired"),
    ],
    ids=["TLS 1.1", "no AEAD", "no certificate", "another authority's", "expired"],
)
def test_who_does_not_come_up_to_the_profile_is_turned_away(
    tmp_path: Path, office: Office, make: Any, reason: str
) -> None:
    with secured(tmp_path, office) as received:
        with (
            pytest.raises(OSError, match=".*"),
            socket.create_connection(("127.0.0.1", received.tls_port), timeout=15) as plain,
            make(office).wrap_socket(plain) as sock,
        ):
            sock.sendall(b"\x01\x00")
            if not sock.recv(1):
                raise ConnectionError
        until(lambda: reasons(received) == [f"TLS: {reason}"])
        context = client(office, office.modality)
        assert store(received.tls_port, mammogram(), tls=context).Status == 0x0000


def test_an_association_request_in_the_clear_gets_no_answer(tmp_path: Path, office: Office) -> None:
    with secured(tmp_path, office) as received:
        with association(received.tls_port) as assoc:
            assert not assoc.is_established
        until(lambda: reasons(received) == ["TLS: it does not speak TLS"])


def test_the_suites_are_those_of_the_profile(office: Office) -> None:
    offered = acceptor_context(tls_settings(office)).get_ciphers()
    assert {item["name"] for item in offered if item["protocol"] != "TLSv1.3"} == {
        f"ECDHE-{key}-{suite}"
        for key in ("ECDSA", "RSA")
        for suite in ("AES128-GCM-SHA256", "AES256-GCM-SHA384")
    }


def test_a_peer_must_show_its_own_certificate(tmp_path: Path, office: Office) -> None:
    other = office.authority.issue("other")
    peers = (
        PeerSettings(
            ae_title="MODALITY",
            address="127.0.0.1",
            certificate_sha256=(office.modality.sha256.upper(), "ab:" * 31 + "ab"),
        ),
    )
    with secured(tmp_path, office, peers=peers) as received:
        with association(received.tls_port, tls=client(office, other)) as assoc:
            assert assoc.is_rejected
            assert assoc.acceptor.primitive.diagnostic == 0x03
        with association(received.port) as assoc:
            assert assoc.is_rejected
        context = client(office, office.modality)
        assert store(received.tls_port, mammogram(), tls=context).Status == 0x0000
        until(lambda: len(reasons(received)) == 2)
        by_reason = {item.reason.partition(": ")[2]: item for item in received.callers.rejected()}
        assert by_reason["it is known with another certificate"].certificate_sha256 == other.sha256
        assert not by_reason["it must come over TLS with its certificate"].may_be_allowed


def test_without_mutual_authentication_any_caller_shakes_hands(
    tmp_path: Path, office: Office
) -> None:
    tls = tls_settings(office, ca_file=None, require_peer_certificate=False)
    with secured(tmp_path, office, tls=tls) as received:
        assert store(received.tls_port, mammogram(), tls=client(office)).Status == 0x0000


@pytest.mark.parametrize("first", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["idle", "stalled"])
def test_silent_handshakes_hold_nobody_up_and_are_cut(
    tmp_path: Path, office: Office, first: bytes
) -> None:
    limits = Limits(request_seconds=1.5)
    with secured(tmp_path, office, limits) as received:
        idle = [socket.create_connection(("127.0.0.1", received.tls_port)) for _ in range(12)]
        for sock in idle:
            sock.sendall(first)
        began = time.monotonic()
        context = client(office, office.modality)
        assert store(received.tls_port, mammogram(1), tls=context).Status == 0x0000
        assert store(received.port, mammogram(2)).Status == 0x0000
        assert time.monotonic() - began < 1.5
        for sock in idle:
            sock.settimeout(10)
            assert sock.recv(1) == b""
            sock.close()
        until(lambda: reasons(received) == ["TLS: it did not finish the handshake in time"])


def test_a_renewed_certificate_is_shown_without_a_restart(tmp_path: Path, office: Office) -> None:
    ours = Authority(tmp_path, "own").issue("renewed")
    files = tmp_path / "our.crt", tmp_path / "our.key"
    shutil.copy(office.ours.certificate, files[0])
    shutil.copy(office.ours.key, files[1])
    tls = tls_settings(office, certificate=files[0], key=files[1])
    with secured(tmp_path, office, tls=tls) as received:
        assert shown_by(received.tls_port, office) == office.ours.sha256
        files[0].write_text("half a file")
        os.utime(files[0], (1, 1))
        assert shown_by(received.tls_port, office) == office.ours.sha256
        shutil.copy(ours.certificate, files[0])
        shutil.copy(ours.key, files[1])
        assert shown_by(received.tls_port, office) == ours.sha256


def shown_by(port: int, office: Office) -> str:
    context = client(office, office.modality)
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=15) as plain,
        context.wrap_socket(plain) as sock,
    ):
        return fingerprint(sock.getpeercert(binary_form=True) or b"")


def test_a_commitment_report_goes_out_over_tls(tmp_path: Path, office: Office) -> None:
    reports: list[int] = []

    def on_report(event: evt.Event) -> tuple[int, None]:
        reports.append(event.event_type)
        return 0x0000, None

    entity = ApplicationEntity("MODALITY")
    entity.add_supported_context("1.2.840.10008.1.20.1", scu_role=False, scp_role=True)
    context = ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH, cafile=str(office.authority.ca_file)
    )
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(office.modality.certificate, office.modality.key)
    handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, on_report)]
    server: Any = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=context
    )
    try:
        peers = (
            PeerSettings(
                ae_title="MODALITY",
                address="127.0.0.1",
                port=server.server_address[1],
                tls=True,
                certificate_sha256=(office.modality.sha256,),
            ),
        )
        with secured(tmp_path, office, peers=peers) as received:
            with association(
                received.tls_port,
                sop_class="1.2.840.10008.1.20.1",
                tls=client(office, office.modality),
            ) as assoc:
                ask_for_commitment(assoc)
            until(lambda: reports == [2])
    finally:
        server.shutdown()


def ask_for_commitment(assoc: Any) -> None:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID = mammogram().SOPClassUID
    item.ReferencedSOPInstanceUID = mammogram().SOPInstanceUID
    information = Dataset()
    information.TransactionUID = "1.2.3"
    information.ReferencedSOPSequence = [item]
    well_known = "1.2.840.10008.1.20.1.1"
    answer, _ = assoc.send_n_action(information, 1, "1.2.840.10008.1.20.1", well_known)
    assert answer.Status == 0x0000


@pytest.mark.dcmtk
@pytest.mark.skipif(shutil.which(STORESCU) is None, reason="needs the dcmtk package")
@pytest.mark.parametrize("profile", ["--profile-bcp195-nd", "--profile-bcp195"])
def test_storescu_of_dcmtk_sends_over_tls(tmp_path: Path, office: Office, profile: str) -> None:
    image = write(mammogram(rows=300, columns=300), tmp_path / "a.dcm")
    with secured(tmp_path, office) as received:
        command = [
            STORESCU,
            *("-aec", "ONCOPIXEL", "-aet", "MODALITY", profile),
            *("--enable-tls", str(office.modality.key), str(office.modality.certificate)),
            *("--add-cert-file", str(office.authority.ca_file)),
            *("127.0.0.1", str(received.tls_port), str(image)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        assert received.stored == [mammogram().SOPInstanceUID]


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda o, _: {"certificate": o.ours.key.with_name("gone.crt")}, "cannot be read"),
        (lambda o, _: {"certificate": o.ours.key}, "holds no certificate in PEM"),
        (lambda o, _: {"key": o.ours.certificate}, "is no private key in PEM"),
        (lambda o, _: {"key": o.modality.key}, "does not belong to the certificate"),
        (lambda o, _: {"ca_file": o.ours.key}, r"correct the setting ca_file"),
        (lambda _, a: pair(a.issue("locked", locked=True)), "is encrypted"),
        (lambda _, a: pair(a.issue("weak", rsa_bits=1024)), "at least 2048 bits"),
    ],
    ids=["missing", "no certificate", "no key", "another's key", "no authority", "locked", "weak"],
)
def test_a_wrong_file_keeps_the_server_from_starting_and_says_which(
    tmp_path: Path, office: Office, break_it: Any, words: str
) -> None:
    tls = tls_settings(office, **break_it(office, Authority(tmp_path / "more")))
    with pytest.raises(ConfigurationError, match=words), secured(tmp_path, office, tls=tls):
        pass


def pair(identity: Identity) -> dict[str, Path]:
    return {"certificate": identity.certificate, "key": identity.key}
