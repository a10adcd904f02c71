"""The buttons beside each finding of a study."""

from __future__ import annotations

from enum import StrEnum

from fastapi import APIRouter
from fastapi.responses import RedirectResponse

from oncopixel_pacs.api.access import AskedBy
from oncopixel_pacs.api.feedback import keep
from oncopixel_pacs.api.parts import Key, Parts
from oncopixel_pacs.store.feedback import Opinion

router = APIRouter(include_in_schema=False, default_response_class=RedirectResponse)


class Press(StrEnum):
    """What a button does."""

    ACCEPT = "accept"
    REJECT = "reject"
    WITHDRAW = "withdraw"


@router.post("/jobs/{job_id}/findings/{tracking_uid}/{press}")
def judge_finding(
    parts: Parts, caller: AskedBy, job_id: Key, tracking_uid: Key, press: Press
) -> RedirectResponse:
    """Keep or forget what one says of a finding, then show the study."""
    if press is Press.WITHDRAW:
        parts.feedback.withdraw(tracking_uid, caller.name)
    else:
        keep(parts, caller.name, job_id, tracking_uid, Opinion(press.value))
    study = parts.ledger.job(job_id).study_instance_uid
    return RedirectResponse(f"/studies/{study}#findings", status_code=303)
