"""Settings of webhooks: who is called when a study is finished."""

from __future__ import annotations

import base64
import binascii
import ipaddress
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, IPvAnyNetwork, SecretStr, model_validator

from oncopixel_pacs.settings.section import Section

_PREFIX = "whsec_"
#: Standard Webhooks asks for 24 to 64 random bytes.
_KEY_BYTES = range(24, 65)
#: IPv6 addresses with an IPv4 address inside, which a gateway may call for us: NAT64 (RFC 6052,
#: RFC 8215), 6to4 (RFC 3056) and Teredo (RFC 4380).
_TRANSLATED = tuple(
    ipaddress.ip_network(text)
    for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)


class WebhookSettings(Section):
    """Someone who is called when a study is finished; nobody else ever is."""

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[!-~]+$")]
    """Name of the receiver, unique."""
    url: str = Field(pattern=r"^https?://[^\s@#]+$")
    """Where it is called, without user or password. Redirects are not followed."""
    secret: SecretStr
    """Key of the signature: ``whsec_`` and the base64 of 24 to 64 random bytes."""
    networks: tuple[IPvAnyNetwork, ...] = ()
    """Networks of your own that its name may resolve into, such as ``"10.1.2.0/24"``; without
    one only addresses of the public internet are called."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if len(self.key) not in _KEY_BYTES:
            raise ValueError(f"secret must be {_PREFIX} and the base64 of 24 to 64 random bytes")
        address = urlsplit(self.url)
        if not address.hostname:
            raise ValueError("url names no host")
        if address.scheme == "http" and not self.networks:
            raise ValueError("url must be https, unless networks says that it is one of your own")
        return self

    @property
    def key(self) -> bytes:
        """Bytes of the secret; empty where it is not one."""
        text = self.secret.get_secret_value()
        try:
            return base64.b64decode(text.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            return b""

    @property
    def place(self) -> str:
        """Where it is called, without what follows the path: that may be secret."""
        address = urlsplit(self.url)
        return f"{address.scheme}://{address.netloc}{address.path}"

    def allows(self, address: str) -> bool:
        """Whether its name may resolve to an address (IPv4, or IPv6 that is not IPv4 in disguise).

        Loopback, link-local, private and reserved addresses are refused unless one of `networks`
        has them: a name that is not ours must not lead us to what only we can reach.
        """
        found = ipaddress.ip_address(address.partition("%")[0])
        found = getattr(found, "ipv4_mapped", None) or found
        if any(found in network for network in self.networks):
            return True
        if any(found in network for network in _TRANSLATED):
            return False
        return found.is_global and not found.is_multicast and not found.is_reserved
