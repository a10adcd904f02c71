"""Signing in and out: the form, the session, and who one is."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import cast
from urllib.parse import parse_qs

import structlog
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel

from oncopixel_pacs.api.access import SESSION_COOKIE, AskedBy, Gatekeeper
from oncopixel_pacs.api.login_limits import LoginLimits
from oncopixel_pacs.api.pages import Templates
from oncopixel_pacs.api.parts import ApiParts, Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.schemas import shape
from oncopixel_pacs.domain.access import AccessRole, Area, Caller, SignIn
from oncopixel_pacs.passwords import MOST_LENGTH, is_password

log = structlog.get_logger()

router = APIRouter()

#: Name of the cookie that says that the last person at this browser signed out.
SIGNED_OUT_COOKIE = "oncopixel_signed_out"
#: Longer than a provider's own session lasts.
_SIGNED_OUT_SECONDS = 30 * 24 * 3600
_MOST_BYTES = 8192
_EXAMPLE = {
    "name": "jane",
    "role": "operator",
    "sign_in": "password",
    "areas": [],
}


class CallerAnswer(BaseModel):
    """Who asks, and what it may do."""

    model_config = shape(_EXAMPLE)

    name: str
    """Empty where the server is open to everyone on its machine."""
    role: AccessRole
    sign_in: SignIn
    areas: tuple[Area, ...]
    """Areas that a token is narrowed to; empty for none."""


@router.get("/api/v1/me", summary="Say who asks", tags=["access"], responses=documented())
def show_caller(caller: AskedBy) -> CallerAnswer:
    """Name, role and areas of whoever sent this request."""
    return CallerAnswer(
        name=caller.name, role=caller.role, sign_in=caller.sign_in, areas=caller.areas
    )


@router.get("/login", include_in_schema=False)
def show_login(request: Request, parts: Parts, pages: Templates, next: str = "/") -> HTMLResponse:  # noqa: A002
    """Ask for name and password, a token, or the account of the hospital."""
    return pages.render(
        "login.html",
        target=local_target(next),
        oidc=parts.settings.api.oidc is not None,
        complaint="",
    )


@router.post("/login", include_in_schema=False)
async def sign_in(request: Request, pages: Templates) -> Response:
    """Begin a session; after too many failures one has to wait (429)."""
    parts = cast(ApiParts, request.app.state.parts)
    fields = {name: values[0] for name, values in (await form_fields(request)).items()}
    user, password = fields.get("user", "").strip(), fields.get("password", "")
    token = fields.get("token", "").strip()
    address = request.client.host if request.client else ""
    limits = cast(LoginLimits, request.app.state.login_limits)
    wait = limits.wait_seconds(user, address)
    if wait:
        raise HTTPException(
            429, f"Too many failures; try again in {wait} s.", headers={"Retry-After": str(wait)}
        )
    caller = await _recognised(request, parts, user, password, token)
    target = local_target(fields.get("next", "/"))
    if caller is None:
        limits.failed(user, address)
        request.state.claimed_name = user[:64]
        log.warning("http.login_failed", address=address)
        return pages.render(
            "login.html",
            status=401,
            target=target,
            oidc=parts.settings.api.oidc is not None,
            complaint="That name and password, or that token, is not known.",
        )
    limits.succeeded(user, address)
    request.state.caller = caller
    return await begin_session(request, caller, target, token)


@router.post("/logout", include_in_schema=False)
def sign_out(request: Request, parts: Parts) -> RedirectResponse:
    """End the session; a provider, which may know the browser still, is to ask who comes next."""
    parts.accounts.end_session(request.cookies.get(SESSION_COOKIE, ""))
    answer = RedirectResponse("/login", status_code=303)
    answer.delete_cookie(SESSION_COOKIE)
    if parts.settings.api.oidc is not None:
        answer.set_cookie(
            SIGNED_OUT_COOKIE,
            "1",
            max_age=_SIGNED_OUT_SECONDS,
            path="/login",
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
    return answer


async def begin_session(request: Request, caller: Caller, target: str, token: str = "") -> Response:
    """Give the browser a session, which ends with the token that it began with; lead it on."""
    parts = cast(ApiParts, request.app.state.parts)
    seconds = int(parts.settings.api.session_hours * 3600)
    now: datetime = parts.now()
    until = now + timedelta(seconds=seconds)
    secret = await to_thread.run_sync(parts.accounts.begin_session, caller, now, until, token)
    answer = RedirectResponse(target, status_code=303)
    answer.set_cookie(
        SESSION_COOKIE,
        secret,
        max_age=seconds,
        httponly=True,
        # Lax, so that a link in a mail leads to the study; what changes something is guarded.
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    log.info("http.signed_in", caller=caller.name, role=str(caller.role))
    return answer


def local_target(path: str) -> str:
    """Path to go to after signing in; anything that may lead elsewhere becomes the first page."""
    leads_away = not path.startswith("/") or path.startswith(("//", "/\\")) or "\\" in path
    return "/" if leads_away or not path.isprintable() else path


async def recognise_user(request: Request, name: str, password: str) -> Caller | None:
    """Check a password, and count a failure; `waiting_seconds` is to be asked before."""
    parts = cast(ApiParts, request.app.state.parts)
    # Hashing takes 64 MiB and a core each time: two at once, whoever asks.
    places = cast(CapacityLimiter, request.app.state.login_places)
    found = await to_thread.run_sync(_of_user, parts, name, password, limiter=places)
    limits = cast(LoginLimits, request.app.state.login_limits)
    (limits.failed if found is None else limits.succeeded)(name, _address(request))
    return found


def waiting_seconds(request: Request, name: str) -> int:
    """How long whoever asks has to wait before the next try under a name; 0 for not at all."""
    limits = cast(LoginLimits, request.app.state.login_limits)
    return limits.wait_seconds(name, _address(request))


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


async def _recognised(
    request: Request, parts: ApiParts, user: str, password: str, token: str
) -> Caller | None:
    if token:
        return await to_thread.run_sync(_of_token, request, token)
    # Hashing takes 64 MiB and a core each time: two at once, whoever asks.
    places = cast(CapacityLimiter, request.app.state.login_places)
    return await to_thread.run_sync(_of_user, parts, user, password, limiter=places)


def _of_token(request: Request, token: str) -> Caller | None:
    gatekeeper = cast(Gatekeeper, request.app.state.gatekeeper)
    found = gatekeeper.caller_of_token(token)
    # A session has no areas, so a narrowed token gets none.
    return None if found is None or found.areas else found


def _of_user(parts: ApiParts, name: str, password: str) -> Caller | None:
    user = parts.accounts.user(name)
    known = is_password(password[:MOST_LENGTH], None if user is None else user.password_hash)
    if user is None or not known:
        return None
    return Caller(user.name, user.role, SignIn.PASSWORD)


async def form_fields(request: Request) -> dict[str, list[str]]:
    """Read the fields of a small form, each with all its values."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise HTTPException(413, "This form is smaller than that.")
    return parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
