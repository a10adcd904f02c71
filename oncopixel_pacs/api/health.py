"""Routes for supervisors, and the root of the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.api import examples
from oncopixel_pacs.api.parts import ApiParts, Parts
from oncopixel_pacs.api.problems import documented, problem
from oncopixel_pacs.api.route_rules import LIVE_PATH
from oncopixel_pacs.api.schemas import shape
from oncopixel_pacs.api.standing import Standing
from oncopixel_pacs.errors import ConfigurationError, OncoPixelError, OutOfResources
from oncopixel_pacs.settings import TlsSettings
from oncopixel_pacs.tls import certificate_alarm, read_certificate

router = APIRouter(tags=["server"])

_GIB = 1024**3


class Liveness(BaseModel):
    """The process answers."""

    model_config = shape({"status": "alive"})

    status: Literal["alive"] = "alive"


class Check(BaseModel):
    """One thing that the server needs to do its work."""

    model_config = shape(examples.CHECKS[0])

    name: str
    ok: bool
    detail: str
    """What was found; when not ok, one sentence that says what is wrong and what to do."""


class Readiness(BaseModel):
    """The server can do its work."""

    model_config = shape({"ready": True, "checks": examples.CHECKS})

    ready: Literal[True] = True
    checks: tuple[Check, ...]


class ApiRoot(BaseModel):
    """What this is, and where to go on."""

    model_config = shape(examples.ROOT)

    product: str = "OncoPixel PACS"
    version: str
    notice: str = RESEARCH_NOTICE
    started_at: datetime
    links: Mapping[str, str]


@router.get("/api/v1", summary="What this server is", responses=documented())
def show_root(parts: Parts) -> ApiRoot:
    """Version, notice and the paths to start from."""
    names = ("studies", "jobs", "models", "destinations", "peers", "quarantine")
    return ApiRoot(
        version=parts.version,
        started_at=parts.started_at,
        links={
            **{name: f"/api/v1/{name}" for name in names},
            "ready": "/health/ready",
            "openapi": "/openapi.json",
            "documentation": "/docs",
        },
    )


@router.get(LIVE_PATH, summary="Say that the process answers")
async def show_liveness() -> Liveness:
    """Answer without looking at anything; needs no token."""
    # In the event loop: it waits for no thread while all of them read, draw or wait for a database.
    return Liveness()


@router.get(
    "/health/ready",
    summary="Say whether the server can do its work",
    response_model=Readiness,
    responses=documented(503),
)
def show_readiness(request: Request, parts: Parts) -> Readiness | Response:
    """Database takes a write, disk has room, models are loaded; else 503 with the reasons."""
    checks = run_checks(parts)
    wrong = [check.detail for check in checks if not check.ok]
    if not wrong:
        return Readiness(checks=checks)
    described = [check.model_dump() for check in checks]
    return problem(request, 503, " ".join(wrong), ready=False, checks=described)


def run_checks(parts: ApiParts) -> tuple[Check, ...]:
    """Look at everything that the server needs."""
    found: list[tuple[str, Callable[[ApiParts], str]]] = [
        ("database", _check_database),
        ("disk", _check_disk),
        ("models", _check_models),
    ]
    if parts.settings.bucket.name:
        found.append(("bucket", _check_bucket))
    if parts.settings.tls.listens:
        found.append(("certificate", _check_certificate))
    return tuple(_run(name, look, parts) for name, look in found)


def _run(name: str, look: Callable[[ApiParts], str], parts: ApiParts) -> Check:
    try:
        return Check(name=name, ok=True, detail=look(parts))
    except OncoPixelError as exc:
        return Check(name=name, ok=False, detail=str(exc))


def _check_database(parts: ApiParts) -> str:
    parts.catalogue.check_writable()
    return "takes writes"


def _check_disk(parts: ApiParts) -> str:
    parts.files.require_disk()
    return f"takes files, {parts.free_space.require() / _GIB:.1f} GiB free"


def _check_bucket(parts: ApiParts) -> str:
    try:
        parts.files.check()
    except OSError as exc:
        raise OutOfResources(f"{exc} New images are refused meanwhile.") from exc
    return "answers"


def alarms(parts: Standing) -> tuple[str, ...]:
    """Say what a person must see to, on every page until it is done."""
    found = [
        parts.free_space.alarm(),
        parts.quarantine.alarm(),
        parts.proofs.alarm(),
        parts.conflicts.alarm(),
        parts.workitems.alarm(parts.now()),
        parts.backups.alarm(parts.now()),
        "" if parts.settings.retention.days is None else parts.retention_clock.alarm(),
        parts.models_alarm(),
        *untold(parts).values(),
        parts.audit.alarm(parts.settings.audit.receiver, parts.now()),
    ]
    api = parts.settings.api
    https = TlsSettings(certificate=api.certificate, key=api.key, require_peer_certificate=False)
    for table, pair in (("tls", parts.settings.tls), ("api", https)):
        try:
            found.append(certificate_alarm(pair, parts.now(), table))
        except OncoPixelError as exc:
            found.append(str(exc))
    return tuple(alarm for alarm in found if alarm)


def untold(parts: Standing) -> dict[str, str]:
    """Say by receiver of webhooks and exports what it was not told."""
    receivers = [item.name for item in parts.settings.webhooks]
    receivers += [item.name for item in parts.settings.exports]
    return parts.webhooks.alarms(receivers, parts.now())


def _check_certificate(parts: ApiParts) -> str:
    path = parts.settings.tls.certificate
    if path is None:
        return "none"
    certificate = read_certificate(path)
    now = parts.now()
    if now >= certificate.expires_at:
        raise ConfigurationError(certificate.alarm(now))
    return certificate_alarm(parts.settings.tls, now) or certificate.validity(now)


def _check_models(parts: ApiParts) -> str:
    ready = parts.models_ready()
    if ready is False:
        raise OutOfResources(
            parts.models_alarm()
            or "The models are not loaded yet; wait, or see the log for why not."
        )
    return "loaded" if ready else "run by another process"
