"""The FastAPI application: routes, guards and error answers put together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anyio import CapacityLimiter
from fastapi import APIRouter, FastAPI
from fastapi.staticfiles import StaticFiles

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.api import (
    destinations,
    health,
    jobs,
    models,
    pages,
    peer_pages,
    peers,
    problems,
    pull_pages,
    pulls,
    quarantine,
    studies,
    upload_pages,
    uploads,
)
from oncopixel_pacs.api.access import TokenGuard
from oncopixel_pacs.api.browser_guards import CrossSiteGuard, HostGuard, SecurityHeaders
from oncopixel_pacs.api.dicomweb import frames, rendered, retrieve, search
from oncopixel_pacs.api.overlays import OverlayShelf
from oncopixel_pacs.api.parts import ApiParts
from oncopixel_pacs.api.rendering import load_pages

_DESCRIPTION = f"""{RESEARCH_NOTICE}

Status of an open mammography AI server: what was received, what was done with it, and where the
results went. Times are UTC. Lists are paged by cursor. Errors are problem documents (RFC 9457).
Where tokens are configured, send `Authorization: Bearer TOKEN`."""


_SITE = (studies, uploads, pulls, jobs, models, destinations, peers, quarantine, health)
_PEOPLE = (pages, upload_pages, peer_pages, pull_pages)
_DICOMWEB = (search, retrieve, frames, rendered)


def create_app(parts: ApiParts, routers: Sequence[APIRouter] = ()) -> FastAPI:
    """Make the application from its parts. It starts nothing and holds no other state.

    Every route but ``/health/live`` needs a token when ``parts.settings.api.tokens`` names any.

    Parameters
    ----------
    routers
        Further ways in, such as STOW-RS; they stand behind the same guards.
    """
    app = FastAPI(
        title="OncoPixel PACS",
        version=parts.version,
        description=_DESCRIPTION,
        # The pages that FastAPI brings load scripts from another server; ours is in `pages`.
        docs_url=None,
        redoc_url=None,
    )
    app.state.parts = parts
    app.state.pages = load_pages(parts.version, lambda: health.alarms(parts))
    app.state.overlays = OverlayShelf(parts)
    app.state.upload_places = CapacityLimiter(parts.settings.upload.at_once)
    for module in (*_SITE, *_PEOPLE, *_DICOMWEB):
        app.include_router(module.router)
    for router in routers:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    problems.install(app)
    _guard(app, parts)
    return app


def _guard(app: FastAPI, parts: ApiParts) -> None:
    """Put the guards in front; the one added last is met first."""
    app.add_middleware(CrossSiteGuard)
    if parts.settings.api.tokens:
        tokens = [token.get_secret_value() for token in parts.settings.api.tokens]
        app.add_middleware(TokenGuard, tokens=tokens)
    if parts.settings.http_on_loopback:
        app.add_middleware(HostGuard, host=parts.settings.http_host)
    app.add_middleware(problems.ErrorBarrier)
    app.add_middleware(SecurityHeaders)
