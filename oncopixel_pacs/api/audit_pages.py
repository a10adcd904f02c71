"""The page about the audit trail: who did what to which study, and whether it is whole."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from oncopixel_pacs.api.audit_records import Kind, StudyUid, Who
from oncopixel_pacs.api.pages import Templates
from oncopixel_pacs.api.parts import Parts
from oncopixel_pacs.api.studies import Cursor
from oncopixel_pacs.audit import AuditKind

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_ROWS = 50
_OUTCOMES = {0: "ok", 4: "refused", 8: "failed"}


@router.get("/audit")
def show_audit(
    parts: Parts,
    pages: Templates,
    cursor: Cursor = None,
    who: Who = "",
    kind: Kind = "",
    study_instance_uid: StudyUid = "",
) -> HTMLResponse:
    """Show records, the newest first, as searched for."""
    asked = {"who": who.strip(), "kind": kind, "study_instance_uid": study_instance_uid.strip()}
    page = parts.audit.records(limit=_ROWS, cursor=cursor, **asked)
    return pages.render(
        "audit.html",
        records=page.items,
        next_cursor=page.next_cursor,
        asked=asked,
        query=urlencode({name: value for name, value in asked.items() if value}),
        kinds=[item.name.lower() for item in AuditKind],
        outcomes=_OUTCOMES,
        now=parts.now(),
    )


@router.post("/audit/verify")
def verify_audit(
    parts: Parts, pages: Templates, head: Annotated[str, Query(max_length=128)] = ""
) -> HTMLResponse:
    """Check every record against the chain; htmx puts the answer beside the button."""
    return pages.render("audit_checked.html", found=parts.audit.verify(head), now=parts.now())
