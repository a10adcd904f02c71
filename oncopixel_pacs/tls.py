"""TLS of DICOM connections: contexts of both sides, and what our certificate says.

The BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile (PS3.15 B.12): TLS 1.2 and
1.3, forward secrecy and authenticated encryption, keys of at least 112 bits of security.
"""

from __future__ import annotations

import hashlib
import ssl
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.settings import TlsSettings

#: RFC 9325 4.2, for TLS 1.2; the suites of TLS 1.3 are all fit.
CIPHERS = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
)
#: From then on a certificate that will expire is an alarm.
ALARM_BEFORE = timedelta(days=30)
#: What a certificate is for and who looks at it, by the table that names it.
_USES = {"tls": ("TLS", "peers"), "api": ("HTTPS", "browsers and programs")}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """The certificate that we show to peers.

    Attributes
    ----------
    subject
        Distinguished name, RFC 4514.
    expires_at
        End of its validity, UTC.
    sha256
        Digest of its DER encoding, lower case hex; what a peer may pin.
    """

    subject: str
    expires_at: datetime
    sha256: str

    def alarm(self, now: datetime, table: str = "tls") -> str:
        """Return why it must be renewed; empty while there is time.

        Parameters
        ----------
        table
            Table of the configuration that names it: ``tls`` for DICOM, ``api`` for HTTPS.
        """
        day = f"{self.expires_at:%Y-%m-%d}"
        name, refusing = _USES[table]
        if now >= self.expires_at:
            return (
                f"The {name} certificate expired on {day}: {refusing} refuse it. Replace the files "
                f"of [{table}] certificate and key; a restart is not needed."
            )
        if now >= self.expires_at - ALARM_BEFORE:
            return (
                f"The {name} certificate expires on {day}, in {_days(self.expires_at - now)}; "
                f"renew it and replace the files of [{table}] certificate and key."
            )
        return ""

    def validity(self, now: datetime) -> str:
        """Say until when it is valid."""
        left = _days(self.expires_at - now)
        return f"{self.subject}, valid until {self.expires_at:%Y-%m-%d}, {left}"


def read_certificate(path: Path) -> OwnCertificate:
    """Read the first certificate of a PEM file.

    Raises
    ------
    ConfigurationError
        When there is none.
    """
    certificate = _certificates(path, "certificate")[0]
    der = certificate.public_bytes(Encoding.DER)
    return OwnCertificate(
        certificate.subject.rfc4514_string(), certificate.not_valid_after_utc, fingerprint(der)
    )


def certificate_alarm(settings: TlsSettings, now: datetime, table: str = "tls") -> str:
    """Say what must be done about our certificate or its key; empty while all is well.

    A server goes on with the earlier pair while the files are unfit, so what the new file says
    of its end is not what peers see.

    Parameters
    ----------
    table
        Table of the configuration that names it: ``tls`` for DICOM, ``api`` for HTTPS.

    Raises
    ------
    ConfigurationError
        When the certificate cannot be read.
    """
    if settings.certificate is None:
        return _authorities_alarm(settings, now)
    own = read_certificate(settings.certificate)
    if unfit := _unfit(settings, _versions(settings)):
        return (
            f"{unfit} The files of [{table}] are not in use: the server shows the certificate of "
            "before until they are right, and would not start again."
        )
    return (
        own.alarm(now, table)
        or _chain_alarm(settings.certificate, now, table)
        or _authorities_alarm(settings, now)
    )


def _chain_alarm(path: Path, now: datetime, table: str) -> str:
    """Say which certificate between ours and its authority ends before ours."""
    name, refusing = _USES[table]
    for item in _ending(_certificates(path, "certificate")[1:], now):
        return (
            f"{_named(item, now)} in the chain of the {name} certificate: {refusing} refuse "
            f"all of it then. Put the renewed one into the file of [{table}] certificate."
        )
    return ""


def _authorities_alarm(settings: TlsSettings, now: datetime) -> str:
    """Say which authority that we trust ends, after which its peers are not let in."""
    if settings.ca_file is None:
        return ""
    for item in _ending(_certificates(settings.ca_file, "ca_file"), now):
        return (
            f"{_named(item, now)} in [tls] ca_file: connections with peers that it vouches for "
            "fail then. Add the renewed one to the file, or remove it where nobody needs it."
        )
    return ""


def _ending(held: list[x509.Certificate], now: datetime) -> list[x509.Certificate]:
    """Those that end soon, the first to end first; none that stands there renewed, too."""
    late = now + ALARM_BEFORE
    lasting = {item.subject for item in held if item.not_valid_after_utc > late}
    ending = [item for item in held if item.subject not in lasting]
    return sorted(ending, key=lambda item: item.not_valid_after_utc)


