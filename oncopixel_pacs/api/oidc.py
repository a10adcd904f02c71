"""Sign-in with an account of the institution: OpenID Connect, code flow with PKCE."""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote_plus

import httpx
import structlog
from anyio import CapacityLimiter, to_thread
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse, Response
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, KeySet

from oncopixel_pacs.api.parts import ApiParts
from oncopixel_pacs.api.sign_in import SIGNED_OUT_COOKIE, begin_session, local_target
from oncopixel_pacs.domain.access import AccessRole, Caller, SignIn
from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.settings.http import OidcSettings
from oncopixel_pacs.web_trust import web_context

log = structlog.get_logger()

router = APIRouter(include_in_schema=False)

_COOKIE = "oncopixel_oidc"
_CALLBACK = "/login/oidc/callback"
_SECONDS_TO_SIGN_IN = 600
_TIMEOUT_SECONDS = 10.0
_LEEWAY_SECONDS = 60
#: Asymmetric ones alone: with HS256 whoever knows the client's secret could sign.
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
#: Codes of RFC 6749 4.1.2.1 and OpenID Connect Core 3.1.2.6 look so; anything may stand there.
_ERROR_CODE = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True, slots=True)
class _Flow:
    """What the browser keeps between leaving for the provider and coming back."""

    state: str
    nonce: str
    verifier: str
    target: str

    def cookie(self) -> str:
        fields = [self.state, self.nonce, self.verifier, self.target]
        return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()

    @classmethod
    def of(cls, cookie: str) -> _Flow | None:
        try:
            fields = json.loads(base64.urlsafe_b64decode(cookie))
            state, nonce, verifier, target = map(str, fields)
        except (binascii.Error, ValueError, TypeError):
            return None
        return cls(state, nonce, verifier, local_target(target))


