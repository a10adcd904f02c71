"""A small certification authority for tests of TLS."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from oncopixel_pacs.tls import fingerprint

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Identity:
    """A certificate with its key, in files."""

    certificate: Path
    key: Path
    sha256: str


@dataclass(frozen=True)
class Authority:
    """Signs certificates and keeps them in a folder."""

    folder: Path
    name: str = "authority"
    valid: timedelta = timedelta(days=3650)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        object.__setattr__(self, "_key", key)
        subject = _name(self.name)
        certificate = (
            _begun(subject, subject, key, self.valid)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        object.__setattr__(self, "_certificate", certificate)
        self.ca_file.write_bytes(certificate.public_bytes(Encoding.PEM))

    @property
    def ca_file(self) -> Path:
        """The authority's own certificate."""
        return self.folder / f"{self.name}.pem"

    def issue(
        self,
        name: str,
        *,
        valid: timedelta = timedelta(days=365),
        locked: bool = False,
        rsa_bits: int = 0,
    ) -> Identity:
        """Sign a certificate for a name; a negative validity gives one that has expired."""
        key: Key = ec.generate_private_key(ec.SECP256R1())
        if rsa_bits:
            key = rsa.generate_private_key(65537, rsa_bits)
        issuer: x509.Certificate = self._certificate  # type: ignore[attr-defined]
        certificate = (
            _begun(_name(name), issuer.subject, key, valid)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
                ),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())  # type: ignore[attr-defined]
        )
        paths = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        stored = BestAvailableEncryption(b"a passphrase") if locked else NoEncryption()
        paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, stored))
        return Identity(*paths, fingerprint(certificate.public_bytes(Encoding.DER)))


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _begun(
    subject: x509.Name, issuer: x509.Name, key: Key, valid: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, now + valid) - timedelta(days=1))
        .not_valid_after(now + valid)
    )
