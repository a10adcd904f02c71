"""Whom we trust where an archive is reached over HTTPS."""

from __future__ import annotations

from ssl import SSLContext

from oncopixel_pacs.errors import ConfigurationError, DeliveryFailed
from oncopixel_pacs.settings import TlsSettings
from oncopixel_pacs.tls import requestor_context
from oncopixel_pacs.web_trust import web_context


def service_context(tls: TlsSettings) -> SSLContext:
    """Context for an archive, whose certificate has to have its name.

    `tls.ca_file` vouches for it, and our certificate is shown; without that file the authorities
    of the system vouch.

    Raises
    ------
    DeliveryFailed
        When a file of `tls` cannot be used.
    """
    try:
        context = web_context() if tls.ca_file is None else requestor_context(tls)
    except ConfigurationError as exc:
        raise DeliveryFailed(str(exc), permanent=False) from exc
    context.check_hostname = True
    return context
