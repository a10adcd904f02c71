"""Pages about the server: alarms, models, settings."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime, timedelta

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from oncopixel_pacs.api.alarms import all_alarms
from oncopixel_pacs.api.charts import Chart, bar_chart
from oncopixel_pacs.api.feedback import WEEKS, AgreementWeek, agreement, week_of
from oncopixel_pacs.api.monitoring import SenderAnswer, monitoring
from oncopixel_pacs.api.pages import Templates
from oncopixel_pacs.api.parts import ApiParts, Parts
from oncopixel_pacs.api.settings_view import told
from oncopixel_pacs.api.shadows import ShadowComparison, shadow_comparisons

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_CARD_BYTES = 100_000


@router.get("/alarms")
def show_alarms(parts: Parts, pages: Templates) -> HTMLResponse:
    """Everything that needs a person."""
    return pages.render("alarms.html", items=all_alarms(parts), now=parts.now())


@router.get("/models")
def show_models(parts: Parts, pages: Templates) -> HTMLResponse:
    """Models with their cards, and whether scores and views are as they were."""
    senders = monitoring(parts)
    weeks = agreement(parts)
    return pages.render(
        "models.html",
        models=[(model, _card(parts, model.name)) for model in parts.algorithms],
        card_url=parts.settings.results.model_card_url,
        senders=senders,
        charts=[_chart(item) for item in senders],
        shadow_models=parts.settings.shadow_models,
        shadows=(compared := shadow_comparisons(parts)),
        shadow_charts=[_shadow_chart(item, parts.now()) for item in compared],
        agreement=_by_model(weeks),
        agreement_charts=_agreement_charts(weeks, parts.now()),
        now=parts.now(),
    )


def _card(parts: ApiParts, name: str) -> str:
    """Text of the card in a model's bundle; empty where it brings none."""
    for model in parts.settings.active_models:
        if model.name == name:
            with contextlib.suppress(OSError):
                text = (model.bundle / "docs" / "README.md").read_bytes()[:_CARD_BYTES]
                return text.decode("utf-8", "replace")
    return ""


def _mondays(now: datetime) -> list[datetime]:
    return [week_of(now) - timedelta(weeks=back) for back in reversed(range(WEEKS))]


def _shadow_chart(item: ShadowComparison, now: datetime) -> Chart:
    shares = {week.week: week.agreed / week.compared for week in item.weeks}
    return bar_chart(
        f"Studies called alike, {item.model} {item.version}",
        [(f"{monday:%d %b}", 100 * shares.get(monday, 0.0)) for monday in _mondays(now)],
        tone="good",
        unit=" %",
        decimals=1,
    )


def _by_model(weeks: Sequence[AgreementWeek]) -> list[dict[str, object]]:
    """Sum the weeks up, for each model version."""
    models = dict.fromkeys((item.model, item.version) for item in weeks)
    sums = []
    for model, version in models:
        own = [item for item in weeks if (item.model, item.version) == (model, version)]
        accepted, rejected = sum(i.accepted for i in own), sum(i.rejected for i in own)
        share = accepted / (accepted + rejected) if accepted + rejected else None
        sums.append(
            {
                "model": f"{model} {version}",
                "accepted": accepted,
                "rejected": rejected,
                "divided": sum(i.divided for i in own),
                "share": share,
            }
        )
    return sums


def _agreement_charts(weeks: Sequence[AgreementWeek], now: datetime) -> list[Chart]:
    charts = []
    for model, version in dict.fromkeys((item.model, item.version) for item in weeks):
        shares = {i.week: i.share for i in weeks if (i.model, i.version) == (model, version)}
        charts.append(
            bar_chart(
                f"Findings accepted, {model} {version}",
                [(f"{monday:%d %b}", 100 * shares.get(monday, 0.0)) for monday in _mondays(now)],
                tone="good",
                unit=" %",
                decimals=1,
            )
        )
    return charts


def _chart(item: SenderAnswer) -> Chart:
    who = {"*": "all senders", "": "uploads"}.get(item.sender, item.sender)
    step = 100 / len(item.histogram)
    return bar_chart(
        f"Studies by score, {who}",
        [(f"{number * step:.0f} %", count) for number, count in enumerate(item.histogram)],
        marks=5,
    )


@router.get("/settings")
def show_settings(parts: Parts, pages: Templates) -> HTMLResponse:
    """Show the settings in force, without secrets."""
    return pages.render(
        "settings.html",
        items=list(told(parts.settings)),
        settings=parts.settings,
        started_at=parts.started_at,
        now=parts.now(),
    )
