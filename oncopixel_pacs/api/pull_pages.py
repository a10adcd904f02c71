"""The page of pulls: ask for a study, and watch it come."""

from __future__ import annotations

from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError

from oncopixel_pacs.api.pages import Templates
from oncopixel_pacs.api.parts import Parts
from oncopixel_pacs.api.pulls import PullRequest, ask
from oncopixel_pacs.api.studies import Cursor
from oncopixel_pacs.errors import ConfigurationError

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_BUSY_SECONDS = 5
_ROWS = 50


@router.get("/pulls")
def show_pulls(parts: Parts, pages: Templates, cursor: Cursor = None) -> HTMLResponse:
    """Show pulls with their progress, and the form that asks for one."""
    page = parts.pulls.pulls(limit=_ROWS, cursor=cursor)
    busy = any(not item.state.final for item in page.items)
    return pages.render(
        "pulls.html",
        pulls=page.items,
        next_cursor=page.next_cursor,
        cursor=cursor,
        sources=parts.settings.sources,
        # Else never: a form that someone is filling in is not renewed under their hands.
        refresh=_BUSY_SECONDS if busy else None,
        now=parts.now(),
    )


@router.post("/pulls", response_class=RedirectResponse)
async def pull_study(request: Request, parts: Parts) -> RedirectResponse:
    """Ask for a study, then show the pulls."""
    fields = parse_qs((await request.body()).decode("ascii", "replace"))
    given = {name: fields.get(name, [""])[0].strip() for name in ("study_instance_uid", "source")}
    try:
        wanted = PullRequest.model_validate(given)
    except ValidationError as exc:
        raise ConfigurationError("A Study Instance UID has digits and dots; correct it.") from exc
    ask(parts, wanted)
    return RedirectResponse("/pulls", status_code=303)
