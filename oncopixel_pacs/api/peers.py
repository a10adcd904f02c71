"""Route about peers: who may send, and who tried and may not."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel

from oncopixel_pacs.api import examples
from oncopixel_pacs.api.parts import ApiParts, Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.schemas import shape

router = APIRouter(prefix="/api/v1/peers", tags=["peers"])


class PeerAnswer(BaseModel):
    """A sender that may open associations."""

    model_config = shape(examples.PEER)

    ae_title: str
    address: str | None
    """Where it must call from; null for anywhere."""
    port: int | None
    """Where it takes storage commitment reports; null for nowhere."""


class RejectedCallerAnswer(BaseModel):
    """Someone who called and was not let in, and why; one entry for each reason."""

    model_config = shape(examples.REJECTED_CALLER)

    calling_ae_title: str
    called_ae_title: str
    """How it called us."""
    address: str
    reason: str
    first_at: datetime
    last_at: datetime
    count: int


class PeerList(BaseModel):
    """Known peers, and the last of those that were rejected."""

    model_config = shape({"items": [examples.PEER], "rejected": [examples.REJECTED_CALLER]})

    items: tuple[PeerAnswer, ...]
    """From the configuration; when empty, whoever is on this machine may send."""
    rejected: tuple[RejectedCallerAnswer, ...]


@router.get("", summary="List the peers", responses=documented())
def list_peers(parts: Parts) -> PeerList:
    """Senders that are configured, and callers that were rejected, the latest first."""
    return peers(parts)


def peers(parts: ApiParts) -> PeerList:
    """Describe the configured peers, in their order, and the rejected callers."""
    return PeerList(
        items=tuple(
            PeerAnswer(ae_title=item.ae_title, address=item.address, port=item.port)
            for item in parts.settings.peers
        ),
        rejected=tuple(
            RejectedCallerAnswer(
                calling_ae_title=item.calling_ae_title,
                called_ae_title=item.called_ae_title,
                address=item.address,
                reason=item.reason,
                first_at=item.first_at,
                last_at=item.last_at,
                count=item.count,
            )
            for item in parts.callers.rejected()
        ),
    )
