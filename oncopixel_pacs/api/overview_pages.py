"""The page that one looks at first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from oncopixel_pacs.api.charts import Chart, bar_chart
from oncopixel_pacs.api.destinations import destinations
from oncopixel_pacs.api.health import run_checks
from oncopixel_pacs.api.overview import Overview, overview
from oncopixel_pacs.api.pages import Templates
from oncopixel_pacs.api.parts import Parts
from oncopixel_pacs.domain import JobState, StudyState
from oncopixel_pacs.store.activity import Span

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_IDLE_SECONDS = 30
_TROUBLED = 5
_CLOCKS = {Span.HOUR: "%H:%M", Span.DAY: "%H:%M", Span.MONTH: "%m-%d"}
_COUNTED = (
    ("received", "Studies received", "busy"),
    ("done", "Jobs done", "good"),
    ("troubled", "Jobs failed or not analysed", "bad"),
)


@dataclass(frozen=True, slots=True)
class Tally:
    """One number in large, and where it leads."""

    label: str
    number: int
    tone: str
    link: str


@router.get("/")
def show_overview(
    parts: Parts, pages: Templates, span: Annotated[Span, Query()] = Span.DAY
) -> HTMLResponse:
    """How it goes: numbers, plots, health, destinations, and what needs a person."""
    found = overview(parts, span)
    troubled = parts.briefs.jobs(limit=_TROUBLED, states=[JobState.FAILED])
    return pages.render(
        "overview.html",
        overview=found,
        spans=list(Span),
        charts=_charts(found),
        tallies=_tallies(found.studies, found.jobs),
        checks=run_checks(parts),
        destinations=destinations(parts),
        failed=troubled.items,
        models=parts.algorithms,
        refresh=_IDLE_SECONDS,
        now=parts.now(),
    )


def _charts(found: Overview) -> list[Chart]:
    clock = _CLOCKS[found.span]
    return [
        bar_chart(
            heading,
            [(f"{item.start:{clock}}", getattr(item, name)) for item in found.buckets],
            tone=tone,
            marks=6,
        )
        for name, heading, tone in _COUNTED
    ]


def _tallies(studies: Mapping[StudyState, int], jobs: Mapping[JobState, int]) -> list[Tally]:
    def tally(label: str, tone: str, *states: JobState) -> Tally:
        link = "/jobs?" + "&".join(f"state={state}" for state in states)
        return Tally(label, sum(jobs.get(state, 0) for state in states), tone, link)

    receiving = studies.get(StudyState.RECEIVING, 0)
    working = [state for state in JobState if not state.final]
    return [
        Tally("receiving", receiving, "busy", f"/studies?state={StudyState.RECEIVING}"),
        tally("in work", "busy", *working),
        tally("failed", "bad", JobState.FAILED),
        tally("not analysed", "odd", JobState.NOT_ANALYSED),
        tally("done", "good", JobState.DONE),
    ]
