"""Routes about the audit trail."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field

from oncopixel_pacs.api.idempotency import TAKES_KEY
from oncopixel_pacs.api.parts import Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.schemas import shape
from oncopixel_pacs.api.studies import Cursor, Limit
from oncopixel_pacs.store.audit_trail import AuditRecord

router = APIRouter(prefix="/api/v1/audit", tags=["audit"])

_EXAMPLE = {
    "id": 42,
    "at": "2025-03-01T12:00:00Z",
    "kind": "view",
    "who": "jane",
    "address": "192.0.2.9",
    "outcome": 0,
    "study_instance_uid": "1.2.826.0.1.3680043.8.498.1",
    "digest": "5f" * 32,
}


Who = Annotated[str, Query(max_length=64, description="Only what this one did.")]
Kind = Annotated[str, Query(max_length=32, description="Only this kind.")]
StudyUid = Annotated[str, Query(max_length=64, description="Only what was done to this study.")]


class AuditAnswer(BaseModel):
    """One record of the audit trail."""

    model_config = shape(_EXAMPLE)

    id: int
    """Number in the chain, from 1 without gaps."""
    at: datetime
    kind: str
    """What was done: view, change, export, import, query, login, sent, received, …"""
    who: str
    """User, token or AE title; empty for someone unknown."""
    address: str
    outcome: int
    """0 success, 4 refused, 8 failed (PS3.15 A.5.2)."""
    study_instance_uid: str
    digest: str
    """SHA-256 over this record and the digest before it."""

    @classmethod
    def of(cls, record: AuditRecord) -> AuditAnswer:
        """Answer for a record."""
        return cls.model_validate(record)


class AuditList(BaseModel):
    """Part of the audit trail, the newest first."""

    model_config = shape({"items": [_EXAMPLE], "next_cursor": None})

    items: tuple[AuditAnswer, ...]
    next_cursor: str | None = Field(description="Fetches what follows; null at the end.")


class AuditCheck(BaseModel):
    """Whether the trail is as it was written."""

    model_config = shape(
        {"intact": True, "records": 1207, "head": f"1207:{'5f' * 32}", "fault": ""}
    )

    intact: bool
    records: int
    """How many were found in order."""
    head: str
    """Number and digest of the last of them; keep it elsewhere, and give it with a later check."""
    fault: str
    """What does not fit; empty when all does."""


@router.get("", summary="List the audit trail, the newest first", responses=documented(404))
def list_audit(
    parts: Parts,
    limit: Limit = 50,
    cursor: Cursor = None,
    who: Who = "",
    kind: Kind = "",
    study_instance_uid: StudyUid = "",
) -> AuditList:
    """Who did what to which study; for admins."""
    page = parts.audit.records(
        limit=limit, cursor=cursor, who=who, kind=kind, study_instance_uid=study_instance_uid
    )
    return AuditList(items=tuple(map(AuditAnswer.of, page.items)), next_cursor=page.next_cursor)


@router.post(
    "/verify", summary="Check the audit trail", responses=documented(409), dependencies=TAKES_KEY
)
def verify_audit(
    parts: Parts,
    head: Annotated[
        str, Query(max_length=128, description="`NUMBER:DIGEST` that an earlier check told.")
    ] = "",
) -> AuditCheck:
    """Check every record against the chain of digests, and that an earlier head is still there."""
    found = parts.audit.verify(head)
    return AuditCheck(
        intact=not found.fault, records=found.records, head=found.head, fault=found.fault
    )


@router.get(
    "/{record_id}",
    summary="Fetch an audit message",
    response_class=Response,
    responses={
        **documented(404),
        200: {
            "description": "The message as XML of PS3.15 A.5.",
            "content": {"application/xml": {"schema": {"type": "string"}}},
        },
    },
)
def fetch_audit_message(
    parts: Parts, record_id: Annotated[int, Path(ge=1, le=2_147_483_647)]
) -> Response:
    """One record as it goes to an audit repository."""
    return Response(parts.audit.record(record_id).message, media_type="application/xml")
