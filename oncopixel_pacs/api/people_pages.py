"""The page about who may come in: users with passwords, and tokens of programs. For admins."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, ValidationError

from oncopixel_pacs.api.access import AskedBy
from oncopixel_pacs.api.pages import Templates
from oncopixel_pacs.api.parts import Parts
from oncopixel_pacs.api.people import (
    MadeToken,
    NewToken,
    NewUser,
    UserChange,
    add_user,
    change_user,
    make_token,
    remove_user,
    revoke_token,
)
from oncopixel_pacs.api.rendering import Pages
from oncopixel_pacs.api.sign_in import form_fields
from oncopixel_pacs.domain.access import AccessRole, Area
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.passwords import LEAST_LENGTH

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_BACK = "/users"


async def fields_of(request: Request) -> dict[str, list[str]]:
    """Read the fields of a form."""
    return await form_fields(request)


Fields = Annotated[dict[str, list[str]], Depends(fields_of)]


@router.get("/users")
def show_people(parts: Parts, pages: Templates, caller: AskedBy) -> HTMLResponse:
    """Users and tokens, with the forms that add one."""
    return _page(parts, pages, caller.name)


@router.post("/users")
def add(parts: Parts, pages: Templates, caller: AskedBy, fields: Fields) -> Response:
    """Add a user, then show who there is; what does not fit is said above the form."""
    try:
        add_user(parts, NewUser.model_validate(_only(fields, NewUser)))
    except ValidationError:
        return _page(parts, pages, caller.name, complaint=_WRONG_USER, status=422)
    except ConfigurationError as exc:
        return _page(parts, pages, caller.name, complaint=str(exc), status=409)
    return RedirectResponse(_BACK, status_code=303)


@router.post("/users/{name}/change")
def change(parts: Parts, pages: Templates, caller: AskedBy, name: str, fields: Fields) -> Response:
    """Give a user another role or password, then show who there is."""
    given = {key: value for key, value in _only(fields, UserChange).items() if value}
    try:
        wanted = UserChange.model_validate(given)
    except ValidationError:
        return _page(parts, pages, caller.name, complaint=_WRONG_USER, status=422)
    change_user(parts, name, wanted)
    return RedirectResponse(_BACK, status_code=303)


@router.post("/users/{name}/remove", response_class=RedirectResponse)
def remove(parts: Parts, name: str) -> RedirectResponse:
    """Remove a user, then show who is left."""
    remove_user(parts, name)
    return RedirectResponse(_BACK, status_code=303)


@router.post("/tokens")
def make(parts: Parts, pages: Templates, caller: AskedBy, fields: Fields) -> HTMLResponse:
    """Make a token and show it, this once."""
    given = {**_only(fields, NewToken), "areas": fields.get("areas", [])}
    try:
        made = make_token(parts, NewToken.model_validate(given))
    except ValidationError:
        return _page(parts, pages, caller.name, complaint=_WRONG_DAYS, status=422)
    return _page(parts, pages, caller.name, made=made)


@router.post("/tokens/{token_id}/revoke", response_class=RedirectResponse)
def revoke(parts: Parts, token_id: str) -> RedirectResponse:
    """Make a token worthless, then show those that are left."""
    revoke_token(parts, token_id)
    return RedirectResponse(_BACK, status_code=303)


_WRONG_USER = (
    "A name has letters, digits, . _ @ + - and blanks, 64 at most, and a password has "
    f"{LEAST_LENGTH} characters or more; correct what does not fit."
)
_WRONG_DAYS = (
    "A name has letters, digits, . _ @ + - and blanks, 64 at most, and a token lasts from 1 to "
    "3650 days; correct what does not fit."
)


def _page(
    parts: Parts,
    pages: Pages,
    own_name: str,
    *,
    complaint: str = "",
    made: MadeToken | None = None,
    status: int = 200,
) -> HTMLResponse:
    return pages.render(
        "people.html",
        status=status,
        users=parts.accounts.users(),
        tokens=parts.tokens.all(),
        roles=list(AccessRole),
        areas=list(Area),
        own_name=own_name,
        least_length=LEAST_LENGTH,
        complaint=complaint,
        made=made,
        now=parts.now(),
    )


def _only(fields: dict[str, list[str]], model: type[BaseModel]) -> dict[str, str]:
    """First value of each field that a model has."""
    return {name: fields[name][0] for name in model.model_fields if fields.get(name)}
