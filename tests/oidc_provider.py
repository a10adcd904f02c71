"""A small OpenID provider on a free port: discovery, keys, authorization code with PKCE."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlencode, urlsplit

from certificates import Identity
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT = "oncopixel"
SECRET = "of the client, ~16"  # noqa: S105


@dataclass
class Provider:
    """Whoever asks is signed in as `claims` say; `change` spoils what the token says."""

    address: str = ""
    claims: dict[str, Any] = field(
        default_factory=lambda: {"sub": "42", "preferred_username": "jane", "groups": ["readers"]}
    )
    change: dict[str, Any] = field(default_factory=dict)
    #: Told at the UserInfo Endpoint alone, as OpenID Connect Core 5.4 has it for a scope.
    userinfo: dict[str, Any] = field(default_factory=dict)
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one"}))
    #: The key that signs; another than `key` is one that the provider does not publish.
    signing_key: RSAKey | None = None
    #: Published before it.
    further_keys: list[dict[str, Any]] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def authorize(self, asked: dict[str, str]) -> str:
        """Where the browser is sent back to."""
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        return asked["redirect_uri"] + "?" + urlencode({"code": code, "state": asked["state"]})

    def token(self, form: dict[str, str], authorization: str) -> dict[str, Any] | None:
        """Exchange a code; ``None`` when it is refused (RFC 6749 5.2, RFC 7636 4.6)."""
        asked = self.codes.pop(form.get("code", ""), None)
        expected = base64.b64encode(f"{CLIENT}:{quote_plus(SECRET)}".encode()).decode()
        if asked is None or authorization != f"Basic {expected}":
            return None
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if challenge != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
            return None
        now = int(time.time())
        claims = {
            "iss": self.address,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            **self.claims,
            **self.change,
        }
        key = self.signing_key or self.key
        header = {"alg": "RS256", "kid": "one"}
        return {
            "access_token": "x",
            "token_type": "Bearer",
            "id_token": jwt.encode(header, claims, key),
        }


@contextmanager
def oidc_provider(identity: Identity | None = None) -> Iterator[Provider]:
    """Serve a provider, over HTTPS where it has a certificate."""
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def answer(self, status: int, body: Any, **headers: str) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if parts.path == "/.well-known/openid-configuration":
                self.answer(
                    200,
                    {
                        "issuer": provider.address,
                        "authorization_endpoint": f"{provider.address}/authorize",
                        "token_endpoint": f"{provider.address}/token",
                        "jwks_uri": f"{provider.address}/keys",
                        "userinfo_endpoint": f"{provider.address}/userinfo",
                    },
                )
            elif parts.path == "/keys":
                self.answer(
                    200, {"keys": [*provider.further_keys, provider.key.as_dict(private=False)]}
                )
            elif parts.path == "/userinfo":
                known = self.headers.get("Authorization") == "Bearer x"
                self.answer(200 if known else 401, provider.userinfo)
            elif parts.path == "/authorize":
                self.answer(302, {}, Location=provider.authorize(asked))
            else:
                self.answer(404, {})

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            fields = parse_qs(self.rfile.read(length).decode())
            form = {name: values[0] for name, values in fields.items()}
            found = provider.token(form, self.headers.get("Authorization", ""))
            status = 400 if found is None else 200
            self.answer(status, found or {"error": "invalid_grant"})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.address = f"http://127.0.0.1:{server.server_address[1]}"
    if identity is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.certificate, identity.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        provider.address = provider.address.replace("http:", "https:")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
