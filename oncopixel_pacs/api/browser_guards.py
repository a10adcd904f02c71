"""What a browser must not be talked into by another site.

Three doors: a foreign name that resolves to us (DNS rebinding), a form or script of another site
that sends a request in the user's name (cross-site request forgery), and content that runs
although it is data (scripts in a patient's name).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oncopixel_pacs.api.problems import problem
from oncopixel_pacs.api.route_rules import LIVE_PATH

#: Nothing is loaded but our own files, nothing inline runs, and nothing is sent but to us.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Not no-referrer: with that a browser sends ``Origin: null`` with our own form.
    "Referrer-Policy": "same-origin",
}
#: Media types that no form can send, and a script of another site only after asking us.
_NOT_BY_FORM = frozenset({"multipart/related", "application/dicom"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class SecurityHeaders:
    """Adds the headers that keep a browser strict; patient data stays out of its cache.

    Parameters
    ----------
    https_alone
        Whether a browser shall never again ask this server without TLS (RFC 6797).
    """

    def __init__(self, app: ASGIApp, *, https_alone: bool = False) -> None:
        self._app = app
        self._headers = dict(_HEADERS)
        if https_alone:
            self._headers["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    # The viewer of others brings a policy of its own.
                    if name not in headers or not scope["path"].startswith("/ohif/"):
                        headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, add)


class ProxyGuard:
    """Refuses whoever comes past the reverse proxy, since what we say is not encrypted then."""

    def __init__(self, app: ASGIApp, proxies: Sequence[str]) -> None:
        self._app = app
        self._proxies = frozenset(proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or answer 421."""
        client = (scope.get("client") or ("",))[0]
        passes = scope["type"] != "http" or scope["path"] == LIVE_PATH
        if passes or client in self._proxies:
            await self._app(scope, receive, send)
            return
        answer = problem(
            Request(scope),
            421,
            "This server is reached through its proxy alone; ask there, or name this address in "
            "[api] trusted_proxies.",
        )
        await answer(scope, receive, send)


class HostGuard:
    """Refuses a Host that is no name of this machine; for a server on a loopback address.

    A page of another site can give its own name our address, and would then be same-origin
    with us. It cannot choose the Host that the browser sends.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._allowed = {"127.0.0.1", "::1", "localhost", host.lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or answer 421."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        if host_name(request.headers.get("host", "")) in self._allowed:
            await self._app(scope, receive, send)
            return
        answer = problem(
            request,
            421,
            "This server answers on this machine alone, under 127.0.0.1, localhost or [::1]; "
            "a proxy must send one of them as Host.",
        )
        await answer(scope, receive, send)


class CrossSiteGuard:
    """Refuses a request that changes something when another site may have sent it.

    Passes: a header that no form can set (``X-Requested-With``, ``Authorization: Bearer``);
    else what the browser says of the sender, ``Sec-Fetch-Site`` or ``Origin``; else, when there
    is no word of a browser, DICOM.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or answer 403."""
        if scope["type"] != "http" or scope["method"] in _SAFE_METHODS:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        if _is_ours(request):
            await self._app(scope, receive, send)
            return
        answer = problem(
            request,
            403,
            "The request may come from another site; a program sends X-Requested-With "
            "with any value.",
        )
        await answer(scope, receive, send)


def host_name(header: str) -> str:
    """Name or address in a Host header, without port and brackets; empty when malformed."""
    if header.startswith("["):
        inside, bracket, _ = header[1:].partition("]")
        if not bracket:
            return ""
        try:
            return str(ipaddress.IPv6Address(inside))
        except ValueError:
            return ""
    name, _, port = header.partition(":")
    return name.lower() if not port or port.isdigit() else ""


def _is_ours(request: Request) -> bool:
    headers = request.headers
    if "x-requested-with" in headers:
        return True
    if headers.get("authorization", "").lower().startswith("bearer "):
        return True
    if "sec-fetch-site" in headers:
        return headers["sec-fetch-site"] == "same-origin"
    if "origin" in headers:
        _, _, origin = headers["origin"].partition("://")
        return bool(origin) and origin == headers.get("host", "")
    # Every browser says where such a request comes from; this is a program.
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    return content_type in _NOT_BY_FORM
