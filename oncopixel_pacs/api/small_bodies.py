"""Bounds what a request may hold: only what is streamed to disk may be large, or take long."""

from __future__ import annotations

import anyio
from fastapi import Request
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oncopixel_pacs.api.problems import problem

#: Our largest form or JSON has some kilobytes.
MOST_BYTES = 64 << 10
WITHIN_SECONDS = 30.0
_STREAMED = ("/dicom-web/studies", "/api/v1/images", "/upload")
_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})


class SmallBodies:
    """Reads a small body whole before anything else does; answers 413 or 408 otherwise.

    Bodies that are streamed to disk have limits of their own.
    """

    def __init__(self, app: ASGIApp, within_seconds: float = WITHIN_SECONDS) -> None:
        self._app = app
        self._within_seconds = within_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        streamed = scope["type"] != "http" or scope["path"].startswith(_STREAMED)
        if streamed or scope["method"] in _WITHOUT_BODY:
            await self._app(scope, receive, send)
            return
        body: bytes | None = None
        announced = Headers(scope=scope).get("content-length", "")
        if not announced.isdigit() or int(announced) <= MOST_BYTES:
            try:
                with anyio.fail_after(self._within_seconds):
                    body = await _small_body(receive)
            except ClientDisconnect:
                return  # half a request is none, and nobody reads an answer
            except TimeoutError:
                answer = problem(
                    Request(scope), 408, "The body did not come in time; send the request again."
                )
                await answer(scope, receive, send)
                return
        if body is None:
            what = f"The body is longer than {MOST_BYTES >> 10} KiB; no request here needs more."
            await problem(Request(scope), 413, what)(scope, receive, send)
            return
        await self._app(scope, _first(body, receive), send)


async def _small_body(receive: Receive) -> bytes | None:
    """Read a body to its end; ``None`` when it is too long."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _first(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read before whatever else comes."""
    read: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return read.pop() if read else await receive()

    return next_message
