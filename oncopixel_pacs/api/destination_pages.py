"""The page about destinations: what waits for each, and whether it is there."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from oncopixel_pacs.api.destinations import destinations, echo, send_test
from oncopixel_pacs.api.pages import Templates
from oncopixel_pacs.api.parts import Parts
from oncopixel_pacs.domain import DeliveryState

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/destinations")
def show_destinations(parts: Parts, pages: Templates) -> HTMLResponse:
    """Destinations with their deliveries and backlog."""
    return pages.render(
        "destinations.html",
        destinations=destinations(parts),
        delivery_states=list(DeliveryState),
        now=parts.now(),
    )


@router.post("/destinations/{name}/echo")
def echo_destination(parts: Parts, pages: Templates, name: str) -> HTMLResponse:
    """Ask a destination whether it is there; htmx puts the answer beside the button."""
    return pages.render("echo.html", name=name, answer=echo(parts, name))


@router.post("/destinations/{name}/test")
def try_destination(parts: Parts, pages: Templates, name: str) -> HTMLResponse:
    """Send a destination a test picture; htmx puts the answer beside the button."""
    return pages.render("echo.html", name=name, answer=send_test(parts, name))
