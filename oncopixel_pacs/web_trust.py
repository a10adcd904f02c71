"""Whose certificates count where we call a server over HTTPS."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx

from oncopixel_pacs.errors import ConfigurationError


def web_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Context for servers that are called by name, which their certificate has to have.

    Those count whom an authority of this system vouches for, as a hospital's own that its
    machines know, or one that is known to every browser (certifi).

    Parameters
    ----------
    ca_file
        Further authorities (PEM).

    Raises
    ------
    ConfigurationError
        When `ca_file` cannot be used.
    """
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as exc:  # ssl.SSLError is one
            raise ConfigurationError(
                f"The file {ca_file} of [tls] ca_file cannot be used; name one with certificates "
                "in PEM."
            ) from exc
    return context
