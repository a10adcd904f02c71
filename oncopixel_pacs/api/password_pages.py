"""The page on which a user changes the own password."""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, Response

from oncopixel_pacs.api.access import AskedBy
from oncopixel_pacs.api.pages import Templates
from oncopixel_pacs.api.parts import ApiParts, Parts
from oncopixel_pacs.api.people_pages import fields_of
from oncopixel_pacs.api.rendering import Pages
from oncopixel_pacs.api.sign_in import begin_session, recognise_user, waiting_seconds
from oncopixel_pacs.domain.access import Caller, SignIn
from oncopixel_pacs.passwords import LEAST_LENGTH, MOST_LENGTH, hash_password

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/password")
def show_password(pages: Templates, caller: AskedBy) -> HTMLResponse:
    """Show the form, or where else the password is kept."""
    return _page(pages, caller)


@router.post("/password")
async def change_password(
    request: Request,
    parts: Parts,
    pages: Templates,
    caller: AskedBy,
    fields: Annotated[dict[str, list[str]], Depends(fields_of)],
) -> Response:
    """Take a new password from who knows the old one; all other sessions of the user end."""
    if caller.sign_in is not SignIn.PASSWORD:
        return _page(pages, caller, "Only who signed in with a password has one here.", 409)
    given = {name: values[0] for name, values in fields.items()}
    wait = waiting_seconds(request, caller.name)
    if wait:
        raise HTTPException(
            429, f"Too many failures; try again in {wait} s.", headers={"Retry-After": str(wait)}
        )
    new = given.get("new", "")
    if not LEAST_LENGTH <= len(new) <= MOST_LENGTH:
        said = f"A password has {LEAST_LENGTH} to {MOST_LENGTH} characters; choose a longer one."
        return _page(pages, caller, said, 422)
    if new != given.get("again", ""):
        return _page(pages, caller, "The new password was not written the same way twice.", 422)
    if await recognise_user(request, caller.name, given.get("current", "")) is None:
        return _page(pages, caller, "That is not the password until now.", 422)
    await to_thread.run_sync(_keep, parts, caller.name, new)
    return await begin_session(request, caller, "/")


def _keep(parts: ApiParts, name: str, password: str) -> None:
    parts.accounts.change(name, password_hash=hash_password(password))


def _page(pages: Pages, caller: Caller, complaint: str = "", status: int = 200) -> HTMLResponse:
    return pages.render(
        "password.html",
        status=status,
        name=caller.name,
        own=caller.sign_in is SignIn.PASSWORD,
        least_length=LEAST_LENGTH,
        most_length=MOST_LENGTH,
        complaint=complaint,
    )
