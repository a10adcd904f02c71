"""Server-sent events: a page or program hears at once when something happened to a study."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, cast

import anyio
from anyio import to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from oncopixel_pacs.api import examples
from oncopixel_pacs.api.access import SESSION_COOKIE, Gatekeeper
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.schemas import shape
from oncopixel_pacs.store.changes import Changes, Marks, changed

router = APIRouter(prefix="/api/v1/events", tags=["events"])

#: How often the ledger is looked at while anyone listens; one look serves every listener.
_LOOK_SECONDS = 0.7
#: A word so often keeps proxies from closing a silent connection, and tells who listens that it
#: is not cut; and so often it is asked whether who listens may still come in.
_SILENCE_LOOKS = 20
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events `change`; the data of each is a `StudyChange` as JSON.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


class StudyChange(BaseModel):
    """Something changed that is shown of a study, its job or its deliveries."""

    model_config = shape(examples.STUDY_CHANGE)

    study_instance_uid: str | None
    """Null for anything that happened before one listened: look at everything again."""


class ChangeFeed:
    """Looks at the ledger for everyone who listens. One per application, on its event loop."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._seen: Marks | None = None
        self._looked_at = 0.0
        self._turn = anyio.Lock()
        self._last = 0
        self._latest: dict[str, int] = {}

    @property
    def last(self) -> int:
        """Number of the last change; it identifies the events."""
        return self._last

    def since(self, number: int) -> list[tuple[int, str]]:
        """Give number and study of what changed after that number, in order."""
        return sorted((at, study) for study, at in self._latest.items() if at > number)

    async def look(self) -> None:
        """Bring `since` up to date, unless someone did that just now."""
        async with self._turn:
            now = anyio.current_time()
            if now - self._looked_at < _LOOK_SECONDS:
                return
            found = await to_thread.run_sync(self._changes.look)
            if self._seen is not None:
                for study in sorted(changed(self._seen, found)):
                    self._last += 1
                    self._latest[study] = self._last
            kept = self._seen = found
            self._latest = {uid: at for uid, at in self._latest.items() if uid in kept}
            self._looked_at = anyio.current_time()


@router.get(
    "",
    summary="Listen to changes",
    response_class=StreamingResponse,
    responses={**documented(), **_STREAM},
)
async def listen(
    request: Request,
    study_instance_uid: Annotated[
        str | None, Query(max_length=64, description="Only changes of this study.")
    ] = None,
) -> StreamingResponse:
    """Send an event for each change (WHATWG server-sent events), until the caller hangs up.

    The first one names no study: whatever happened before is not told again. An event `still` comes
    when nothing changed for a quarter of a minute. The stream ends with the session or the token.
    """
    feed = cast(ChangeFeed, request.app.state.feed)
    stream = _events(request, feed, study_instance_uid)
    return StreamingResponse(
        stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
    )


async def _events(request: Request, feed: ChangeFeed, study: str | None) -> AsyncIterator[str]:
    await feed.look()
    number, silent, looks = feed.last, 0, 0
    yield "retry: 2000\n\n" + _event(number, None)
    while not getattr(request.app.state, "stopping", False):
        await anyio.sleep(_LOOK_SECONDS)
        await feed.look()
        silent, looks = silent + 1, looks + 1
        if looks % _SILENCE_LOOKS == 0 and not await to_thread.run_sync(_may_listen, request):
            return
        for at, uid in feed.since(number):
            number = at
            if study in (None, uid):
                silent = 0
                yield _event(at, uid)
        if silent >= _SILENCE_LOOKS:
            silent = 0
            yield "event: still\ndata: {}\n\n"


def _may_listen(request: Request) -> bool:
    """Whether who listens is still known: a session ends, a token is revoked."""
    gatekeeper = cast(Gatekeeper, request.app.state.gatekeeper)
    headers, session = request.headers, request.cookies.get(SESSION_COOKIE, "")
    return gatekeeper.caller_of(headers.get("authorization", ""), session) is not None


def _event(number: int, study: str | None) -> str:
    change = StudyChange(study_instance_uid=study)
    return f"id: {number}\nevent: change\ndata: {change.model_dump_json()}\n\n"
