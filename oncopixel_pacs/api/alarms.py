"""Route about alarms: everything that needs a person, in one list."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter
from pydantic import BaseModel

from oncopixel_pacs.api import examples
from oncopixel_pacs.api.destinations import destinations
from oncopixel_pacs.api.health import alarms, run_checks, untold
from oncopixel_pacs.api.parts import ApiParts, Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.schemas import shape
from oncopixel_pacs.api.standing import Standing
from oncopixel_pacs.domain import JobState

router = APIRouter(prefix="/api/v1/alarms", tags=["server"])


class Alarm(BaseModel):
    """Something that needs a person."""

    model_config = shape(examples.ALARM)

    subject: str
    """What it is about: ``server``, ``studies``, ``jobs``, ``models``, or the name of a destination
    or of a receiver of webhooks or exports."""
    said: str
    """What is wrong and what to do."""
    page: str
    """Path of the page to look at."""


class AlarmList(BaseModel):
    """Everything that needs a person; empty when nothing does."""

    model_config = shape({"items": [examples.ALARM]})

    items: tuple[Alarm, ...]


@router.get("", summary="List the alarms", responses=documented())
def list_alarms(parts: Parts) -> AlarmList:
    """Disk, certificate, held results, failing checks and jobs, destinations, drift of models."""
    return AlarmList(items=all_alarms(parts))


def all_alarms(parts: ApiParts) -> tuple[Alarm, ...]:
    """Collect the alarms; what two of them say stands once."""
    found = {alarm.said: alarm for alarm in _alarms(parts)}
    return tuple(found.values())


def _alarms(parts: ApiParts) -> Iterator[Alarm]:
    for said in alarms(parts):
        yield Alarm(subject="server", said=said, page="/")
    # In the place of the same words above: it leads to the study.
    for uid in parts.conflicts.studies(1):
        yield Alarm(subject="studies", said=parts.conflicts.alarm(), page=f"/studies/{uid}")
    for name, said in untold(parts).items():
        yield Alarm(subject=name, said=said, page="/webhooks")
    for check in run_checks(parts):
        if not check.ok:
            yield Alarm(subject="server", said=check.detail, page="/")
    if said := failed_jobs(parts):
        yield Alarm(subject="jobs", said=said, page=f"/jobs?state={JobState.FAILED}")
    for item in destinations(parts):
        if item.oldest_problem is not None:
            yield Alarm(subject=item.name, said=item.oldest_problem.error, page="/destinations")
    for sender in parts.drift.senders():
        for said in sender.sentences:
            yield Alarm(subject="models", said=said, page="/models")


def alarms_by_subject(parts: ApiParts) -> dict[str, int]:
    """Count the alarms for who watches from outside; 0 where all is well."""
    counts = dict.fromkeys(("server", "studies", "jobs", "models"), 0)
    for table in (parts.settings.destinations, parts.settings.webhooks, parts.settings.exports):
        counts |= {item.name: 0 for item in table}
    for alarm in all_alarms(parts):
        counts[alarm.subject] = counts.get(alarm.subject, 0) + 1
    return counts


def failed_jobs(parts: Standing) -> str:
    """Say that jobs failed; empty while none did."""
    failed = parts.ledger.failed()
    if not failed:
        return ""
    return f"{failed} job{'' if failed == 1 else 's'} failed; see why, then retry or cancel."
