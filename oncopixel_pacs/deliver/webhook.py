"""Calls a webhook, signed after Standard Webhooks 1.0, at addresses that it may have alone."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import socket
from collections.abc import Callable, Sequence
from datetime import datetime
from urllib.parse import urlsplit

import httpx

from oncopixel_pacs.errors import DeliveryFailed
from oncopixel_pacs.settings import WebhookSettings
from oncopixel_pacs.web_trust import web_context

Resolve = Callable[[str, int], list[str]]
#: Gone (RFC 9110 15.5.11): Standard Webhooks has it stand for "do not call again".
_GONE = 410
#: Of one name that are tried.
_MOST_ADDRESSES = 4


def resolve(host: str, port: int) -> list[str]:
    """Look up the addresses of a host.

    Raises
    ------
    OSError
        When there is none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


def signature(key: bytes, message_id: str, at: datetime, body: bytes) -> str:
    """Sign a message: HMAC-SHA256 over its id, its time and its body, as scheme ``v1``."""
    signed = f"{message_id}.{int(at.timestamp())}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def call(
    webhook: WebhookSettings,
    message_id: str,
    at: datetime,
    body: bytes,
    timeout_seconds: float,
    look_up: Resolve = resolve,
) -> int:
    """Send one message, once.

    The name is looked up once, and the connection goes to the first of its addresses that answers,
    each of which was checked: a name whose answer changes in between leads nowhere else. Neither
    redirects nor proxies are used.

    Returns
    -------
    int
        HTTP status, of 200 to 299.

    Raises
    ------
    DeliveryFailed
        When it was not taken; permanent when it asks not to be called again.
    """
    asked = urlsplit(webhook.url)
    port = asked.port or (443 if asked.scheme == "https" else 80)
    addresses = _addresses(webhook, asked.hostname or "", port, look_up)
    requests = [
        _request(webhook, address, message_id, at, body, timeout_seconds, len(addresses))
        for address in addresses
    ]
    try:
        status = _answered(requests)
    except httpx.HTTPError as exc:
        raise DeliveryFailed(
            f"{webhook.name} gave no answer ({type(exc).__name__}); it is called again.",
            permanent=False,
        ) from exc
    if not 200 <= status < 300:
        again = "" if status == _GONE else "; it is called again"
        raise DeliveryFailed(
            f"{webhook.name} answered {status}{again}.",
            permanent=status == _GONE,
            status=str(status),
        )
    return status


def _answered(requests: Sequence[httpx.Request]) -> int:
    """Send the first request for which a connection can be made; gives the status."""
    with httpx.HTTPTransport(verify=web_context(), trust_env=False) as sender:
        *others, last = requests
        for request in others:
            # Only what never reached anybody may go elsewhere.
            with contextlib.suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return _status(sender, request)
        return _status(sender, last)


def _status(sender: httpx.HTTPTransport, request: httpx.Request) -> int:
    answer = sender.handle_request(request)
    answer.close()
    return answer.status_code


def _request(
    webhook: WebhookSettings,
    address: str,
    message_id: str,
    at: datetime,
    body: bytes,
    timeout_seconds: float,
    addresses: int,
) -> httpx.Request:
    """Make the request to one of some addresses, under the name that was configured."""
    asked = urlsplit(webhook.url)
    timeout = httpx.Timeout(timeout_seconds, connect=timeout_seconds / addresses)
    return httpx.Request(
        "POST",
        httpx.URL(webhook.url).copy_with(host=address),
        content=body,
        headers={
            "Host": asked.netloc,
            "Content-Type": "application/json",
            "User-Agent": "OncoPixel-PACS",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": signature(webhook.key, message_id, at, body),
        },
        extensions={
            "sni_hostname": asked.hostname or "",
            "timeout": timeout.as_dict(),
        },
    )


def _addresses(webhook: WebhookSettings, host: str, port: int, look_up: Resolve) -> Sequence[str]:
    try:
        found = look_up(host, port)
    except (OSError, UnicodeError) as exc:
        raise DeliveryFailed(
            f"The host of {webhook.name} has no address; check its url.", permanent=False
        ) from exc
    # One that is not allowed spoils them all: whoever answers so is not to be trusted.
    if not found or not all(webhook.allows(item) for item in found):
        raise DeliveryFailed(
            f"The host of {webhook.name} resolves to an address that is not of the public "
            "internet; name its network in networks if it is yours.",
            permanent=False,
        )
    return found[:_MOST_ADDRESSES]
