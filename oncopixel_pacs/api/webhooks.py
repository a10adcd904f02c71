"""Route about webhooks: who is called, and how far each call has come."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from oncopixel_pacs.api.parts import Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.schemas import shape
from oncopixel_pacs.api.studies import Cursor, Limit
from oncopixel_pacs.webhooks import CallState

router = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"])


_WEBHOOK: dict[str, Any] = {
    "name": "ris",
    "url": "https://ris.example/hooks/oncopixel",
    "waiting": 1,
    "taken": 1204,
    "failed": 0,
}
_CALL: dict[str, Any] = {
    "id": "msg_3b5d5c3712955042212316173ccf37be",
    "webhook": "ris",
    "job_id": "5d0c6a1f0f7e4a4f9be0d5a1",
    "finished_at": "2025-03-01T12:01:07Z",
    "state": "waiting",
    "attempts": 2,
    "next_attempt_at": "2025-03-01T12:01:20Z",
    "ended_at": None,
    "status": 503,
    "error": "ris answered 503; it is called again.",
}


class WebhookAnswer(BaseModel):
    """Someone who is called when a study is finished."""

    model_config = shape(_WEBHOOK)

    name: str
    url: str
    """Without what follows the path, which may be secret; empty for one that is no longer
    configured."""
    waiting: int
    """Calls that are due or tried again."""
    taken: int
    failed: int


class WebhookCallAnswer(BaseModel):
    """One receiver that is to be told that one study finished."""

    model_config = shape(_CALL)

    id: str
    """The same for every attempt; the receiver sees it as `webhook-id`."""
    webhook: str
    job_id: str
    finished_at: datetime
    state: CallState
    attempts: int
    next_attempt_at: datetime | None
    ended_at: datetime | None
    status: int
    """HTTP status of the last answer; 0 while there was none."""
    error: str
    """One sentence; empty while nothing went wrong."""


class WebhookList(BaseModel):
    """The receivers, and part of the list of calls, the last finished study first."""

    model_config = shape(
        {
            "webhooks": [_WEBHOOK],
            "items": [_CALL],
            "next_cursor": None,
        }
    )

    webhooks: tuple[WebhookAnswer, ...]
    items: tuple[WebhookCallAnswer, ...]
    next_cursor: str | None = Field(description="Fetches what follows; null at the end.")


@router.get("", summary="List webhooks and their calls", responses=documented(404))
def list_webhooks(parts: Parts, limit: Limit = 50, cursor: Cursor = None) -> WebhookList:
    """Who is called when a study is finished, and how far each call has come."""
    page = parts.webhooks.calls(limit=limit, cursor=cursor)
    counts = parts.webhooks.counts()
    places = {item.name: item.place for item in parts.settings.webhooks}
    return WebhookList(
        webhooks=tuple(
            WebhookAnswer(
                name=name,
                url=places.get(name, ""),
                **{state.value: counts.get(name, {}).get(state, 0) for state in CallState},
            )
            for name in sorted({*places, *counts})
        ),
        items=tuple(WebhookCallAnswer.model_validate(item) for item in page.items),
        next_cursor=page.next_cursor,
    )
