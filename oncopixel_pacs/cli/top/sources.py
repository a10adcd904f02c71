"""Where ``oncopixel top`` looks: the database here, or a running server's API."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from oncopixel_pacs.api.destinations import DestinationAnswer, DestinationList, destinations
from oncopixel_pacs.api.overview import Overview, overview
from oncopixel_pacs.api.schemas import JobAnswer, JobList
from oncopixel_pacs.domain import JobState
from oncopixel_pacs.errors import OncoPixelError
from oncopixel_pacs.opening import Store, open_existing, utc_now
from oncopixel_pacs.settings import Settings, load_settings
from oncopixel_pacs.store.activity import Activity, Span
from oncopixel_pacs.store.audit_trail import AuditTrail
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.conflicts import Conflicts
from oncopixel_pacs.store.free_space import FreeSpace
from oncopixel_pacs.store.hosts import Hosts, HostWatch
from oncopixel_pacs.store.installation import Backups
from oncopixel_pacs.store.ledger import Ledger
from oncopixel_pacs.store.outbox import Outbox
from oncopixel_pacs.store.proofs import Proofs
from oncopixel_pacs.store.quarantine import Quarantine
from oncopixel_pacs.store.retention_clock import RetentionClock
from oncopixel_pacs.store.webhooks import Webhooks
from oncopixel_pacs.store.workitems import Workitems

#: So many jobs are shown; the queue may be longer.
MOST_JOBS = 12
_UNDER_WAY = (JobState.ANALYSING, JobState.DELIVERING, JobState.QUEUED)
_SECONDS = 10.0
_PROBLEM = "application/problem+json"
Answer = TypeVar("Answer", bound=BaseModel)


class Unreachable(OncoPixelError):
    """The server does not answer as it should."""


@dataclass(frozen=True)
class Snapshot:
    """How it goes at one moment; the parts are answers of the API.

    Attributes
    ----------
    place
        Address of the server, or its data directory.
    jobs
        Those under way: analysed first, then sent, then waiting; the newest of each first.
    """

    at: datetime
    place: str
    overview: Overview
    jobs: tuple[JobAnswer, ...]
    destinations: tuple[DestinationAnswer, ...]


Reading = Callable[[], Snapshot]


@contextlib.contextmanager
def reading(url: str | None, token: str | None, config: Path | None) -> Iterator[Reading]:
    """Open what is looked at; gives what looks once.

    Parameters
    ----------
    url
        Address of a running server; the database of the configuration when absent.
    """
    if url is None:
        with _local(load_settings(config)) as read:
            yield read
        return
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=_SECONDS) as client:
        yield lambda: _remote(client)


@dataclass(frozen=True)
class Here:
    """What the API reads from, without a server."""

    activity: Activity
    catalogue: Catalogue
    free_space: FreeSpace
    ledger: Ledger
    outbox: Outbox
    quarantine: Quarantine
    backups: Backups
    retention_clock: RetentionClock
    audit: AuditTrail
    webhooks: Webhooks
    workitems: Workitems
    proofs: Proofs
    conflicts: Conflicts
    settings: Settings
    models_alarm: Callable[[], str]
    models_ready: Callable[[], bool | None] = field(default=lambda: None)
    now: Callable[[], datetime] = utc_now


def standing_here(settings: Settings, store: Store) -> Here:
    """Read how things stand from the database and the disk of the configuration."""
    return Here(
        activity=Activity(store.database),
        catalogue=store.catalogue,
        free_space=FreeSpace(settings.data_dir, settings.receive.least_free_bytes),
        ledger=store.ledger,
        outbox=Outbox(store.database),
        quarantine=Quarantine(store.database),
        backups=Backups(store.database),
        retention_clock=RetentionClock(store.database, settings.executor),
        audit=store.audit,
        webhooks=Webhooks(store.database),
        workitems=Workitems(store.database),
        proofs=Proofs(store.database),
        conflicts=Conflicts(store.database),
        settings=settings,
        models_alarm=HostWatch(Hosts(store.database), settings.takeover_seconds).alarm,
    )


@contextlib.contextmanager
def _local(settings: Settings) -> Iterator[Reading]:
    store = open_existing(settings)
    here = standing_here(settings, store)

    def read() -> Snapshot:
        found = [
            job
            for state in _UNDER_WAY
            for job in store.ledger.jobs(limit=MOST_JOBS, states=[state]).items
        ]
        return Snapshot(
            utc_now(),
            str(settings.data_dir),
            overview(here, Span.HOUR),
            tuple(JobAnswer.of(job) for job in found[:MOST_JOBS]),
            destinations(here),
        )

    try:
        yield read
    finally:
        store.database.close()


def _remote(client: httpx.Client) -> Snapshot:
    ids = [
        item.id
        for state in _UNDER_WAY
        for item in _get(client, "jobs", JobList, limit=MOST_JOBS, state=state.value).items
    ]
    return Snapshot(
        utc_now(),
        str(client.base_url),
        _get(client, "overview", Overview, span=Span.HOUR.value),
        tuple(_get(client, f"jobs/{job_id}", JobAnswer) for job_id in ids[:MOST_JOBS]),
        _get(client, "destinations", DestinationList).items,
    )


def _get(client: httpx.Client, path: str, kind: type[Answer], **query: Any) -> Answer:
    try:
        answer = client.get(f"/api/v1/{path}", params=query)
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise Unreachable(
            f"{client.base_url} does not answer ({type(exc).__name__}); check --url and the server."
        ) from exc
    if answer.status_code in (401, 403):
        raise Unreachable(
            f"{client.base_url} lets nobody look without a token of role viewer; set "
            "ONCOPIXEL_TOKEN, made by oncopixel tokens create."
        )
    if answer.status_code == 503 and answer.headers.get("content-type") == _PROBLEM:
        raise Unreachable(f"{client.base_url} cannot tell: {answer.json().get('detail', '')}")
    try:
        answer.raise_for_status()
        return kind.model_validate_json(answer.content)
    except (httpx.HTTPStatusError, ValidationError) as exc:
        raise Unreachable(
            f"{client.base_url} answers HTTP {answer.status_code}, and not as a server of this "
            "version does; check --url."
        ) from exc
