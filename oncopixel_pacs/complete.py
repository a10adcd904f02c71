"""When is a study complete? DICOM never says; this is our rule, as a pure function.

A study settles (1) soon after every expected view is there, (2) when no image has come for a
quiet time, or (3) at the latest a fixed time after its first unsettled image, so that a
modality that trickles or repeats images cannot hold it up for ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from oncopixel_pacs.domain import Study
from oncopixel_pacs.settings import CompletionSettings


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a study is complete, and in words what it still waits for."""

    complete: bool
    waiting_for: str = ""


def judge(
    study: Study, unsettled_since: datetime, now: datetime, settings: CompletionSettings
) -> Verdict:
    """Decide whether a study is complete; it is at once when someone declared it so.

    Parameters
    ----------
    study
        With every image received so far.
    unsettled_since
        When its first image arrived that is in no revision yet.
    now
        The current time; a clock that went backwards only makes us wait longer.
    """
    if study.declared_complete:
        return Verdict(complete=True)
    quiet_until = study.last_received_at + timedelta(seconds=settings.quiet_seconds)
    latest = unsettled_since + timedelta(seconds=settings.max_wait_seconds)
    until = min(quiet_until, latest)
    missing = _missing_views(study, settings.expected_views)
    # Without expected views none can be missing, and only quiet counts.
    all_there = bool(settings.expected_views) and not missing
    if all_there:
        settled_at = study.last_received_at + timedelta(seconds=settings.settle_seconds)
        until = min(until, settled_at)
    if now >= until:
        return Verdict(complete=True)
    quiet = f"quiet until {until:%H:%M:%S} UTC"
    if all_there:
        return Verdict(False, f"{quiet} (every view is there)")
    return Verdict(False, f"views {', '.join(missing)}, or {quiet}" if missing else quiet)


def _missing_views(study: Study, expected: Iterable[str]) -> list[str]:
    present = {item.facts.name for item in study.instances}
    return [name for name in expected if name not in present]
