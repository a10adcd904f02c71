"""Routes about shadow models: what they said beside the active ones, and how far both agree."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel

from oncopixel_pacs.api.feedback import WEEKS, week_of
from oncopixel_pacs.api.parts import ApiParts, Key, Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.schemas import Probability, ResultAnswer, shape
from oncopixel_pacs.errors import NotFound
from oncopixel_pacs.store.shadows import ShadowReading, ShadowState

router = APIRouter(prefix="/api/v1", tags=["models"])

_LEAST_FOR_CORRELATION = 3
_READING: dict[str, Any] = {
    "model": "lesions-next",
    "version": "2.0",
    "task": "segment",
    "state": "done",
    "attempts": 1,
    "read_at": "2025-03-01T12:02:00Z",
    "score": None,
    "active_score": 0.87,
    "findings": 2,
    "active_findings": 1,
    "called": True,
    "active_called": True,
    "error": "",
}
_WEEK: dict[str, Any] = {"week": "2025-02-24T00:00:00Z", "compared": 60, "agreed": 57}
_COMPARED: dict[str, Any] = {
    "model": "lesions-next",
    "version": "2.0",
    "task": "segment",
    "compared": 400,
    "failed": 1,
    "both": 40,
    "only_shadow": 12,
    "only_active": 8,
    "neither": 340,
    "score_difference": None,
    "score_correlation": None,
    "weeks": [_WEEK],
}


class ShadowReadingAnswer(BaseModel):
    """What one shadow model said of one job's images, beside the active model of its task."""

    model_config = shape(_READING)

    model: str
    version: str
    task: str
    state: ShadowState
    attempts: int
    read_at: datetime | None
    score: Probability
    """Of the study; null from a segmenter, and where no image was read."""
    active_score: Probability
    findings: int
    active_findings: int
    called: bool | None
    """Whether it calls the study suspicious at its operating point: by the score of the study, or
    by a finding. Null where it read no image."""
    active_called: bool | None
    error: str
    """Why it has no answer; empty when it has one."""


class JobShadows(BaseModel):
    """What shadow models said of one job's images. Nothing of it was sent."""

    model_config = shape({"items": [_READING]})

    items: tuple[ShadowReadingAnswer, ...]


class ShadowWeek(BaseModel):
    """Studies of one week that both models read."""

    model_config = shape(_WEEK)

    week: datetime
    """Its Monday."""
    compared: int
    agreed: int
    """Both called them suspicious, or neither."""


class ShadowComparison(BaseModel):
    """A shadow model version beside the active models of its task, over half a year."""

    model_config = shape(_COMPARED)

    model: str
    version: str
    task: str
    compared: int
    """Studies that both read."""
    failed: int
    """Studies that it could not read."""
    both: int
    """Called suspicious by both."""
    only_shadow: int
    only_active: int
    neither: int
    score_difference: float | None
    """Mean of its score less that of the active model; null from a segmenter."""
    score_correlation: float | None
    """Pearson's; null below three studies, and where one of them never changes."""
    weeks: tuple[ShadowWeek, ...]

    @property
    def agreement(self) -> float | None:
        """Share of the studies that both call, or neither does."""
        return (self.both + self.neither) / self.compared if self.compared else None


class ShadowMonitoring(BaseModel):
    """How shadow models agree with the active ones."""

    model_config = shape({"items": [_COMPARED]})

    items: tuple[ShadowComparison, ...]


@router.get(
    "/monitoring/shadows",
    summary="Show how shadow models agree with the active ones",
    responses=documented(),
)
def show_shadows(parts: Parts) -> ShadowMonitoring:
    """Compare each shadow model version with the active model of its task, over half a year."""
    return ShadowMonitoring(items=shadow_comparisons(parts))


@router.get(
    "/jobs/{job_id}/shadows",
    summary="List what shadow models said of a job",
    responses=documented(404),
)
def list_job_shadows(parts: Parts, job_id: Key) -> JobShadows:
    """List the answers of shadow models, which stand in no result object."""
    readings = parts.shadows.of_job(parts.ledger.job(job_id).id)
    return JobShadows(items=tuple(map(ShadowReadingAnswer.model_validate, readings)))


@router.get(
    "/jobs/{job_id}/shadows/{model}",
    summary="Show all that a shadow model said of a job",
    responses=documented(404),
)
def show_job_shadow(parts: Parts, job_id: Key, model: Key) -> ResultAnswer:
    """Show its scores and findings as of a result; pictures are those of the active models."""
    result = parts.shadows.result(parts.ledger.job(job_id).id, model)
    if result is None:
        raise NotFound(f"No shadow model {model} has an answer on job {job_id}.")
    return ResultAnswer.of(job_id, result)


def shadow_comparisons(parts: ApiParts) -> tuple[ShadowComparison, ...]:
    """Compare each shadow model version with the active model of its task."""
    since = week_of(parts.now()) - timedelta(weeks=WEEKS - 1)
    version = attrgetter("model", "version", "task")
    readings = sorted(parts.shadows.since(since), key=version)  # stable: each stays in its order
    return tuple(_compared(*key, list(items)) for key, items in groupby(readings, version))


def _compared(
    model: str, version: str, task: str, readings: Sequence[ShadowReading]
) -> ShadowComparison:
    pairs = [i for i in readings if i.called is not None and i.active_called is not None]
    votes = [(i.called, i.active_called) for i in pairs]
    weeks = groupby(pairs, lambda item: week_of(item.read_at) if item.read_at else None)
    difference, correlation = _scores(pairs)
    return ShadowComparison(
        model=model,
        version=version,
        task=task,
        compared=len(pairs),
        failed=sum(i.state is ShadowState.FAILED for i in readings),
        both=votes.count((True, True)),
        only_shadow=votes.count((True, False)),
        only_active=votes.count((False, True)),
        neither=votes.count((False, False)),
        score_difference=difference,
        score_correlation=correlation,
        weeks=tuple(_week(week, list(items)) for week, items in weeks if week is not None),
    )


def _week(week: datetime, pairs: Sequence[ShadowReading]) -> ShadowWeek:
    agreed = sum(item.called == item.active_called for item in pairs)
    return ShadowWeek(week=week, compared=len(pairs), agreed=agreed)


def _scores(pairs: Sequence[ShadowReading]) -> tuple[float | None, float | None]:
    """Mean difference of the scores, and their correlation."""
    both = [
        (item.score, item.active_score)
        for item in pairs
        if item.score is not None and item.active_score is not None
    ]
    if not both:
        return None, None
    own, active = np.array(both, float).T
    difference = float((own - active).mean())
    # Of what never changes there is none.
    varies = min(np.ptp(own), np.ptp(active)) > 0
    if len(both) < _LEAST_FOR_CORRELATION or not varies:
        return difference, None
    return difference, float(np.corrcoef(own, active)[0, 1])
