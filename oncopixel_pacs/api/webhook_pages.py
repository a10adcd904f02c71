"""The page about webhooks: each call with what came of it, and the buttons beside. For admins."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse

from oncopixel_pacs.api.pages import Templates
from oncopixel_pacs.api.parts import Parts
from oncopixel_pacs.api.studies import Cursor
from oncopixel_pacs.api.webhooks import CallKey, call_again, list_webhooks, try_webhook

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_ROWS = 50


@router.get("/webhooks")
def show_webhooks(parts: Parts, pages: Templates, cursor: Cursor = None) -> HTMLResponse:
    """Receivers and calls, that of the study which finished last first."""
    return pages.render(
        "webhooks.html",
        found=list_webhooks(parts, _ROWS, cursor),
        exports={item.name for item in parts.settings.exports},
        configured={item.name for item in parts.settings.webhooks},
        cursor=cursor,
        now=parts.now(),
    )


@router.post("/webhooks/{name}/test")
def try_receiver(parts: Parts, pages: Templates, name: str) -> HTMLResponse:
    """Call a receiver once; htmx puts the answer beside the button."""
    return pages.render("echo.html", name=name, answer=try_webhook(parts, name))


@router.post("/webhooks/calls/{call_id}/again", response_class=RedirectResponse)
def send_again(parts: Parts, call_id: CallKey) -> RedirectResponse:
    """Make a call due at once, then show the calls."""
    call_again(parts, call_id)
    return RedirectResponse("/webhooks", status_code=303)
