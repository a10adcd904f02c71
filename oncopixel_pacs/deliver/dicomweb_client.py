"""The HTTP client of DICOMweb services, with the credentials and certificates that are ours."""

from __future__ import annotations

from typing import Protocol

import httpx
from pydantic import SecretStr

from oncopixel_pacs.deliver.http_service import HttpService, service_context
from oncopixel_pacs.settings import TlsSettings


class Service(HttpService, Protocol):
    """A DICOMweb service, and how it is entered."""

    @property
    def token(self) -> SecretStr | None:
        """Bearer token."""


def open_client(service: Service, timeout_seconds: float, tls: TlsSettings) -> httpx.Client:
    """Make a client; paths are relative to the service's base URL.

    Raises
    ------
    DeliveryFailed
        When the certificates of `tls` cannot be used.
    """
    headers = {}
    if service.token is not None:
        headers["Authorization"] = f"Bearer {service.token.get_secret_value()}"
    auth = None
    if service.user is not None:
        password = service.password.get_secret_value() if service.password else ""
        auth = httpx.BasicAuth(service.user, password)
    # No redirects: credentials go where the configuration says, and nowhere else.
    return httpx.Client(
        base_url=f"{service.url.rstrip('/')}/",
        headers=headers,
        auth=auth,
        timeout=timeout_seconds,
        verify=service_context(service, tls),
        trust_env=False,
    )
