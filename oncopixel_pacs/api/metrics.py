"""What Prometheus reads, on the server's port or, without the role api, on one of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from oncopixel_pacs.api import problems
from oncopixel_pacs.api.access import AccessGuard, Gatekeeper
from oncopixel_pacs.api.browser_guards import HostGuard, SecurityHeaders
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.route_rules import METRICS_PATH
from oncopixel_pacs.settings import Settings
from oncopixel_pacs.settings.http import is_loopback

router = APIRouter(tags=["server"])


@router.get(
    METRICS_PATH,
    summary="Tell Prometheus how it goes",
    response_class=Response,
    responses={
        200: {
            "description": "Text format of Prometheus, version 0.0.4.",
            "content": {"text/plain": {"example": "oncopixel_queue_age_seconds 0.0\n"}},
        },
        **documented(),
    },
)
def show_metrics(request: Request) -> Response:
    """Counters of this process and the state of the whole; never of a patient or a study."""
    exposition = cast(Callable[[], bytes], request.app.state.exposition)
    return Response(exposition(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def metrics_app(
    exposition: Callable[[], bytes], gatekeeper: Gatekeeper, settings: Settings
) -> FastAPI:
    """Make the application of a process that has no other: this one route, behind its guard."""
    app = FastAPI(title="OncoPixel PACS metrics", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.exposition = exposition
    app.include_router(router)
    problems.install(app)
    app.add_middleware(AccessGuard, gatekeeper=gatekeeper, metrics=settings.metrics)
    if is_loopback(settings.metrics.host):
        app.add_middleware(HostGuard, host=settings.metrics.host)
    app.add_middleware(problems.ErrorBarrier)
    app.add_middleware(SecurityHeaders, https_alone=settings.api.certificate is not None)
    return app
