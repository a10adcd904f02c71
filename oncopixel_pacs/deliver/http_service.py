"""Archives that are reached over HTTP: how they are entered, and whom we trust."""

from __future__ import annotations

from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from typing import Protocol

from pydantic import SecretStr

from oncopixel_pacs.errors import ConfigurationError, DeliveryFailed
from oncopixel_pacs.settings import TlsSettings
from oncopixel_pacs.tls import requestor_context
from oncopixel_pacs.web_trust import web_context


class HttpService(Protocol):
    """Where it is: a destination, or a source of pulls."""

    @property
    def url(self) -> str:
        """Base URL."""

    @property
    def user(self) -> str | None:
        """Our login."""

    @property
    def password(self) -> SecretStr | None:
        """Its password."""


def service_context(service: HttpService, tls: TlsSettings) -> SSLContext:
    """Context for an archive, whose certificate has to have its name.

    `tls.ca_file` vouches for it, and our certificate is shown; without that file the authorities
    of the system vouch.

    Raises
    ------
    DeliveryFailed
        When a file of `tls` cannot be used.
    """
    if not service.url.startswith("https:"):
        # To read the authorities takes 50 ms of a processor; this one trusts nobody.
        return SSLContext(PROTOCOL_TLS_CLIENT)
    try:
        context = web_context() if tls.ca_file is None else requestor_context(tls)
    except ConfigurationError as exc:
        raise DeliveryFailed(str(exc), permanent=False) from exc
    context.check_hostname = True
    return context
