"""Entity tags (RFC 9110, section 8.8.3): who has an answer already is told that it still holds."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any

from fastapi import Depends, Header
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Of one thing, and of what seldom changes; nothing here holds an age, which changes by itself.
_TAGGED = re.compile(
    r"/api/v1/((jobs|pulls|uploads)/[^/]+"
    r"|studies/[^/]+(/(views|feedback|routing))?"
    r"|jobs/[^/]+/shadows(/[^/]+)?"
    r"|models|settings|sources|peers|users|tokens|monitoring(/(agreement|shadows))?)\Z"
)
_TAG = re.compile(r'"[^"]*"')


def _asks_whether_it_holds(
    if_none_match: Annotated[
        str,
        Header(
            max_length=1000,
            description="Entity tags of answers that you have: 304 when one of them still holds.",
            examples=['"0f343b0931126a20f133d67c2b018a3b"'],
        ),
    ] = "",
) -> None:
    """Describe the header of a route; `EntityTags` reads it."""


#: Of every route whose answer has an entity tag.
TAGGED = [Depends(_asks_whether_it_holds)]


def tagged(responses: dict[int | str, dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    """Document the answers of a route that has an entity tag."""
    header = {"ETag": {"description": "Changes with the answer.", "schema": {"type": "string"}}}
    return {
        **responses,
        200: {**responses.get(200, {}), "headers": header},
        304: {"description": "An answer that you have still holds.", "headers": header},
    }


class EntityTags:
    """Adds entity tags to answers of the API, and answers 304 where one still holds.

    The tag is a digest of the answer: whatever changes in what is shown changes it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if (
            scope["type"] != "http"
            or scope["method"] != "GET"
            or _TAGGED.match(scope["path"]) is None
        ):
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("if-none-match", "")
        start: Message = {}
        body = b""

        async def hold(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            if message["type"] != "http.response.body":
                await send(message)
                return
            body += message.get("body", b"")
            if not message.get("more_body", False):
                for part in _answer(start, body, asked):
                    await send(part)

        await self._app(scope, receive, hold)


def _answer(start: Message, body: bytes, asked: str) -> tuple[Message, Message]:
    if start["status"] == 200:
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = MutableHeaders(raw=list(start["headers"]))
        headers["ETag"] = tag
        if asked.strip() == "*" or tag in _TAG.findall(asked):
            body = b""
            del headers["content-length"], headers["content-type"]
            start = {**start, "status": 304}
        start = {**start, "headers": headers.raw}
    return start, {"type": "http.response.body", "body": body}
