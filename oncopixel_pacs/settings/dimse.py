"""Settings of the DICOM listeners: who may call, over TLS or not, and what is taken in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    WithJsonSchema,
    model_validator,
)

from oncopixel_pacs.settings.section import AeTitle, Port, Section, Uid

#: SHA-256 of a certificate's DER encoding, as OpenSSL or a browser shows it.
Fingerprint = Annotated[
    str,
    BeforeValidator(lambda given: str(given).replace(":", "").lower()),
    Field(pattern=r"^[0-9a-f]{64}$"),
    WithJsonSchema({"type": "string", "pattern": "^:*([0-9a-fA-F]:*){64}$"}),
]


#: What JSON schema says of `PeerSettings.port`.
REPORTS_NEED_ADDRESS: dict[str, JsonValue] = {
    "anyOf": [
        {"properties": {"port": {"type": "null"}}},
        {
            "properties": {"address": {"type": "string", "minLength": 1}},
            "required": ["address"],
        },
    ]
}


class PeerSettings(Section):
    """A sender that may open associations with us."""

    model_config = ConfigDict(json_schema_extra=REPORTS_NEED_ADDRESS)

    ae_title: AeTitle
    """Calling AE title."""
    address: Annotated[str, Field(min_length=1)] | None = None
    """IP address it must call from; any when absent."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port at which it takes storage commitment reports, under the same AE title; when absent
    it is told only while the association lasts on which it asked. Needs ``address``."""
    tls: bool = False
    """Whether reports go there over TLS."""
    certificate_sha256: tuple[Fingerprint, ...] = ()
    """Certificates one of which it must show, over TLS; empty: any that ``tls.ca_file`` vouches
    for, or none on the plain port. Two of them let a peer renew its own."""

    @model_validator(mode="after")
    def _callable(self) -> Self:
        if self.port is not None and self.address is None:
            raise ValueError("port needs address: where should reports go?")
        return self


class TlsSettings(Section):
    """TLS of DICOM connections; a certificate opens a port of its own."""

    certificate: Path | None = None
    """Our certificate, with those between it and its authority (PEM)."""
    key: Path | None = None
    """Its private key (PEM, no passphrase)."""
    ca_file: Path | None = None
    """Certificates of the authorities that vouch for peers, or of the peers themselves (PEM)."""
    require_peer_certificate: bool = True
    """Whether senders must show a certificate that ``ca_file`` vouches for."""
    port: Port = 2762
    """Port of the TLS listener, on ``dimse_host``; 0 picks a free one."""
    only: bool = False
    """Whether the plain listener on ``dimse_port`` is left out."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: name both")
        if self.certificate is None:
            if self.only:
                raise ValueError("only needs certificate and key")
        elif self.require_peer_certificate and self.ca_file is None:
            raise ValueError(
                "ca_file is needed: which authority vouches for peers? Or set "
                "require_peer_certificate = false"
            )
        return self

    @property
    def listens(self) -> bool:
        """Whether there is a TLS listener."""
        return self.certificate is not None


class ReceiveSettings(Section):
    """What is taken in."""

    least_free_bytes: int = Field(default=5 * 1024**3, ge=0)
    """New objects are refused while less is free in ``data_dir``; 0 never refuses."""
    further_sop_classes: tuple[Uid, ...] = ()
    """Storage SOP classes that are taken besides those of the product; stored, not analysed."""
    further_ae_titles: tuple[AeTitle, ...] = ()
    """AE titles by which we may be called besides ``ae_title``; rules of models tell them apart."""