class OidcProvider:
    """The provider of the institution; what it says of itself is asked for once.

    Every method raises `OutOfResources` when the provider cannot be reached or talks nonsense.

    Parameters
    ----------
    ca_file
        Authorities that vouch for it, beside those that are known to everyone (PEM).
    """

    def __init__(self, settings: OidcSettings, ca_file: Path | None = None) -> None:
        self._settings = settings
        self._ca_file = ca_file
        self._lock = threading.Lock()
        self._metadata: dict[str, Any] = {}
        self._keys: KeySet | None = None

    def address(self, flow: _Flow, callback: str, *, ask_who: bool = False) -> str:
        """Where the browser has to go.

        Parameters
        ----------
        ask_who
            Whether the provider is to ask who it is also where it knows the browser.
        """
        settings = self._settings
        prompt = {"prompt": "login"} if ask_who else {}
        return str(
            prepare_grant_uri(
                self._described()["authorization_endpoint"],
                settings.client_id,
                "code",
                redirect_uri=callback,
                scope=" ".join(settings.scopes),
                state=flow.state,
                nonce=flow.nonce,
                code_challenge=create_s256_code_challenge(flow.verifier),
                code_challenge_method="S256",
                **prompt,
            )
        )

    def caller(self, flow: _Flow, code: str, callback: str) -> Caller | None:
        """Exchange the code, and find who signed in; ``None`` for one without a role here.

        Raises
        ------
        HTTPException
            403 when the provider refuses the code, or its answer is not to be trusted.
        """
        try:
            answer = self._exchanged(flow, code, callback)
            if answer.status_code >= 500:
                raise _unreachable(httpx.HTTPError("server error"))
            tokens = answer.raise_for_status().json()
            claims = self._claims(str(tokens["id_token"]), flow.nonce)
            claims = self._completed(claims, str(tokens.get("access_token", "")))
        except httpx.TransportError as exc:
            raise _unreachable(exc) from exc
        except (httpx.HTTPError, JoseError, ValueError, KeyError, TypeError) as exc:
            log.warning("http.oidc_refused", error=type(exc).__name__)
            raise HTTPException(403, "The provider's answer is not valid; sign in again.") from exc
        return _caller(claims, self._settings)

    def _exchanged(self, flow: _Flow, code: str, callback: str) -> httpx.Response:
        settings = self._settings
        public = {} if settings.client_secret else {"client_id": settings.client_id}
        body = prepare_token_request(
            "authorization_code",
            redirect_uri=callback,
            code=code,
            code_verifier=flow.verifier,
            **public,
        )
        # RFC 6749 section 2.3.1: name and secret are encoded as in a form, then as HTTP Basic.
        secret = settings.client_secret
        credentials = (
            (quote_plus(settings.client_id), quote_plus(secret.get_secret_value()))
            if secret is not None
            else None
        )
        return httpx.post(
            self._described()["token_endpoint"],
            verify=web_context(self._ca_file),
            content=body,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            auth=credentials,
            timeout=_TIMEOUT_SECONDS,
        )

    def _described(self) -> dict[str, Any]:
        with self._lock:
            if not self._metadata:
                issuer = self._settings.issuer
                found = _fetched(
                    f"{issuer.rstrip('/')}/.well-known/openid-configuration", self._ca_file
                )
                if found.get("issuer") != issuer:
                    raise OutOfResources(
                        "The provider names another issuer than [api.oidc] issuer; correct it."
                    )
                self._metadata = found
            return self._metadata

    def _claims(self, id_token: str, nonce: str) -> dict[str, Any]:
        try:
            token = jwt.decode(id_token, self._key_set(), algorithms=_ALGORITHMS)
        except (JoseError, ValueError):
            # Keys change; ask for the new ones once.
            token = jwt.decode(id_token, self._key_set(anew=True), algorithms=_ALGORITHMS)
        registry = jwt.JWTClaimsRegistry(
            now=lambda: int(time.time()),
            leeway=_LEEWAY_SECONDS,
            iss={"essential": True, "value": self._settings.issuer},
            aud={"essential": True, "value": self._settings.client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        registry.validate(token.claims)
        return dict(token.claims)

    def _completed(self, claims: dict[str, Any], access_token: str) -> dict[str, Any]:
        """Add what is told at the UserInfo Endpoint alone (OpenID Connect Core 5.3 and 5.4)."""
        address = self._described().get("userinfo_endpoint")
        wanted = {self._settings.role_claim, self._settings.name_claim}
        if not address or not access_token or wanted <= claims.keys():
            return claims
        headers = {"Authorization": f"Bearer {access_token}"}
        answer = httpx.get(
            str(address),
            headers=headers,
            timeout=_TIMEOUT_SECONDS,
            verify=web_context(self._ca_file),
        )
        if not answer.is_success:
            log.warning("http.oidc_no_userinfo", status=answer.status_code)
            return claims
        found = answer.json()
        # Tokens can be mixed up, or swapped (Core 5.3.2).
        if found["sub"] != claims["sub"]:
            raise ValueError("the UserInfo Endpoint tells of somebody else")
        return {**found, **claims}

    def _key_set(self, *, anew: bool = False) -> KeySet:
        address = str(self._described()["jwks_uri"])
        with self._lock:
            if self._keys is None or anew:
                self._keys = _understood(_fetched(address, self._ca_file))
            return self._keys


@router.get("/login/oidc")
async def leave(request: Request, next: str = "/") -> Response:  # noqa: A002
    """Lead the browser to the provider."""
    provider = _provider(request)
    flow = _Flow(
        secrets.token_urlsafe(24),
        secrets.token_urlsafe(24),
        secrets.token_urlsafe(48),
        local_target(next),
    )
    ask = partial(provider.address, ask_who=SIGNED_OUT_COOKIE in request.cookies)
    address = await to_thread.run_sync(ask, flow, _callback(request), limiter=_places(request))
    answer = RedirectResponse(address, status_code=303)
    answer.set_cookie(
        _COOKIE,
        flow.cookie(),
        max_age=_SECONDS_TO_SIGN_IN,
        path="/login",
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return answer


@router.get(_CALLBACK)
async def come_back(request: Request, code: str = "", state: str = "", error: str = "") -> Response:
    """Take the code that the provider sent the browser back with, and begin a session."""
    provider = _provider(request)
    flow = _Flow.of(request.cookies.get(_COOKIE, ""))
    if flow is None or not secrets.compare_digest(flow.state.encode(), state.encode()):
        raise HTTPException(403, "This sign-in was not begun here, or too long ago; begin anew.")
    if error or not code:
        said = error if _ERROR_CODE.fullmatch(error) else "no reason given"
        log.warning("http.oidc_refused", error=said)
        raise HTTPException(403, f"The provider did not sign you in ({said}); begin anew.")
    caller = await to_thread.run_sync(
        provider.caller, flow, code, _callback(request), limiter=_places(request)
    )
    if caller is None:
        raise HTTPException(
            403, "Your account has no role here; ask an admin to add one of its groups."
        )
    request.state.caller = caller
    answer = await begin_session(request, caller, flow.target)
    answer.delete_cookie(_COOKIE, path="/login")
    answer.delete_cookie(SIGNED_OUT_COOKIE, path="/login")
    return answer


def _provider(request: Request) -> OidcProvider:
    provider = cast(OidcProvider | None, request.app.state.oidc)
    if provider is None:
        raise HTTPException(404, "No provider is configured in [api.oidc].")
    return provider


def _places(request: Request) -> CapacityLimiter:
    """Threads that may wait for the provider: anybody may make them, and others are needed."""
    return cast(CapacityLimiter, request.app.state.oidc_places)


def _callback(request: Request) -> str:
    parts = cast(ApiParts, request.app.state.parts)
    base = parts.settings.api.public_url or str(request.base_url)
    return base.rstrip("/") + _CALLBACK


def _fetched(address: str, ca_file: Path | None) -> dict[str, Any]:
    verify = web_context(ca_file)
    try:
        answer = httpx.get(address, timeout=_TIMEOUT_SECONDS, verify=verify).raise_for_status()
        found = answer.json()
    except (httpx.HTTPError, ValueError) as exc:
        raise _unreachable(exc) from exc
    if not isinstance(found, dict):
        raise OutOfResources("The provider of [api.oidc] does not answer as one; check issuer.")
    return found


def _understood(published: Mapping[str, Any]) -> KeySet:
    """Take the keys that we can use: others are no reason to trust none (RFC 7517 section 5)."""
    keys = []
    for item in published["keys"]:
        try:
            key = JWKRegistry.import_key(item)
            # A curve is looked up, and a point seen to lie on it, when the key is first used.
            key.get_op_key("verify")
        except (JoseError, ValueError, KeyError, TypeError) as exc:
            log.info("http.oidc_key_left_out", error=type(exc).__name__)
        else:
            keys.append(key)
    return KeySet(keys)


def _unreachable(exc: Exception) -> OutOfResources:
    return OutOfResources(
        f"The provider of [api.oidc] cannot be reached ({type(exc).__name__}); check issuer, "
        "network and who vouches for its certificate, or sign in with a user of this server."
    )


def _caller(claims: dict[str, Any], settings: OidcSettings) -> Caller | None:
    said = claims.get(settings.role_claim, ())
    groups = {said} if isinstance(said, str) else {str(item) for item in said or ()}
    for role, members in (
        (AccessRole.ADMIN, settings.admins),
        (AccessRole.OPERATOR, settings.operators),
        (AccessRole.VIEWER, settings.viewers),
    ):
        if groups & set(members):
            name = str(claims.get(settings.name_claim) or claims["sub"])
            return Caller(name, role, SignIn.OIDC)
    return None
