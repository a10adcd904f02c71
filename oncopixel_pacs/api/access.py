"""Who may come in: the token check in front of every route but ``/health/live``."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

import structlog
from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from oncopixel_pacs.api.problems import problem

log = structlog.get_logger()

#: Open to everyone, so that a supervisor needs no secret.
OPEN_PATHS = frozenset({"/health/live"})
_CHALLENGE = 'Basic realm="OncoPixel PACS", charset="UTF-8", Bearer realm="OncoPixel PACS"'


class TokenGuard:
    """Lets a request through that carries one of the tokens, RFC 6750 or RFC 7617.

    A program sends ``Authorization: Bearer TOKEN``. A browser asks its user and sends HTTP
    Basic; the token is the password, the user name does not matter.
    """

    def __init__(self, app: ASGIApp, tokens: Sequence[str]) -> None:
        self._app = app
        self._digests = tuple(_digest(token) for token in tokens)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or answer 401."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        given = _token_in(request.headers.get("authorization", ""))
        if given is not None and self._knows(given):
            await self._app(scope, receive, send)
            return
        if given is not None:
            log.warning("http.unknown_token", address=request.client and request.client.host)
        answer = problem(
            request,
            401,
            "A token is needed: send Authorization: Bearer with one of [api] tokens, "
            "or give it to the browser as the password.",
            headers={"WWW-Authenticate": _CHALLENGE},
        )
        await answer(scope, receive, send)

    def _knows(self, token: str) -> bool:
        # Digests have one length, and every one is compared: time tells nothing of a token.
        given = _digest(token)
        return any([hmac.compare_digest(given, known) for known in self._digests])


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _token_in(authorization: str) -> str | None:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return None
    try:
        _, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return password
