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
    """Decide whether a study is complete.

    Parameters
    ----------
    study
        With every image received so far.
    unsettled_since
        When its first image arrived that is in no revision yet.
    now
        The current time; a clock that went backwards only makes us wait longer.
    """
    quiet_until = study.last_received_at + timedelta(seconds=settings.quiet_seconds)
    settled_at = study.last_received_at + timedelta(seconds=settings.settle_seconds)
    latest = unsettled_since + timedelta(seconds=settings.max_wait_seconds)
    missing = _missing_views(study, settings.expected_views)
    if now >= min(quiet_until, latest) or (not missing and now >= settled_at):
        return Verdict(complete=True)
    if not missing:
        return Verdict(False, f"quiet until {settled_at:%H:%M:%S} UTC (every view is there)")
    until = min(quiet_until, latest)
    return Verdict(False, f"views {', '.join(missing)}, or quiet until {until:%H:%M:%S} UTC")


def _missing_views(study: Study, expected: Iterable[str]) -> list[str]:
    present = {item.facts.name for item in study.instances}
    return [name for name in expected if name not in present]
