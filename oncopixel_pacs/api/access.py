"""Who comes in: the check in front of every route."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, cast
from urllib.parse import quote

import structlog
from anyio import to_thread
from fastapi import Depends, Request
from fastapi.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from oncopixel_pacs.api.problems import path_for_log, problem
from oncopixel_pacs.api.rendering import CALLER
from oncopixel_pacs.api.route_rules import (
    LIVE_PATH,
    METRICS_PATH,
    PUBLIC,
    SAFE_METHODS,
    Nobody,
    area_of,
    required_role,
)
from oncopixel_pacs.domain.access import AccessRole, Caller, SignIn
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.settings import ApiSettings, MetricsSettings, Settings
from oncopixel_pacs.store.accounts import Accounts
from oncopixel_pacs.store.api_tokens import ApiTokens

log = structlog.get_logger()

#: Name of the cookie that holds a session. Its ``Path`` is the whole server.
SESSION_COOKIE = "oncopixel_session"
_CHALLENGE = 'Basic realm="OncoPixel PACS", charset="UTF-8", Bearer realm="OncoPixel PACS"'
#: Whoever comes in where nobody has to say who it is.
ANYONE = Caller("", AccessRole.ADMIN, SignIn.NOBODY)


class Gatekeeper:
    """Knows who a request comes from, and whether anyone may come in.

    Parameters
    ----------
    must_sign_in
        Whether the server is reached by others, so that it is never open.
    """

    def __init__(
        self,
        settings: ApiSettings,
        accounts: Accounts,
        tokens: ApiTokens,
        now: Callable[[], datetime],
        *,
        must_sign_in: bool,
    ) -> None:
        self._accounts = accounts
        self._tokens = tokens
        self._now = now
        self._fixed = tuple(_digest(item.get_secret_value()) for item in settings.tokens)
        self._configured = frozenset(item.hex() for item in self._fixed)
        self._has_provider = settings.oidc is not None
        self._closed = threading.Event()
        if must_sign_in or settings.tokens or settings.oidc is not None:
            self._closed.set()

    def open(self) -> bool:
        """Whether everyone on this machine may come in: no token, user or provider is known.

        Once the first user or token is made, it is closed for as long as the process runs.
        """
        if not self._closed.is_set() and (self._accounts.any() or self._tokens.any()):
            self._closed.set()
        return not self._closed.is_set()

    def caller_of(self, authorization: str, session: str) -> Caller | None:
        """Find who sends this header (RFC 6750, RFC 7617) or, without one, this cookie."""
        if authorization:
            token = _token_in(authorization)
            return None if token is None else self.caller_of_token(token)
        if session:
            found = self._accounts.caller_of_session(session, self._now(), self._configured)
            return None if found is None or not self._knows(found.sign_in) else found
        return ANYONE if self.open() else None

    def _knows(self, sign_in: SignIn) -> bool:
        """Whether a session that began so may go on: not from before a door was closed."""
        if sign_in is SignIn.OIDC:
            return self._has_provider
        return sign_in is not SignIn.NOBODY or self.open()

    def caller_of_token(self, token: str) -> Caller | None:
        """Find whose token it is."""
        given = _digest(token)
        # Digests have one length, and every one is compared: time tells nothing of a token.
        if any([hmac.compare_digest(given, known) for known in self._fixed]):
            return Caller("configured token", AccessRole.ADMIN, SignIn.TOKEN)
        found = self._tokens.caller_of(token, self._now())
        return ANYONE if found is None and self.open() else found


class AccessGuard:
    """Lets a request through whose caller has the role that the path asks for.

    A program sends ``Authorization: Bearer TOKEN``, or HTTP Basic with the token as password; a
    browser sends the cookie of its session, and is led to the form that begins one.

    Parameters
    ----------
    metrics
        Names the networks from which metrics are read without either.
    """

    def __init__(
        self, app: ASGIApp, gatekeeper: Gatekeeper, metrics: MetricsSettings | None = None
    ) -> None:
        self._app = app
        self._gatekeeper = gatekeeper
        self._metrics = metrics or MetricsSettings()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or answer 401 or 403."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        if self._asks_for_life(request) or self._reads_metrics(request):
            await self._app(scope, receive, send)
            return
        needed = required_role(request.method, request.url.path)
        authorization = request.headers.get("authorization", "")
        session = request.cookies.get(SESSION_COOKIE, "")
        caller = await to_thread.run_sync(self._gatekeeper.caller_of, authorization, session)
        if caller is not None:
            scope.setdefault("state", {})["caller"] = caller
        CALLER.set(caller)
        if needed is PUBLIC or (caller is not None and _may(caller, needed, request)):
            await self._app(scope, receive, send)
            return
        answer = _refusal(request, caller, needed)
        await answer(scope, receive, send)

    def _asks_for_life(self, request: Request) -> bool:
        """Whether an orchestrator asks if the process answers; nothing is looked up for that."""
        return request.url.path == LIVE_PATH and request.method in SAFE_METHODS

    def _reads_metrics(self, request: Request) -> bool:
        """Whether a request needs no token, since it asks for metrics from a trusted network."""
        if request.url.path != METRICS_PATH or request.method not in SAFE_METHODS:
            return False
        return request.client is not None and self._metrics.trusts(request.client.host)


def require_sign_in(settings: Settings, accounts: Accounts, tokens: ApiTokens) -> None:
    """Refuse to serve other machines while nobody could say who it is.

    Raises
    ------
    ConfigurationError
        When there is no user, no token and no provider.
    """
    known = settings.api.tokens or settings.api.oidc or accounts.any() or tokens.any()
    if settings.http_needs_sign_in and not known:
        raise ConfigurationError(
            "Other machines reach the HTTP server, but nobody can sign in; run oncopixel users "
            "add or oncopixel tokens create, or set [api.oidc]."
        )


def caller_of(request: Request) -> Caller:
    """Who sent a request that was let in."""
    return cast(Caller, getattr(request.state, "caller", ANYONE))


AskedBy = Annotated[Caller, Depends(caller_of)]


def _may(caller: Caller, needed: AccessRole | Nobody, request: Request) -> bool:
    if caller.areas and area_of(request.url.path) not in caller.areas:
        return False
    return isinstance(needed, AccessRole) and caller.role.includes(needed)


def _refusal(request: Request, caller: Caller | None, needed: AccessRole | Nobody) -> Response:
    path = request.url.path
    if caller is not None:
        log.warning(
            "http.forbidden",
            caller=caller.name,
            role=str(caller.role),
            path=path_for_log(request),
        )
        allowed = ", ".join(caller.areas) or "every area"
        return problem(
            request,
            403,
            f"This needs the role {getattr(needed, 'value', needed)} and the area "
            f"{area_of(path)}; {caller.name or 'you'} has the role {caller.role} and {allowed}.",
        )
    if "authorization" in request.headers:
        log.warning("http.unknown_token", address=request.client and request.client.host)
    by_browser = _is_browser(request)
    if by_browser and request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        asked = path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(asked, safe='')}", status_code=303)
    # Asked so, a browser would show a box of its own instead of our form.
    challenge = "Bearer" if by_browser else _CHALLENGE
    return problem(
        request,
        401,
        "Sign in: send Authorization: Bearer with a token, or open /login in a browser.",
        headers={"WWW-Authenticate": challenge},
    )


def _is_browser(request: Request) -> bool:
    return "sec-fetch-mode" in request.headers or "text/html" in request.headers.get("accept", "")


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
