"""Draws what ``oncopixel top`` shows, for any width from 80 columns on, with colour or without."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.api.destinations import DestinationAnswer
from oncopixel_pacs.api.overview import Overview
from oncopixel_pacs.api.schemas import JobAnswer
from oncopixel_pacs.cli.tables import Table
from oncopixel_pacs.cli.top.sources import Snapshot
from oncopixel_pacs.domain import DeliveryState, JobState, StepState

_BLOCKS = "▁▂▃▄▅▆▇█"
_STATE_STYLE = {JobState.ANALYSING: "cyan", JobState.DELIVERING: "blue", JobState.QUEUED: "dim"}
#: Lines of frames, heads and figures: what is left of a terminal is for the rows.
_OTHER_LINES = 16
_MOST_ALARMS = 3


def draw(
    seen: Snapshot,
    width: int,
    height: int | None = None,
    interval: float | None = None,
    trouble: str = "",
) -> RenderableType:
    """Draw one look.

    Parameters
    ----------
    height
        Lines of the terminal; what does not fit is counted instead. As many as needed when absent.
    interval
        Seconds between two looks; ``None`` when there is one alone.
    trouble
        Why this is not of now; empty when it is.
    """
    said = [f"Not of now: {trouble}"] if trouble else []
    said += [f"! {alarm}" for alarm in _alarms(seen.overview)]
    most = None
    if height is not None:
        most = max(height - _OTHER_LINES - len(said) - len(seen.destinations), 1)
    parts: list[RenderableType] = [_head(seen, interval), _now(seen, width)]
    parts += [Text(line, style="bold red", no_wrap=True, overflow="ellipsis") for line in said]
    parts += [_jobs(seen, most, width), _destinations(seen.destinations)]
    parts.append(Text(RESEARCH_NOTICE, style="dim"))
    return Group(*parts)


def age(seconds: float) -> str:
    """Say how long something took in two figures: ``7 s``, ``12 min``, ``3 h``, ``5 d``."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def sparkline(numbers: Sequence[int]) -> str:
    """Draw numbers as bars of one line; what is not nothing is always seen."""
    highest = max(numbers, default=0) or 1
    steps = len(_BLOCKS) - 1
    return "".join(_BLOCKS[-(-number * steps // highest)] for number in numbers)


def _head(seen: Snapshot, interval: float | None) -> RenderableType:
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True)
    said = f"{seen.at:%H:%M:%S} UTC"
    if interval is not None:
        said += f", every {interval:g} s, q quits"
    grid.add_row(Text.assemble(("OncoPixel PACS", "bold"), "  ", seen.place), said)
    return grid


def _now(seen: Snapshot, width: int) -> Panel:
    told = seen.overview
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column()
    received, done = (
        [getattr(item, name) for item in told.buckets] for name in ("received", "done")
    )
    bars = max(min(len(received), width - 46), 10)
    grid.add_row("Received", _rate(received, bars))
    grid.add_row("Finished", _rate(done, bars))
    troubled = sum(item.troubled for item in told.buckets)
    grid.add_row(
        "In trouble", Text(f"{troubled:>5} in the last hour", style="red" * bool(troubled))
    )
    grid.add_row("Queue", _queue(told, seen.at))
    grid.add_row("Disk", _disk(told))
    grid.add_row("Models", _models(told))
    return Panel(grid, title="Now", title_align="left")


def _rate(numbers: Sequence[int], bars: int) -> Text:
    return Text.assemble(
        f"{sum(numbers):>5} in the last hour  ", (sparkline(numbers[-bars:]), "green")
    )


def _queue(told: Overview, at: datetime) -> str:
    if told.oldest_waiting_since is None:
        return "nothing waits"
    oldest = age((at - told.oldest_waiting_since).total_seconds())
    return f"{told.waiting} not finished, the oldest for {oldest}"


def _disk(told: Overview) -> Text:
    if told.free_bytes is None:
        return Text("below its watermark: nothing is received", style="bold red")
    return Text(f"{told.free_bytes / 1024**3:.1f} GiB free")


def _models(told: Overview) -> Text:
    ready = {
        True: Text("loaded", style="green"),
        False: Text("not loaded", style="bold red"),
        None: Text("run by the server's process"),
    }[told.models_ready]
    return ready.append(f"; computed last on {told.device}" if told.device else "")


def _alarms(told: Overview) -> list[str]:
    shown = list(told.alarms[:_MOST_ALARMS])
    more = len(told.alarms) - len(shown)
    return [*shown, f"and {more} more alarms; see the page"] if more else shown


def _jobs(seen: Snapshot, most: int | None, width: int) -> RenderableType:
    if not seen.jobs:
        return Panel(Text("No job is under way.", style="dim"), title="Jobs", title_align="left")
    table = Table(expand=True, box=None, pad_edge=False)
    table.add_column("Job", no_wrap=True, max_width=8)
    table.add_column("Study", no_wrap=True)
    table.add_column("Step", no_wrap=True)
    table.add_column("For", no_wrap=True, justify="right")
    table.add_column("Try", no_wrap=True, justify="right")
    table.add_column("Waiting for", no_wrap=True, overflow="ellipsis", ratio=1)
    shown = seen.jobs[:most]
    for job in shown:
        table.add_row(*_job_row(job, seen.at, max(width // 4, 20)))
    title = "Jobs under way"
    if (hidden := max(seen.overview.waiting, len(seen.jobs)) - len(shown)) > 0:
        title += f", and {hidden} more"
    return Panel(table, title=title, title_align="left")


def _job_row(job: JobAnswer, at: datetime, room: int) -> tuple[str | Text, ...]:
    running = [step for step in job.steps if step.state is StepState.RUNNING]
    step = running[-1] if running else None
    uid = job.study_instance_uid
    since = step.started_at if step else job.created_at
    return (
        job.id[:8],
        # What tells studies apart stands at the end.
        uid if len(uid) <= room else f"…{uid[1 - room :]}",
        Text(step.name if step else job.state, style=_STATE_STYLE[job.state]),
        age((at - since).total_seconds()),
        str(step.attempts) if step else "",
        job.error or job.waiting_for,
    )


def _destinations(items: Sequence[DestinationAnswer]) -> RenderableType:
    if not items:
        return Text("No destination is configured.", style="dim")
    table = Table(expand=True, box=None, pad_edge=False)
    table.add_column("Name", no_wrap=True, overflow="ellipsis", max_width=20)
    table.add_column("Type", no_wrap=True)
    for name in ("Waiting", "Oldest", "Through", "Failed"):
        table.add_column(name, no_wrap=True, justify="right")
    table.add_column("Circuit", no_wrap=True, overflow="ellipsis", ratio=1)
    for item in items:
        table.add_row(*_destination_row(item))
    return Panel(table, title="Destinations", title_align="left")


def _destination_row(item: DestinationAnswer) -> tuple[str | Text, ...]:
    backlog, counts = item.backlog, item.deliveries
    oldest = "" if backlog.oldest_age_seconds is None else age(backlog.oldest_age_seconds)
    through = sum(counts.get(state, 0) for state in DeliveryState if state in _THROUGH)
    failed = counts.get(DeliveryState.FAILED, 0)
    circuit = Text("closed", style="green")
    if backlog.circuit.open:
        circuit = Text(f"open: {backlog.circuit.reason}", style="bold red")
    return (
        item.name,
        item.type or "gone",
        str(backlog.waiting),
        oldest,
        str(through),
        Text(str(failed), style="red" * bool(failed)),
        circuit,
    )


_THROUGH = frozenset({DeliveryState.ACCEPTED, DeliveryState.CONFIRMED})
