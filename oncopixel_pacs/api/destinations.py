"""Route about destinations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel

from oncopixel_pacs.api import examples
from oncopixel_pacs.api.idempotency import TAKES_KEY
from oncopixel_pacs.api.parts import ApiParts, Parts
from oncopixel_pacs.api.place_schemas import EchoAnswer, address_of_destination
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.schemas import shape
from oncopixel_pacs.api.standing import Standing
from oncopixel_pacs.domain import DeliveryState, ObjectKind
from oncopixel_pacs.domain.backlog import Backlog
from oncopixel_pacs.errors import DeliveryFailed, NotFound
from oncopixel_pacs.settings import DestinationSettings

router = APIRouter(prefix="/api/v1/destinations", tags=["destinations"])


class ProblemDelivery(BaseModel):
    """A delivery that met an error and has not come through."""

    model_config = shape(examples.PROBLEM_DELIVERY)

    job_id: str
    since: datetime
    """When its job was made."""
    sop_instance_uid: str
    state: DeliveryState
    status: str
    error: str


class CircuitAnswer(BaseModel):
    """Whether a destination is left alone, since it could not be used again and again."""

    model_config = shape(examples.CIRCUIT)

    open: bool
    """While it is, one job at a time tries the destination, until it answers."""
    failures: int
    """Attempts in a row in which the destination as a whole could not be used."""
    opened_at: datetime | None
    next_probe_at: datetime | None
    reason: str


class BacklogAnswer(BaseModel):
    """What a destination has not taken yet, and did not refuse for good."""

    model_config = shape(examples.BACKLOG)

    waiting: int
    """Result objects, those on the wire included."""
    oldest_queued_at: datetime | None
    oldest_age_seconds: float | None
    """For how long the oldest has waited."""
    next_attempt_at: datetime | None
    """Null when one is due or on its way."""
    circuit: CircuitAnswer


class DestinationAnswer(BaseModel):
    """Where results are sent, and how that goes."""

    model_config = shape(examples.DESTINATION)

    name: str
    type: Literal["cstore", "orthanc", "stow", "folder"] | None
    """Null when it is no longer configured."""
    address: str
    """Without password."""
    objects: tuple[ObjectKind, ...]
    configured: bool
    deliveries: Mapping[DeliveryState, int]
    """How many result objects are in each state."""
    backlog: BacklogAnswer
    oldest_problem: ProblemDelivery | None

    @property
    def waiting(self) -> int:
        """Result objects that are not through yet and did not fail for good."""
        return self.deliveries[DeliveryState.QUEUED] + self.deliveries[DeliveryState.SENDING]


DestinationName = Annotated[str, Path(max_length=64)]


class DestinationList(BaseModel):
    """Every destination that is configured, or was and has deliveries."""

    model_config = shape({"items": [examples.DESTINATION]})

    items: tuple[DestinationAnswer, ...]


@router.get("", summary="List the destinations", responses=documented())
def list_destinations(parts: Parts) -> DestinationList:
    """Destinations with deliveries per state, and the delivery that has been stuck longest."""
    return DestinationList(items=destinations(parts))


@router.post(
    "/{name}/echo",
    summary="Ask a destination whether it is there",
    responses=documented(403, 404, 409),
    dependencies=TAKES_KEY,
)
def echo_destination(parts: Parts, name: DestinationName) -> EchoAnswer:
    """C-ECHO, Orthanc's system page, or a file that is written: what its type has.

    Send `X-Requested-With` with any value, or a bearer token: no page of another site can.
    """
    return echo(parts, name)


@router.post(
    "/{name}/test",
    summary="Send a destination a test picture",
    responses=documented(403, 404, 409),
    dependencies=TAKES_KEY,
)
def try_destination(parts: Parts, name: DestinationName) -> EchoAnswer:
    """Send a Secondary Capture of no patient, as results are sent, and tell what became of it.

    Each time it is another object of the same study, of patient ``ONCOPIXEL-TEST``; delete it
    there. Send `X-Requested-With` with any value, or a bearer token.
    """
    return send_test(parts, name)


def send_test(parts: ApiParts, name: str) -> EchoAnswer:
    """Send a destination a test picture; one that does not take it is no error of ours.

    Raises
    ------
    NotFound
        When no destination of this name is configured.
    """
    return _answered(parts.test_send, parts, name)


def echo(parts: ApiParts, name: str) -> EchoAnswer:
    """Ask a destination whether it is there; one that is not is no error of ours.

    Raises
    ------
    NotFound
        When no destination of this name is configured.
    """
    return _answered(parts.echo, parts, name)


def _answered(
    check: Callable[[DestinationSettings], str], parts: ApiParts, name: str
) -> EchoAnswer:
    destination = _configured(parts, name)
    try:
        return EchoAnswer(ok=True, said=check(destination))
    except DeliveryFailed as exc:
        return EchoAnswer(ok=False, said=str(exc))


def _configured(parts: ApiParts, name: str) -> DestinationSettings:
    for item in parts.settings.destinations:
        if item.name == name:
            return item
    raise NotFound(f"No destination {name} is configured.")


def destinations(parts: Standing) -> tuple[DestinationAnswer, ...]:
    """Describe the configured destinations, in their order, then the ones of old deliveries."""
    counts = parts.outbox.counts()
    backlogs = parts.outbox.backlogs()
    configured = {item.name: item for item in parts.settings.destinations}
    former = sorted(counts.keys() - configured.keys())
    return tuple(
        _describe(
            parts, name, configured.get(name), counts.get(name, {}), backlogs.get(name, Backlog())
        )
        for name in (*configured, *former)
    )


def _describe(
    parts: Standing,
    name: str,
    settings: DestinationSettings | None,
    counts: Mapping[DeliveryState, int],
    backlog: Backlog,
) -> DestinationAnswer:
    return DestinationAnswer(
        name=name,
        type=settings.type if settings else None,
        address=address_of_destination(settings) if settings else "",
        objects=settings.objects if settings else (),
        configured=settings is not None,
        deliveries={state: counts.get(state, 0) for state in DeliveryState},
        backlog=_backlog(backlog, parts.now()),
        oldest_problem=_oldest_problem(parts, name),
    )


def _backlog(backlog: Backlog, now: datetime) -> BacklogAnswer:
    oldest, circuit = backlog.oldest_queued_at, backlog.circuit
    return BacklogAnswer(
        waiting=backlog.waiting,
        oldest_queued_at=oldest,
        oldest_age_seconds=None if oldest is None else max((now - oldest).total_seconds(), 0.0),
        next_attempt_at=backlog.next_attempt_at,
        circuit=CircuitAnswer(
            open=circuit.open,
            failures=circuit.failures,
            opened_at=circuit.opened_at,
            next_probe_at=circuit.next_probe_at,
            reason=circuit.reason,
        ),
    )


def _oldest_problem(parts: Standing, name: str) -> ProblemDelivery | None:
    found = parts.outbox.oldest_problem(name)
    if found is None:
        return None
    job, delivery = found
    return ProblemDelivery(
        job_id=job.id,
        since=job.created_at,
        sop_instance_uid=delivery.sop_instance_uid,
        state=delivery.state,
        status=delivery.status,
        error=delivery.error,
    )
