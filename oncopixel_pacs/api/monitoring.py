"""Route about how the models do: scores and views of each sender, then and now."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel

from oncopixel_pacs.api import examples
from oncopixel_pacs.api.entity_tags import TAGGED, tagged
from oncopixel_pacs.api.parts import ApiParts, Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.schemas import shape
from oncopixel_pacs.drift import Drift, Verdict, histogram
from oncopixel_pacs.sender_drift import SenderDrift

router = APIRouter(prefix="/api/v1/monitoring", tags=["models"])


class DriftAnswer(BaseModel):
    """The latest studies compared with the first ones."""

    model_config = shape(examples.DRIFT)

    verdict: Verdict
    """By the index: ``stable`` below 0.1, ``drift`` from 0.25 on; ``too-few`` below 200 studies."""
    reference: int
    """First studies, which stand for how it should be."""
    window: int
    """Latest studies."""
    psi: float | None
    """Population stability index over ten bins of the reference, or over the names of views."""
    ks: float | None
    """Kolmogorov-Smirnov statistic; null for views, which have no order."""
    ks_p: float | None


class SenderAnswer(BaseModel):
    """What came from one sender, and whether it changed."""

    model_config = shape(examples.SENDER)

    sender: str
    """AE title; empty for uploads; ``*`` for all together."""
    studies: int
    since: datetime
    histogram: tuple[int, ...]
    """Studies by score, in twenty bins from 0 to 1."""
    scores: DriftAnswer
    views: DriftAnswer


class Monitoring(BaseModel):
    """How the models do."""

    model_config = shape({"items": [examples.SENDER]})

    items: tuple[SenderAnswer, ...]
    """All together first, then each sender."""


@router.get(
    "", summary="Show how the models do", responses=tagged(documented()), dependencies=TAGGED
)
def show_monitoring(parts: Parts) -> Monitoring:
    """Distribution and drift of scores and views, of the last 1,400 studies that have a score."""
    return Monitoring(items=monitoring(parts))


def monitoring(parts: ApiParts) -> tuple[SenderAnswer, ...]:
    """Compare the latest studies of each sender with its first ones."""
    return tuple(map(_described, parts.drift.compared_now()))


def _described(found: SenderDrift) -> SenderAnswer:
    return SenderAnswer(
        sender=found.sender,
        studies=len(found.studies),
        since=found.studies[0].created_at,
        histogram=tuple(histogram([item.probability for item in found.studies])),
        scores=_answer(found.scores),
        views=_answer(found.views),
    )


def _answer(found: Drift) -> DriftAnswer:
    return DriftAnswer(
        verdict=found.verdict,
        reference=found.reference,
        window=found.window,
        psi=found.psi,
        ks=found.ks,
        ks_p=found.ks_p,
    )
