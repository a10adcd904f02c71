"""Route about the quarantine: results that did not pass the gate."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel

from oncopixel_pacs.api import examples
from oncopixel_pacs.api.parts import Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.schemas import shape
from oncopixel_pacs.domain import ObjectKind

router = APIRouter(prefix="/api/v1/quarantine", tags=["quarantine"])


class QuarantinedAnswer(BaseModel):
    """One result object that is held back with its set, never sent."""

    model_config = shape(examples.QUARANTINED)

    job_id: str
    kind: ObjectKind
    sop_instance_uid: str
    series_description: str
    size_bytes: int
    sha256: str
    path: str
    """File, relative to the data directory."""
    problems: tuple[str, ...]
    """What is wrong with it; empty where the fault is another's of the set."""
    held_at: datetime


class QuarantineList(BaseModel):
    """What is held back now, the newest first, at most 200."""

    model_config = shape({"items": [examples.QUARANTINED]})

    items: tuple[QuarantinedAnswer, ...]


@router.get("", summary="List results that are held back", responses=documented())
def list_quarantine(parts: Parts) -> QuarantineList:
    """List result objects that did not pass the gate, or whose set did not, with the reason."""
    held = parts.quarantine.held()
    return QuarantineList(items=tuple(QuarantinedAnswer.model_validate(item) for item in held))
