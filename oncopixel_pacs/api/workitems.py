"""Route about workitems: what worklists asked of us, and how far it has come (beta)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from fastapi import APIRouter
from pydantic import BaseModel, Field

from oncopixel_pacs.api.parts import Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.schemas import shape
from oncopixel_pacs.api.studies import Cursor, Limit
from oncopixel_pacs.domain.workitems import Workitem, WorkitemState

router = APIRouter(prefix="/api/v1", tags=["pulls"])

_EXAMPLE: dict[str, Any] = {
    "id": "8a1fd0c2b7e94c55a3d6e0f1729b4c83",
    "worklist": "ris",
    "workitem_uid": "1.2.826.0.1.3680043.10.511.3.7",
    "study_instance_uid": "1.2.826.0.1.3680043.10.511.3.1",
    "state": "claimed",
    "pull_id": "0c4be7d12a5f4f6b8e9d7a31",
    "attempts": 0,
    "error": "",
    "created_at": "2026-03-02T09:30:40Z",
    "claimed_at": "2026-03-02T09:30:41Z",
    "next_attempt_at": "2026-03-02T09:31:11Z",
    "ended_at": None,
}


class WorkitemAnswer(BaseModel):
    """One workitem of a worklist that we took up."""

    model_config = shape(_EXAMPLE)

    id: str
    worklist: str
    workitem_uid: str
    study_instance_uid: str
    state: WorkitemState
    pull_id: str
    """The pull that was asked for; empty where there is none."""
    attempts: int
    """How often it was taken up since anything came of it."""
    error: str
    """One sentence; empty while nothing went wrong."""
    created_at: datetime
    claimed_at: datetime | None
    next_attempt_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, workitem: Workitem) -> Self:
        """Answer for a workitem, without its Transaction UID: who knows it may end our work."""
        return cls.model_validate(workitem)


class WorkitemList(BaseModel):
    """Part of the list of workitems, the newest first."""

    model_config = shape({"items": [_EXAMPLE], "next_cursor": None})

    items: tuple[WorkitemAnswer, ...]
    next_cursor: str | None = Field(description="Fetches what follows; null at the end.")


@router.get("/workitems", summary="List workitems, the newest first", responses=documented(404))
def list_workitems(parts: Parts, limit: Limit = 50, cursor: Cursor = None) -> WorkitemList:
    """List what was taken up from worklists (beta), and how far it has come."""
    page = parts.workitems.workitems(limit=limit, cursor=cursor)
    items = tuple(WorkitemAnswer.of(item) for item in page.items)
    return WorkitemList(items=items, next_cursor=page.next_cursor)
