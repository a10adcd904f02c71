"""The page that tries the rules of the models on a study."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from oncopixel_pacs.api.pages import Templates
from oncopixel_pacs.api.parts import Parts
from oncopixel_pacs.api.routing import routing_of
from oncopixel_pacs.errors import NotFound

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/routing")
def show_page(
    parts: Parts, pages: Templates, study: Annotated[str, Query(max_length=64)] = ""
) -> HTMLResponse:
    """Models with their rules, and what they would do with one study."""
    answer, unknown = None, ""
    if study:
        try:
            answer = routing_of(parts, parts.catalogue.study(study.strip()))
        except NotFound as exc:
            unknown = str(exc)
    return pages.render(
        "routing.html",
        candidates=parts.candidates,
        study=study,
        answer=answer,
        unknown=unknown,
        now=parts.now(),
    )
