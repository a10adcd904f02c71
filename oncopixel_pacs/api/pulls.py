"""Routes about pulls: ask for a study of an archive, and see how far it has come."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from fastapi import APIRouter
from pydantic import BaseModel, Field

from oncopixel_pacs.api import examples
from oncopixel_pacs.api.entity_tags import TAGGED, tagged
from oncopixel_pacs.api.idempotency import TAKES_KEY
from oncopixel_pacs.api.parts import ApiParts, Key, Parts
from oncopixel_pacs.api.place_schemas import SourceAnswer
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.schemas import shape
from oncopixel_pacs.api.studies import Cursor, Limit
from oncopixel_pacs.domain.pulls import Pull, PullState
from oncopixel_pacs.errors import NotFound
from oncopixel_pacs.settings.section import Uid

router = APIRouter(prefix="/api/v1", tags=["pulls"])


class PullRequest(BaseModel):
    """Which study to fetch, and from where."""

    model_config = shape(examples.PULL_REQUEST)

    study_instance_uid: Uid
    source: str = Field(max_length=64)
    """Name of a configured source."""


class PullAnswer(BaseModel):
    """One request to fetch one study, and how far it has come."""

    model_config = shape(examples.PULL)

    id: str
    study_instance_uid: str
    source: str
    state: PullState
    expected: int | None
    """Objects that the source has and we take; null until it was asked."""
    received: int
    """How many of those we hold."""
    attempts: int
    error: str
    """One sentence; empty while nothing went wrong."""
    created_at: datetime
    next_attempt_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, pull: Pull) -> Self:
        """Answer for a pull."""
        return cls.model_validate(pull)


class PullList(BaseModel):
    """Part of the list of pulls, the newest first."""

    model_config = shape({"items": [examples.PULL], "next_cursor": None})

    items: tuple[PullAnswer, ...]
    next_cursor: str | None = Field(description="Fetches what follows; null at the end.")


class SourceList(BaseModel):
    """The configured sources."""

    model_config = shape({"items": [examples.SOURCE]})

    items: tuple[SourceAnswer, ...]


@router.post(
    "/studies",
    summary="Fetch a study from an archive",
    status_code=202,
    responses=documented(400, 403, 404, 409, 503),
    dependencies=TAKES_KEY,
)
def pull_study(parts: Parts, wanted: PullRequest) -> PullAnswer:
    """Ask for a study of a configured source; what is held already is not fetched again.

    While the same study is asked for already, that pull is answered. Send `X-Requested-With`
    with any value, or a bearer token: no page of another site can.
    """
    return PullAnswer.of(ask(parts, wanted))


@router.get("/pulls", summary="List pulls, the newest first", responses=documented(404))
def list_pulls(parts: Parts, limit: Limit = 50, cursor: Cursor = None) -> PullList:
    """List pulls with their progress."""
    page = parts.pulls.pulls(limit=limit, cursor=cursor)
    items = tuple(PullAnswer.of(item) for item in page.items)
    return PullList(items=items, next_cursor=page.next_cursor)


@router.get(
    "/pulls/{pull_id}",
    summary="Show one pull",
    responses=tagged(documented(404)),
    dependencies=TAGGED,
)
def show_pull(parts: Parts, pull_id: Key) -> PullAnswer:
    """One pull: state, objects expected and received, what went wrong."""
    return PullAnswer.of(parts.pulls.pull(pull_id))


@router.get(
    "/sources", summary="List the sources", responses=tagged(documented()), dependencies=TAGGED
)
def list_sources(parts: Parts) -> SourceList:
    """List archives from which studies can be pulled. No password is told."""
    return SourceList(items=tuple(SourceAnswer.of(item) for item in parts.settings.sources))


def ask(parts: ApiParts, wanted: PullRequest) -> Pull:
    """Ask for a study.

    Raises
    ------
    NotFound
        When no source has that name.
    """
    names = [item.name for item in parts.settings.sources]
    if wanted.source not in names:
        known = f"it has {', '.join(names)}" if names else "none is configured in [[sources]]"
        raise NotFound(f"There is no source {wanted.source}; {known}.")
    return parts.pulls.add(wanted.study_instance_uid, wanted.source, parts.now())
