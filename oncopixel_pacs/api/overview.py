"""Route about how it goes on the whole: throughput, queue, disk, models, alarms."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from oncopixel_pacs.api import examples
from oncopixel_pacs.api.health import alarms
from oncopixel_pacs.api.parts import Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.schemas import shape
from oncopixel_pacs.api.standing import Standing
from oncopixel_pacs.domain import JobState, StudyState
from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.store.activity import Span

router = APIRouter(prefix="/api/v1/overview", tags=["server"])

SpanQuery = Annotated[Span, Query(description="How far to look back.")]


class BucketAnswer(BaseModel):
    """What happened in one minute, hour or day."""

    model_config = shape(examples.BUCKET)

    start: datetime
    received: int
    """Studies whose first image came."""
    done: int
    """Jobs that ended well."""
    troubled: int
    """Jobs that failed, were cancelled, or had nothing that could be analysed."""


class Overview(BaseModel):
    """How it goes on the whole."""

    model_config = shape(examples.OVERVIEW)

    span: Span
    buckets: tuple[BucketAnswer, ...]
    """The oldest first: minutes of an hour, hours of a day, days of a month."""
    studies: Mapping[StudyState, int]
    jobs: Mapping[JobState, int]
    waiting: int
    """Jobs that are not finished."""
    oldest_waiting_since: datetime | None
    free_bytes: int | None
    """Of the data directory's volume; null when it does not say, or is below its watermark."""
    models_ready: bool | None
    """Whether they are loaded; null when another process runs them."""
    device: str
    """Where the models computed last; empty before the first result."""
    alarms: tuple[str, ...]


@router.get("", summary="Show how it goes", responses=documented())
def show_overview(parts: Parts, span: SpanQuery = Span.DAY) -> Overview:
    """Throughput of the last hour, day or month; what waits; disk, models and alarms."""
    return overview(parts, span)


def overview(parts: Standing, span: Span) -> Overview:
    """Describe how it goes."""
    waiting = parts.activity.waiting()
    return Overview(
        span=span,
        buckets=tuple(
            BucketAnswer.model_validate(item) for item in parts.activity.over(span, parts.now())
        ),
        studies=parts.catalogue.counts(),
        jobs=parts.ledger.counts(),
        waiting=waiting.number,
        oldest_waiting_since=waiting.oldest,
        free_bytes=_free_bytes(parts),
        models_ready=parts.models_ready(),
        device=_device(parts),
        alarms=alarms(parts),
    )


def _free_bytes(parts: Standing) -> int | None:
    try:
        return parts.free_space.require()
    except OutOfResources:
        return None


def _device(parts: Standing) -> str:
    latest = parts.ledger.jobs(limit=1, states=[JobState.DONE, JobState.DELIVERING]).items
    result = latest[0].result if latest else None
    return result.device if result else ""
