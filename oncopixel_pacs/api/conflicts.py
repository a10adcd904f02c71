"""Routes about conflicts: other content that came under a UID that is held."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel

from oncopixel_pacs.api.idempotency import TAKES_KEY
from oncopixel_pacs.api.parts import Key, Parts, RowId
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.schemas import shape
from oncopixel_pacs.api.studies import Limit
from oncopixel_pacs.domain.conflicts import ShownConflict

router = APIRouter(prefix="/api/v1/studies/{study_instance_uid}/conflicts", tags=["studies"])

_DIFFERENCE: dict[str, Any] = {"name": "PatientName", "held": "DOE^JAN", "other": "DOE^JANE"}
_CONFLICT: dict[str, Any] = {
    "id": 7,
    "sop_instance_uid": "1.2.826.0.1.3680043.8.498.10.1",
    "received_at": "2026-03-02T10:02:11Z",
    "calling_ae_title": "MAMMO1",
    "differences": [_DIFFERENCE],
}
#: Which conflicts of a study are meant.
Chosen = Annotated[
    tuple[RowId, ...],
    Query(alias="id", max_length=200, description="Only these; without any, all of the study."),
]


class DifferenceAnswer(BaseModel):
    """One attribute that the two contents do not share."""

    model_config = shape(_DIFFERENCE)

    name: str
    """Keyword, or the tag of a private attribute."""
    held: str | None
    """Value of what is held, cut when it is long; null where the attribute is missing."""
    other: str | None
    """Value of what came later."""


class ConflictAnswer(BaseModel):
    """Content that came under the UID of an image that is held, with other content."""

    model_config = shape(_CONFLICT)

    id: int
    sop_instance_uid: str
    received_at: datetime
    calling_ae_title: str
    differences: tuple[DifferenceAnswer, ...]

    @classmethod
    def of(cls, shown: ShownConflict) -> Self:
        """Answer for a conflict."""
        conflict = shown.conflict
        return cls(
            id=conflict.id,
            sop_instance_uid=conflict.sop_instance_uid,
            received_at=conflict.received_at,
            calling_ae_title=conflict.calling_ae_title,
            differences=tuple(map(DifferenceAnswer.model_validate, shown.differences)),
        )


class ConflictList(BaseModel):
    """Conflicts of a study, the oldest first."""

    model_config = shape({"items": [_CONFLICT]})

    items: tuple[ConflictAnswer, ...]


class SettledAnswer(BaseModel):
    """What was settled."""

    model_config = shape({"settled": 4})

    settled: int
    """Images that have other content now, or contents that were removed."""


@router.get("", summary="List the conflicts of a study", responses=documented(404))
def list_conflicts(parts: Parts, study_instance_uid: Key, limit: Limit = 50) -> ConflictList:
    """Content that came under a UID that is held, with what tells the two apart."""
    found = parts.conflicts_of(study_instance_uid, limit)
    return ConflictList(items=tuple(ConflictAnswer.of(item) for item in found))


@router.post(
    "/take",
    summary="Put what came later in place of what is held",
    status_code=202,
    responses=documented(403, 404, 409, 503),
    dependencies=TAKES_KEY,
)
def take_conflicts(parts: Parts, study_instance_uid: Key, chosen: Chosen = ()) -> SettledAnswer:
    """Remove what was held, and have the study read anew; of several contents the last is taken.

    409 while the study is being read. Send `X-Requested-With` with any value, or a bearer
    token: no page of another site can.
    """
    return SettledAnswer(settled=parts.take_conflicts(study_instance_uid, chosen))


@router.post(
    "/dismiss",
    summary="Keep what is held",
    responses=documented(403, 404, 409, 503),
    dependencies=TAKES_KEY,
)
def dismiss_conflicts(parts: Parts, study_instance_uid: Key, chosen: Chosen = ()) -> SettledAnswer:
    """Remove what came later; the study stays as it is.

    Send `X-Requested-With` with any value, or a bearer token: no page of another site can.
    """
    return SettledAnswer(settled=parts.dismiss_conflicts(study_instance_uid, chosen))
