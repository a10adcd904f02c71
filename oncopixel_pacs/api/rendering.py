"""Values in words and pages from templates. Everything that comes from outside is escaped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pydicom.uid import UID

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.domain import Delivery, Job, JobState
from oncopixel_pacs.domain.access import AccessRole, Caller
from oncopixel_pacs.domain.briefs import JobBrief

#: States of a job that ended without success: these alone can be retried.
RETRYABLE = frozenset({JobState.FAILED, JobState.CANCELLED, JobState.NOT_ANALYSED})

_TONES = {
    "good": {"stable", "done", "accepted", "confirmed", "ok", "runs"},
    "busy": {"queued", "analysing", "delivering", "sending", "running", "receiving"},
    "bad": {"drift", "failed", "not ready", "not reached", "low"},
    "odd": {"not-analysed", "cancelled", "partial", "look", "refused"},
}


#: Who asks for the page that is rendered; set by the guard for the length of a request.
CALLER: ContextVar[Caller | None] = ContextVar("caller", default=None)
#: Of PS3.6 2024 and later, which the dictionary of pydicom does not hold.
_LATER_SOP_CLASSES = {"1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage"}


def may(role: str) -> bool:
    """Whether who asks for the page may do what this role may."""
    caller = CALLER.get()
    return caller is not None and caller.role.includes(AccessRole(role))


def tone(state: str) -> str:
    """Colour class of a state; the state itself is always written beside the colour."""
    return next((name for name, states in _TONES.items() if state in states), "plain")


def moment(value: datetime | None) -> Markup | str:
    """Date and time in UTC to the second; a dash for none."""
    if value is None:
        return "–"
    return Markup('<time datetime="{}">{}</time>').format(
        value.isoformat(), f"{value:%Y-%m-%d %H:%M:%S}"
    )


def ago(value: datetime, now: datetime) -> str:
    """How long before `now`, in one unit."""
    seconds = max((now - value).total_seconds(), 0)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def duration(seconds: float | None) -> str:
    """Seconds as a person reads them: ``0.42 s``, ``12.3 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: int) -> str:
    """Bytes in binary units."""
    if count < 1024:
        return f"{count} B"
    if count < 1024**2:
        return f"{count / 1024:.1f} KiB"
    return f"{count / 1024**2:.1f} MiB"


def percent(probability: float | None) -> str:
    """Probability as a percentage; a dash for none."""
    return "–" if probability is None else f"{probability:.1%}"


def sop_class_name(uid: str) -> str:
    """Name of a SOP class in PS3.6; the UID itself when it is not there."""
    return _LATER_SOP_CLASSES.get(uid) or str(UID(uid).name)


def ending(uid: str) -> str:
    """Last characters of a UID, which tell studies apart; the whole where it is short."""
    return uid if len(uid) <= 16 else f"…{uid[-15:]}"


def views(names: Iterable[str]) -> str:
    """Names of the views, each once, and how often when not once: ``R CC, L CC ×2``."""
    counted = Counter(names)
    return ", ".join(
        name if number == 1 else f"{name} ×{number}" for name, number in counted.items()
    )


def finding_count(job: JobBrief | None) -> str:
    """How many findings; a dash when no mammogram was analysed."""
    return "–" if job is None or job.probability is None else str(job.finding_count)


def seconds_between(started_at: datetime, finished_at: datetime | None) -> float | None:
    """Length of a span that may not have ended."""
    return None if finished_at is None else (finished_at - started_at).total_seconds()


def destinations_of(job: Job) -> list[str]:
    """Names of the destinations that a job's results go to, sorted."""
    return sorted({item.destination for item in job.deliveries})


def deliveries_by_object(job: Job) -> dict[tuple[str, str], Delivery]:
    """Look-up of the deliveries of a job by SOP Instance UID and destination."""
    return {(item.sop_instance_uid, item.destination): item for item in job.deliveries}


#: Sections of the pages, in the order of the menu, with the role that each needs.
NAVIGATION = (
    ("Overview", "/", "viewer"),
    ("Studies", "/studies", "viewer"),
    ("Upload", "/upload", "viewer"),
    ("Jobs", "/jobs", "viewer"),
    ("Pulls", "/pulls", "viewer"),
    ("Destinations", "/destinations", "viewer"),
    ("Peers", "/peers", "viewer"),
    ("Models", "/models", "viewer"),
    ("Alarms", "/alarms", "viewer"),
    ("Audit", "/audit", "admin"),
    ("Access", "/users", "admin"),
    ("Webhooks", "/webhooks", "admin"),
    ("Settings", "/settings", "admin"),
    ("API", "/docs", "viewer"),
)


@dataclass(frozen=True, slots=True)
class Pages:
    """Renders templates. One per application."""

    environment: Environment

    def render(self, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """Page of a template; a value that the template needs and does not get is an error."""
        text = self.environment.get_template(template).render(**values)
        return HTMLResponse(text, status_code=status)


def load_pages(version: str, alarms: Callable[[], Sequence[str]]) -> Pages:
    """Templates of this package, with every value escaped.

    Parameters
    ----------
    version
        Stands on every page.
    alarms
        Sentences that stand on every page as long as they are so.
    """
    environment = Environment(
        loader=PackageLoader("oncopixel_pacs.api"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        moment=moment,
        ago=ago,
        duration=duration,
        size=size,
        percent=percent,
        sop_class_name=sop_class_name,
        tone=tone,
        ending=ending,
        views=views,
        finding_count=finding_count,
    )
    environment.globals.update(
        notice=RESEARCH_NOTICE,
        version=version,
        alarms=alarms,
        caller=CALLER.get,
        may=may,
        navigation=NAVIGATION,
    )
    return Pages(environment)
