"""Repeats of a POST: the same key with the same request is answered, and not done again.

As draft-ietf-httpapi-idempotency-key-header has it. Uploads, whose bodies are too large to be held,
compare their files in `receive.upload`; the keys lie in the same table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated

import structlog
from anyio import CancelScope, to_thread
from fastapi import Depends, Header, Request, Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oncopixel_pacs.api.access import caller_of
from oncopixel_pacs.api.problems import problem
from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.store.idempotency import (
    IdempotencyKeys,
    KeptAnswer,
    digest_of_key,
    digest_of_request,
)

log = structlog.get_logger()

_KEY = re.compile(r"[!-~]{1,255}\Z")
_UPLOADS = "/api/v1/images"
_SECRET_ANSWERS = {"/api/v1/tokens": "token"}

IdempotencyKey = Annotated[
    str,
    Header(
        max_length=255,
        pattern=r"^[!-~]*$",
        description=(
            "The same key with the same request is answered as before, and not done again; with "
            "another request 422, while it is under way 409. Kept for a day."
        ),
        examples=["8e03978e-40d5-43e8-bc93-6894a57f9324"],
    ),
]


def _takes_key(idempotency_key: IdempotencyKey = "") -> None:
    """Describe the header of a route; `IdempotencyGuard` reads it."""


#: Of every route of the API that takes a POST.
TAKES_KEY = [Depends(_takes_key)]


def key_of_caller(request: Request, key: str) -> str:
    """Digest of a key, bound to who sent it; empty for none."""
    caller = caller_of(request)
    return digest_of_key(f"{caller.sign_in} {caller.name}", key) if key else ""


class IdempotencyGuard:
    """Answers a repeated POST of the API with what was answered first.

    What came to nothing is not kept: it may be tried again under the same key.
    """

    def __init__(self, app: ASGIApp, keys: IdempotencyKeys, now: Callable[[], datetime]) -> None:
        self._app = app
        self._keys = keys
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the answer of the one that it repeats."""
        if not _has_key(scope):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        key, content = await _digests(request)
        known = await to_thread.run_sync(self._keys.begin, key, content, self._now())
        if known is not None:
            await _repeated(request, known, content)(scope, receive, send)
            return
        answer = _Recorder()
        try:
            await self._app(scope, _again(await request.body()), answer.hold)
        finally:
            # Also when the client has gone meanwhile; and before it can ask again.
            with CancelScope(shield=True):
                await to_thread.run_sync(self._keep, key, request.url.path, answer)
        for message in answer.messages:
            await send(message)

    def _keep(self, key: str, path: str, answer: _Recorder) -> None:
        try:
            if not answer.succeeded:
                self._keys.release(key)
                return
            media_type = answer.headers.get("content-type", "")
            location = answer.headers.get("location", "")
            body = _without_secret(path, answer.body.decode())
            self._keys.finish(key, self._now(), answer.status, media_type, location, body)
        except OutOfResources as exc:
            # It was done and answered; for a while a repeat is told that it is under way.
            log.error("idempotency.unwritten", error=exc.for_log)


class _Recorder:
    """Holds an answer until it is kept."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.status = 0
        self.headers = Headers()
        self.body = b""

    @property
    def succeeded(self) -> bool:
        """Whether something was done."""
        return 200 <= self.status < 300

    async def hold(self, message: Message) -> None:
        """Hold one part."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], Headers(raw=message["headers"])
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")
        self.messages.append(message)


def _has_key(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] != "POST":
        return False
    path = scope["path"]
    if not path.startswith("/api/v1/") or path == _UPLOADS:
        return False
    # One that is not allowed is refused by the route.
    return _KEY.match(Headers(scope=scope).get("idempotency-key", "")) is not None


async def _digests(request: Request) -> tuple[str, str]:
    key = request.headers["idempotency-key"]
    asked = f"{request.url.path}?{request.url.query}".encode()
    media_type = request.headers.get("content-type", "").encode()
    content = digest_of_request(key, asked, media_type, await request.body())
    return key_of_caller(request, key), content


def _repeated(request: Request, known: KeptAnswer, content: str) -> Response:
    if known.content != content:
        return problem(
            request, 422, "The Idempotency-Key was used for another request; take a new one."
        )
    if not known.status:
        return problem(
            request, 409, "A request with this Idempotency-Key is under way; ask again later."
        )
    headers = {"Content-Type": known.media_type, "Location": known.location}
    return Response(
        known.body, known.status, {name: value for name, value in headers.items() if value}
    )


def _again(body: bytes) -> Receive:
    """Give a body that was read to whoever reads it next."""
    parts = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Message:
        return next(parts, {"type": "http.disconnect"})

    return receive


def _without_secret(path: str, body: str) -> str:
    """Take out what is told once alone."""
    name = _SECRET_ANSWERS.get(path)
    return body if name is None else json.dumps({**json.loads(body), name: ""})
