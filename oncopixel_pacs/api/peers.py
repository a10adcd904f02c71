"""Routes about peers: who may send, who tried and may not, and letting them in."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import structlog
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictBool, StrictInt

from oncopixel_pacs.api import examples
from oncopixel_pacs.api.entity_tags import TAGGED, tagged
from oncopixel_pacs.api.idempotency import TAKES_KEY
from oncopixel_pacs.api.parts import ApiParts, Parts, RowId
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.schemas import shape
from oncopixel_pacs.settings import PeerSettings
from oncopixel_pacs.settings.dimse import REPORTS_NEED_ADDRESS
from oncopixel_pacs.store.callers import RejectedCaller
from oncopixel_pacs.store.peers import AllowedPeer

log = structlog.get_logger()

router = APIRouter(prefix="/api/v1/peers", tags=["peers"])


class Origin(StrEnum):
    """Who named a peer."""

    CONFIGURATION = "configuration"
    ALLOWED = "allowed"


class PeerAnswer(BaseModel):
    """A sender that may open associations."""

    model_config = shape(examples.PEER)

    id: int | None
    """Of one that was allowed here; null for one of the configuration."""
    origin: Origin
    ae_title: str
    address: str | None
    """Where it must call from; null for anywhere."""
    port: int | None
    """Where it takes storage commitment reports; null for nowhere."""
    tls: bool
    """Whether reports go there over TLS."""
    certificate_sha256: tuple[str, ...]
    """Certificates one of which it must show over TLS; empty for no particular one."""
    allowed_at: datetime | None


class RejectedCallerAnswer(BaseModel):
    """Someone who called and was not let in, and why; one entry for each reason."""

    model_config = shape(examples.REJECTED_CALLER)

    id: int
    calling_ae_title: str
    """Empty when the TLS handshake failed, before it could say."""
    called_ae_title: str
    """How it called us."""
    address: str
    certificate_sha256: str
    """What it showed over TLS; empty for nothing."""
    reason: str
    may_be_allowed: bool
    """Whether allowing it would let it in; else the sender must be corrected."""
    first_at: datetime
    last_at: datetime
    count: int


class PeerList(BaseModel):
    """Known peers, and the last of those that were rejected."""

    model_config = shape(
        {"anyone": False, "items": [examples.PEER], "rejected": [examples.REJECTED_CALLER]}
    )

    anyone: bool
    """Whether whoever is on this machine may send: none is configured, and only it can call."""
    items: tuple[PeerAnswer, ...]
    """From the configuration, then those that were allowed here."""
    rejected: tuple[RejectedCallerAnswer, ...]


ReportPort = Annotated[
    int | None,
    Query(ge=1, le=65535, description="Port at which it takes storage commitment reports."),
]


_EXAMPLE: dict[str, JsonValue] = {
    "ae_title": "MAMMO1",
    "address": "10.1.2.3",
    "port": 104,
    "tls": False,
    "certificate_sha256": [],
}


class PeerRequest(PeerSettings):
    """A sender to allow."""

    model_config = ConfigDict(json_schema_extra={**REPORTS_NEED_ADDRESS, "examples": [_EXAMPLE]})

    port: Annotated[StrictInt, Field(ge=1, le=65535)] | None = None
    tls: StrictBool = False


@router.get("", summary="List the peers", responses=tagged(documented()), dependencies=TAGGED)
def list_peers(parts: Parts) -> PeerList:
    """Senders that are configured or were allowed, and callers that were rejected, latest first."""
    return peers(parts)


@router.post("", summary="Allow a sender", responses=documented(400, 409), dependencies=TAKES_KEY)
def allow_peer(request: Request, parts: Parts, peer: PeerRequest) -> PeerAnswer:
    """Allow a sender at once, without a restart; again is no harm. The log keeps a trace.

    One of the same AE title and address is replaced, but keeps its port when none is given.
    """
    return _allowed(request, parts.allowed_peers.allow(peer, parts.now()))


@router.post(
    "/rejected/{rejected_id}/allow",
    summary="Allow a caller that was rejected",
    responses=documented(404, 409),
    dependencies=TAKES_KEY,
)
def allow_rejected(
    request: Request, parts: Parts, rejected_id: RowId, port: ReportPort = None
) -> PeerAnswer:
    """Allow it under the AE title, from the address and with the certificate that it came with."""
    return _allowed(request, parts.allowed_peers.allow_rejected(rejected_id, parts.now(), port))


@router.delete("/{peer_id}", summary="Allow a sender no longer", responses=documented())
def remove_peer(request: Request, parts: Parts, peer_id: RowId) -> PeerList:
    """Take back what was allowed here; again is no harm. Answers with who is left."""
    remove(request, parts, peer_id)
    return peers(parts)


def remove(request: Request, parts: ApiParts, peer_id: int) -> None:
    """Take a peer back, with a trace in the log."""
    removed = parts.allowed_peers.remove(peer_id)
    if removed is not None:
        _audit("peer.removed", request, removed)


def peers(parts: ApiParts) -> PeerList:
    """Describe the configured peers, in their order, the allowed ones and the rejected callers."""
    return PeerList(
        anyone=parts.settings.takes_anyone,
        items=(
            *(_described(item) for item in parts.settings.peers),
            *(_described(item.peer, item) for item in parts.allowed_peers.all()),
        ),
        rejected=tuple(map(_rejected, parts.callers.rejected())),
    )


def _allowed(request: Request, peer: AllowedPeer) -> PeerAnswer:
    _audit("peer.allowed", request, peer)
    return _described(peer.peer, peer)


def _audit(event: str, request: Request, allowed: AllowedPeer) -> None:
    log.info(
        event,
        **allowed.peer.model_dump(),
        by=request.client.host if request.client else "",
    )


def _described(peer: PeerSettings, allowed: AllowedPeer | None = None) -> PeerAnswer:
    return PeerAnswer(
        id=None if allowed is None else allowed.id,
        origin=Origin.CONFIGURATION if allowed is None else Origin.ALLOWED,
        **peer.model_dump(),
        allowed_at=None if allowed is None else allowed.allowed_at,
    )


def _rejected(caller: RejectedCaller) -> RejectedCallerAnswer:
    return RejectedCallerAnswer(
        id=caller.id or 0,
        calling_ae_title=caller.calling_ae_title,
        called_ae_title=caller.called_ae_title,
        address=caller.address,
        certificate_sha256=caller.certificate_sha256,
        reason=caller.reason,
        may_be_allowed=caller.may_be_allowed,
        first_at=caller.first_at,
        last_at=caller.last_at,
        count=caller.count,
    )
