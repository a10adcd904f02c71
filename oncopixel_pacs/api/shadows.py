"""Routes about shadow models: what they said beside the active ones, and how far both agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from oncopixel_pacs.api.entity_tags import TAGGED, tagged
from oncopixel_pacs.api.feedback import WEEKS, week_of
from oncopixel_pacs.api.parts import ApiParts, Key, Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.schemas import Probability, ResultAnswer, shape
from oncopixel_pacs.errors import NotFound
from oncopixel_pacs.store.shadows import ShadowState, ShadowTally

router = APIRouter(prefix="/api/v1", tags=["models"])

_LEAST_FOR_CORRELATION = 3
#: Variance of scores below which they are one and the same, but for rounding.
_NO_SPREAD = 1e-12
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
    responses=tagged(documented()),
    dependencies=TAGGED,
)
def show_shadows(parts: Parts) -> ShadowMonitoring:
    """Compare each shadow model version with the active model of its task, over half a year."""
    return ShadowMonitoring(items=shadow_comparisons(parts))


@router.get(
    "/jobs/{job_id}/shadows",
    summary="List what shadow models said of a job",
    responses=tagged(documented(404)),
    dependencies=TAGGED,
)
def list_job_shadows(parts: Parts, job_id: Key) -> JobShadows:
    """List the answers of shadow models, which stand in no result object."""
    readings = parts.shadows.of_job(parts.ledger.job(job_id).id)
    return JobShadows(items=tuple(map(ShadowReadingAnswer.model_validate, readings)))


@router.get(
    "/jobs/{job_id}/shadows/{model}",
    summary="Show all that a shadow model said of a job",
    responses=tagged(documented(404)),
    dependencies=TAGGED,
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
    tallies = sorted(parts.shadows.tallies(since), key=version)  # stable: each stays in its order
    return tuple(_compared(*key, list(items)) for key, items in groupby(tallies, version))


def _compared(
    model: str, version: str, task: str, tallies: Sequence[ShadowTally]
) -> ShadowComparison:
    weeks = groupby(tallies, lambda item: week_of(item.day))
    difference, correlation = _scores(tallies)
    sums = {
        name: sum(getattr(item, name) for item in tallies)
        for name in ("failed", "both", "only_shadow", "only_active", "neither")
    }
    return ShadowComparison(
        model=model,
        version=version,
        task=task,
        compared=_alike(tallies) + sums["only_shadow"] + sums["only_active"],
        **sums,
        score_difference=difference,
        score_correlation=correlation,
        weeks=tuple(found for week, items in weeks if (found := _week(week, list(items))).compared),
    )


def _week(week: datetime, tallies: Sequence[ShadowTally]) -> ShadowWeek:
    agreed = _alike(tallies)
    differ = sum(item.only_shadow + item.only_active for item in tallies)
    return ShadowWeek(week=week, compared=agreed + differ, agreed=agreed)


def _alike(tallies: Sequence[ShadowTally]) -> int:
    return sum(item.both + item.neither for item in tallies)


def _scores(tallies: Sequence[ShadowTally]) -> tuple[float | None, float | None]:
    """Mean difference of the scores, and their correlation."""
    number = sum(item.scored for item in tallies)
    if not number:
        return None, None
    own, active, own_2, active_2, product = (
        math.fsum(getattr(item, name) for item in tallies) / number
        for name in ("score", "active_score", "score_2", "active_score_2", "product")
    )
    spread = max(own_2 - own**2, 0.0), max(active_2 - active**2, 0.0)
    # Of what never changes there is none.
    if number < _LEAST_FOR_CORRELATION or min(spread) < _NO_SPREAD:
        return own - active, None
    correlation = (product - own * active) / math.sqrt(spread[0] * spread[1])
    return own - active, min(max(correlation, -1.0), 1.0)
