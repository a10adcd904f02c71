"""Chapters of the statement on how an installation is set up, connected and protected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION

from oncopixel_pacs.conformance.markdown import seconds, table
from oncopixel_pacs.receive.limits import DEFAULT_LIMITS
from oncopixel_pacs.report.provenance import IMPLEMENTATION_CLASS_UID
from oncopixel_pacs.settings import Settings
from oncopixel_pacs.tls import CIPHERS


def configuration(settings: Settings) -> str:
    """Write chapter 5: what is set here."""
    return f"""
## 5 Configuration

{table(("parameter", "setting", "value"), _parameters(settings))}

Peers: {_peers(settings)} Destinations: {len(settings.destinations)}. Sources:
{len(settings.sources)}."""


def _parameters(settings: Settings) -> Iterator[Sequence[str]]:
    yield "AE title", "`ae_title`", settings.ae_title
    further = ", ".join(settings.receive.further_ae_titles) or "none"
    yield "further called AE titles", "`receive.further_ae_titles`", further
    plain = "closed" if settings.tls.only else str(settings.dimse_port)
    yield "TCP port", "`dimse_port`", plain
    yield (
        "TCP port over TLS",
        "`tls.port`",
        str(settings.tls.port) if settings.tls.listens else "closed",
    )
    yield "TCP port of the web services", "`http_port`", str(settings.http_port)
    yield (
        "time-out of destinations",
        "`delivery.timeout_seconds`",
        seconds(settings.delivery.timeout_seconds),
    )
    yield "time-out of sources", "`pull.timeout_seconds`", seconds(settings.pull.timeout_seconds)
    room = f"{settings.receive.least_free_bytes >> 20} MiB"
    yield "least free disk space", "`receive.least_free_bytes`", room


def _peers(settings: Settings) -> str:
    if settings.takes_anyone:
        return "any sender on this machine; others cannot reach the listener."
    pinned = sum(bool(peer.certificate_sha256) for peer in settings.peers)
    return (
        f"{len(settings.peers)} in the configuration ({pinned} with a pinned certificate), and "
        "those that a person allowed on the system page; every other caller is rejected."
    )


def network(settings: Settings) -> str:
    """Write chapter 6: the network."""
    limits = DEFAULT_LIMITS
    rows = (
        ("DICOM application context", "1.2.840.10008.3.1.1.1"),
        ("maximum PDU, received", f"{limits.pdu_bytes} bytes"),
        ("associations at a time, as acceptor", str(limits.associations)),
        ("of these from one address", str(limits.associations_per_address)),
        ("associations at a time, as initiator", _initiated(settings)),
        ("asynchronous operations", "not negotiated; one outstanding operation"),
        ("silence before an association is ended", seconds(limits.idle_seconds)),
        ("time for one PDU", seconds(limits.pdu_seconds)),
        ("largest data set", f"{limits.dataset_bytes >> 30} GiB"),
        ("Implementation Class UID, on associations", str(PYNETDICOM_IMPLEMENTATION_UID)),
        ("Implementation Version Name, on associations", PYNETDICOM_IMPLEMENTATION_VERSION),
        ("Implementation Class UID, in result objects", IMPLEMENTATION_CLASS_UID),
    )
    rejections = (
        (
            "rejected-permanent, service user, 3",
            "calling AE title, address or certificate not known",
        ),
        ("rejected-permanent, service user, 7", "called AE title is none of ours"),
        ("rejected-transient, presentation, 2", "more associations than allowed"),
    )
    return f"""
## 6 Network and media communication details

{table(("property", "value"), rows)}

Association rejection (PS3.8 9.3.4):

{table(("result, source, reason", "when"), rejections)}

Physical network: TCP/IP over whatever the host has; IPv4 and host names."""


def _initiated(settings: Settings) -> str:
    found = [f"{i.name}: {i.concurrency}" for i in settings.destinations if i.type == "cstore"]
    return ", ".join(found) or "none"


def security(settings: Settings) -> str:
    """Write chapter 7: protection."""
    if settings.tls.listens:
        shown = "required" if settings.tls.require_peer_certificate else "not required"
        said = (
            f"BCP 195 RFC 8996, 9325 TLS profile (PS3.15 B.12), TLS 1.2 and 1.3; peer certificate "
            f"{shown}. Suites of TLS 1.2: {', '.join(CIPHERS)}. The plain listener is "
            f"{'closed' if settings.tls.only else 'open, too'}."
        )
    else:
        said = (
            "TLS is not configured: DICOM goes unprotected, for this machine or a closed network."
        )
    return f"""
## 7 Security

{said}

Callers are admitted by calling AE title, address and certificate together; user identity
negotiation is not supported. Every HTTP route but liveness needs a credential once the server
listens beyond this machine."""
