"""Settings of the HTTP server: who may come in, and over what."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, IPvAnyAddress, IPvAnyNetwork, SecretStr, model_validator

from oncopixel_pacs.settings.section import Port, Section

#: A token that can be guessed by trying is no token.
LEAST_TOKEN = 16


class OidcSettings(Section):
    """Sign-in with an account of the hospital (OpenID Connect)."""

    issuer: str = Field(pattern=r"^https?://[^\s?#]+$")
    """Address of the provider, as in its ``iss`` claim."""
    client_id: str = Field(min_length=1)
    """What the provider calls this server."""
    client_secret: SecretStr | None = None
    """Absent for a public client; the exchange is protected by PKCE in any case."""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    """What is asked for; ``openid`` must be among it."""
    name_claim: str = "preferred_username"
    """Claim that names the user; ``sub`` where it is missing."""
    role_claim: str = "groups"
    """Claim with the groups or roles of the user, a text or a list of texts."""
    viewers: tuple[str, ...] = ()
    """Groups whose members may look."""
    operators: tuple[str, ...] = ()
    """Groups whose members may also act on studies and jobs."""
    admins: tuple[str, ...] = ()
    """Groups whose members may do everything."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if "openid" not in self.scopes:
            raise ValueError("scopes must hold openid")
        if not (self.viewers or self.operators or self.admins):
            raise ValueError("name a group in viewers, operators or admins: nobody could come in")
        if self.issuer.startswith("http://") and not _on_this_machine(self.issuer):
            raise ValueError("issuer must be https")
        return self


class ApiSettings(Section):
    """Access to the HTTP API and pages."""

    tokens: tuple[Annotated[SecretStr, Field(min_length=LEAST_TOKEN)], ...] = ()
    """Bearer tokens of admins, of 16 characters or more. Better: ``oncopixel tokens create``."""
    certificate: Path | None = None
    """Our certificate for HTTPS, with those between it and its authority (PEM)."""
    key: Path | None = None
    """Its private key (PEM, no passphrase)."""
    trusted_proxies: tuple[IPvAnyAddress, ...] = ()
    """Addresses of the reverse proxies that end TLS before us; without ``certificate`` only
    they are answered, and what they say in ``X-Forwarded-For`` and ``-Proto`` is believed."""
    public_url: str = Field(default="", pattern=r"^(https?://[^\s?#]+)?$")
    """Address under which browsers reach us, where a proxy does not pass ``Host`` on."""
    session_hours: float = Field(default=12.0, gt=0, le=720)
    """How long a sign-in lasts."""
    oidc: OidcSettings | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: name both")
        return self

    @property
    def encrypted(self) -> bool:
        """Whether what we say travels encrypted, by us or by a proxy."""
        return self.certificate is not None or bool(self.trusted_proxies)


class MetricsSettings(Section):
    """What Prometheus reads at ``/metrics``."""

    networks: tuple[IPvAnyNetwork, ...] = ()
    """Networks from which it is read without a token, such as ``"10.1.2.0/24"``."""
    port: Port | None = None
    """Port at which a process without the role ``api`` tells what it counts; it does not when
    absent."""
    host: str = "127.0.0.1"
    """Address that it binds there."""

    def trusts(self, address: str) -> bool:
        """Whether an address lies in one of the networks."""
        try:
            asking = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(asking in network for network in self.networks)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _on_this_machine(address: str) -> bool:
    host = address.removeprefix("http://").partition("/")[0]
    return host.startswith("[::1]") or host.partition(":")[0] in ("127.0.0.1", "localhost")
