"""The FastAPI application: routes, guards and error answers put together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anyio import CapacityLimiter
from fastapi import APIRouter, FastAPI
from fastapi.staticfiles import StaticFiles
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.api import (
    alarms,
    audit_pages,
    audit_records,
    conflicts,
    destination_pages,
    destinations,
    events,
    feedback,
    feedback_pages,
    health,
    jobs,
    metrics,
    models,
    monitoring,
    oidc,
    overview,
    overview_pages,
    pages,
    password_pages,
    peer_pages,
    peers,
    people,
    people_pages,
    problems,
    pull_pages,
    pulls,
    quarantine,
    routing,
    routing_pages,
    server_pages,
    settings_view,
    shadows,
    sign_in,
    studies,
    study_pages,
    upload_pages,
    uploads,
    views,
    webhook_pages,
    webhooks,
    workitems,
)
from oncopixel_pacs.api.access import AccessGuard, Gatekeeper
from oncopixel_pacs.api.audit_guard import AuditGuard
from oncopixel_pacs.api.browser_guards import (
    CrossSiteGuard,
    HostGuard,
    ProxyGuard,
    SecurityHeaders,
)
from oncopixel_pacs.api.dicomweb import frames, rendered, retrieve, search
from oncopixel_pacs.api.entity_tags import EntityTags
from oncopixel_pacs.api.head_requests import HeadRequests
from oncopixel_pacs.api.idempotency import IdempotencyGuard
from oncopixel_pacs.api.login_limits import LoginLimits
from oncopixel_pacs.api.overlays import OverlayShelf
from oncopixel_pacs.api.parts import ApiParts
from oncopixel_pacs.api.rendering import load_pages
from oncopixel_pacs.api.small_bodies import SmallBodies

_DESCRIPTION = f"""{RESEARCH_NOTICE}

Status of an open mammography AI server: what was received, what was done with it, and where the
results went. Times are UTC. Lists are paged by cursor. Errors are problem documents (RFC 9457).
Where a token is needed, send `Authorization: Bearer TOKEN`."""


_SITE = (
    studies,
    routing,
    views,
    events,
    overview,
    uploads,
    pulls,
    workitems,
    jobs,
    models,
    monitoring,
    feedback,
    shadows,
    alarms,
    settings_view,
    destinations,
    peers,
    conflicts,
    quarantine,
    health,
    metrics,
    webhooks,
)
_ACCESS = (sign_in, oidc, people, audit_records)
_PEOPLE = (
    overview_pages,
    pages,
    study_pages,
    feedback_pages,
    upload_pages,
    destination_pages,
    peer_pages,
    pull_pages,
    routing_pages,
    server_pages,
    audit_pages,
    people_pages,
    password_pages,
    webhook_pages,
)
_DICOMWEB = (search, retrieve, frames, rendered)


def create_app(parts: ApiParts, routers: Sequence[APIRouter] = ()) -> FastAPI:
    """Make the application from its parts. It starts nothing and holds no other state.

    Which role each route needs is in `route_rules`.

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
        # What clients that are generated call their functions.
        generate_unique_id_function=lambda route: route.name,
    )
    app.openapi = problems.described_by_name(app.openapi)  # type: ignore[method-assign]
    app.state.parts = parts
    app.state.pages = load_pages(parts.version, lambda: health.alarms(parts))
    app.state.exposition = parts.exposition
    app.state.feed = events.ChangeFeed(parts.changes)
    app.state.overlays = OverlayShelf(parts)
    app.state.upload_places = CapacityLimiter(parts.settings.upload.at_once)
    every = [module.router for module in (*_SITE, *_ACCESS, *_PEOPLE, *_DICOMWEB)]
    for router in (*every, *routers):
        app.include_router(router)
    app.state.routes = [route for router in (*every, *routers) for route in router.routes]
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    problems.install(app)
    _guard(app, parts)
    return app


def _let_in(app: FastAPI, parts: ApiParts) -> Gatekeeper:
    """Put together what signing in needs."""
    settings = parts.settings
    gatekeeper = Gatekeeper(
        settings.api,
        parts.accounts,
        parts.tokens,
        parts.now,
        must_sign_in=settings.http_needs_sign_in,
    )
    app.state.gatekeeper = gatekeeper
    app.state.login_limits = LoginLimits(parts.now)
    app.state.login_places = CapacityLimiter(2)
    app.state.oidc_places = CapacityLimiter(4)
    app.state.oidc = None
    if settings.api.oidc is not None:
        app.state.oidc = oidc.OidcProvider(settings.api.oidc, settings.tls.ca_file)
    return gatekeeper


def _guard(app: FastAPI, parts: ApiParts) -> None:
    """Put the guards in front; the one added last is met first."""
    settings = parts.settings
    app.add_middleware(EntityTags)
    app.add_middleware(HeadRequests)
    app.add_middleware(IdempotencyGuard, keys=parts.idempotency, now=parts.now)
    app.add_middleware(SmallBodies)
    app.add_middleware(CrossSiteGuard)
    app.add_middleware(AccessGuard, gatekeeper=_let_in(app, parts), metrics=settings.metrics)
    app.add_middleware(
        AuditGuard,
        trail=parts.audit,
        now=parts.now,
        study_of_job=lambda job_id: parts.ledger.job(job_id).study_instance_uid,
        patient_id_of=lambda uid: parts.catalogue.study(uid).header.patient_id,
    )
    if not settings.http_needs_sign_in:
        app.add_middleware(HostGuard, host=settings.http_host)
    if settings.api.trusted_proxies:
        proxies = [str(address) for address in settings.api.trusted_proxies]
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=proxies)
        if settings.api.certificate is None:
            app.add_middleware(ProxyGuard, proxies=proxies)
    app.add_middleware(problems.ErrorBarrier)
    app.add_middleware(SecurityHeaders, https_alone=settings.api.certificate is not None)