def _named(item: x509.Certificate, now: datetime) -> str:
    ends = item.not_valid_after_utc
    verb = "expired" if now >= ends else "expires"
    return f"The certificate {item.subject.rfc4514_string()} {verb} on {ends:%Y-%m-%d}"


@lru_cache(maxsize=8)
def _unfit(settings: TlsSettings, versions: tuple[tuple[int, ...], ...]) -> str:  # noqa: ARG001
    """Say why files cannot be used; looked at anew when one was replaced, for pages ask often."""
    try:
        acceptor_context(settings)
    except ConfigurationError as exc:
        return str(exc)
    return ""


def fingerprint(der: bytes) -> str:
    """SHA-256 of a certificate in DER, lower case hex."""
    return hashlib.sha256(der).hexdigest()


def acceptor_context(settings: TlsSettings) -> ssl.SSLContext:
    """Context for connections that peers open.

    Raises
    ------
    ConfigurationError
        When a file is missing or not what it should be.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, settings)
    # A ticket is state that an eavesdropper may use later, and associations are long.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    if settings.require_peer_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
    elif settings.ca_file is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def requestor_context(settings: TlsSettings) -> ssl.SSLContext:
    """Context for connections that we open; without a CA file the system's authorities count.

    Raises
    ------
    ConfigurationError
        When a file is missing or not what it should be.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, settings)
    # Application entities are known by address; their certificates often name no host.
    context.check_hostname = False
    if settings.ca_file is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


class RenewingContext:
    """The acceptor's context, made anew when a file of it was replaced."""

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._seen = _versions(settings)
        self._context = acceptor_context(settings)

    def current(self) -> ssl.SSLContext:
        """Return the context of the files as they are; the earlier one while they are unfit.

        Raises
        ------
        ConfigurationError
            Once, when files were replaced by unfit ones.
        """
        with self._lock:
            versions = _versions(self._settings)
            if versions != self._seen:
                self._seen = versions
                self._context = acceptor_context(self._settings)
            return self._context

    def latest(self) -> ssl.SSLContext:
        """Return `current`; that files were replaced by unfit ones is told by the log."""
        try:
            return self.current()
        except ConfigurationError as exc:
            log.error("tls.files_refused", reason=exc.for_log)
        return self.current()


def _versions(settings: TlsSettings) -> tuple[tuple[int, ...], ...]:
    named = (settings.certificate, settings.key, settings.ca_file)
    return tuple(_version(path) for path in named if path is not None)


def _version(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return (0,)
    # The last tells that a file which we might not read was given to us.
    return found.st_mtime_ns, found.st_ino, found.st_ctime_ns


def _context(protocol: int, settings: TlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join((*CIPHERS, "@SECLEVEL=2")))
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    if settings.ca_file is not None:
        _load_authorities(context, settings.ca_file)
    if settings.certificate is not None and settings.key is not None:
        _load_own(context, settings.certificate, settings.key)
    return context


def _load_authorities(context: ssl.SSLContext, path: Path) -> None:
    certificates = _certificates(path, "ca_file")
    context.load_verify_locations(cadata="".join(map(_pem, certificates)))
    # What the file names is trusted, be it the authority or the peer itself.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    own = _certificates(certificate, "certificate")[0]
    try:
        private = load_pem_private_key(_read(key, "key"), None)
    except TypeError as exc:
        raise ConfigurationError(
            f"The key {key} is encrypted; store it without a passphrase, readable by "
            "the server alone."
        ) from exc
    except ValueError as exc:
        raise ConfigurationError(f"The key {key} is no private key in PEM.") from exc
    if private.public_key() != own.public_key():
        raise ConfigurationError(
            f"The key {key} does not belong to the certificate {certificate}; name the "
            "pair that was made together."
        )
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as exc:
        raise ConfigurationError(
            f"The certificate {certificate} cannot be used ({exc.reason}); its key must "
            "have at least 2048 bits (RSA) or 224 (elliptic curve), its signature SHA-256."
        ) from exc


def _certificates(path: Path, setting: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(path, setting))
    except ValueError as exc:
        raise ConfigurationError(
            f"{path} holds no certificate in PEM; correct the setting {setting}."
        ) from exc


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ConfigurationError(
            f"{path} cannot be read ({exc.strerror}); correct the setting {setting}."
        ) from exc


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def _days(span: timedelta) -> str:
    return "1 day" if span.days == 1 else f"{span.days} days"
