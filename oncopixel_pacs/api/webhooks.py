"""Route about webhooks: who is called, and how far each call has come."""

from __future__ import annotations

import json
import secrets
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from oncopixel_pacs.api.idempotency import TAKES_KEY
from oncopixel_pacs.api.parts import ApiParts, Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.schemas import shape
from oncopixel_pacs.api.studies import Cursor, Limit
from oncopixel_pacs.deliver import webhook as courier
from oncopixel_pacs.domain.webhooks import CallState
from oncopixel_pacs.errors import DeliveryFailed, NotFound
from oncopixel_pacs.settings import WebhookSettings

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


class WebhookTest(BaseModel):
    """What came of a test call."""

    model_config = shape({"ok": True, "said": "ris answered 204."})

    ok: bool
    said: str
    """What it answered, or what to check."""


CallKey = Annotated[str, Path(pattern=r"^[!-~]{1,64}$")]
WebhookName = Annotated[str, Path(max_length=64)]
_TEST_SECONDS = 10.0


@router.post(
    "/{name}/test",
    summary="Make a test call",
    responses=documented(404, 409),
    dependencies=TAKES_KEY,
)
def try_webhook(parts: Parts, name: WebhookName) -> WebhookTest:
    """Call a receiver once, signed like any call, with the type `test` and nothing of a study."""
    webhook = _configured(parts, name)
    now = parts.now()
    told = {"type": "test", "timestamp": now.isoformat(), "data": {}}
    body = json.dumps(told, separators=(",", ":")).encode()
    try:
        status = courier.call(webhook, f"msg_{secrets.token_hex(16)}", now, body, _TEST_SECONDS)
    except DeliveryFailed as exc:
        # A test is made once, whatever the sentence for calls promises.
        return WebhookTest(ok=False, said=str(exc).replace("; it is called again", ""))
    return WebhookTest(ok=True, said=f"{name} answered {status}.")


@router.post(
    "/calls/{call_id}/again",
    summary="Call again",
    responses=documented(404, 409),
    dependencies=TAKES_KEY,
)
def call_again(parts: Parts, call_id: CallKey) -> WebhookCallAnswer:
    """Make a call due at once, also one that was taken or given up; it keeps its id."""
    name = parts.webhooks.call(call_id).webhook
    if name not in {item.name for item in parts.settings.exports}:
        _configured(parts, name)
    return WebhookCallAnswer.model_validate(parts.webhooks.send_again(call_id, parts.now()))


def _configured(parts: ApiParts, name: str) -> WebhookSettings:
    for item in parts.settings.webhooks:
        if item.name == name:
            return item
    raise NotFound(f"No webhook {name} is configured.")


@router.get("", summary="List webhooks and their calls", responses=documented(404))
def list_webhooks(parts: Parts, limit: Limit = 50, cursor: Cursor = None) -> WebhookList:
    """Who is called when a study is finished, exports included, and how far each call has come."""
    page = parts.webhooks.calls(limit=limit, cursor=cursor)
    counts = parts.webhooks.counts()
    places = {item.name: item.place for item in parts.settings.webhooks}
    places |= {item.name: item.place for item in parts.settings.exports}
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
