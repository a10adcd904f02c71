"""HEAD (RFC 9110, section 9.3.2): what GET answers, without its content."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: They have no end.
_STREAMS = ("/api/v1/events",)


class HeadRequests:
    """Answers HEAD by the route of GET, which load balancers and monitors ask before any other."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"] in _STREAMS:
            await self._app(scope, receive, send)
            return

        async def without_content(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, without_content)
