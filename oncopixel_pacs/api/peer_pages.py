"""The page about peers, and what the buttons on it do."""

from __future__ import annotations

from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import TypeAdapter, ValidationError

from oncopixel_pacs.api.pages import Templates
from oncopixel_pacs.api.parts import Parts
from oncopixel_pacs.api.peers import ReportPort, allow_rejected, peers, remove
from oncopixel_pacs.errors import ConfigurationError

router = APIRouter(include_in_schema=False, default_response_class=RedirectResponse)

_PORT: TypeAdapter[int | None] = TypeAdapter(ReportPort)
_BACK = "/peers"


@router.get("/peers", response_class=HTMLResponse)
def show_peers(parts: Parts, pages: Templates) -> HTMLResponse:
    """Senders that are known, and callers that were rejected."""
    return pages.render("peers.html", peers=peers(parts), now=parts.now())


@router.post("/peers/rejected/{rejected_id}/allow")
async def allow(request: Request, parts: Parts, rejected_id: int) -> RedirectResponse:
    """Allow a caller that was rejected, then show the peers."""
    fields = parse_qs((await request.body()).decode("ascii", "replace"))
    try:
        port = _PORT.validate_python(fields.get("port", [None])[0])
    except ValidationError as exc:
        raise ConfigurationError("A port is a number from 1 to 65535; correct it.") from exc
    allow_rejected(request, parts, rejected_id, port)
    return RedirectResponse(_BACK, status_code=303)


@router.post("/peers/{peer_id}/remove")
def remove_allowed(request: Request, parts: Parts, peer_id: int) -> RedirectResponse:
    """Take an allowed peer back, then show the peers."""
    remove(request, parts, peer_id)
    return RedirectResponse(_BACK, status_code=303)
