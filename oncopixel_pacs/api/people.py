"""Routes about who may come in: users with passwords, and tokens of programs. For admins."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field, SecretStr

from oncopixel_pacs.api.entity_tags import TAGGED, tagged
from oncopixel_pacs.api.idempotency import TAKES_KEY
from oncopixel_pacs.api.parts import Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.schemas import shape
from oncopixel_pacs.domain.access import AccessRole, Area, User
from oncopixel_pacs.errors import NotFound
from oncopixel_pacs.passwords import LEAST_LENGTH, MOST_LENGTH, hash_password

router = APIRouter(prefix="/api/v1", tags=["access"])

_NAME = r"^[\w.@+\-]([\w.@+\- ]{0,62}[\w.@+\-])?$"
_MOST_DAYS = 3650
_USER: dict[str, Any] = {"name": "jane", "role": "operator", "created_at": "2025-03-01T12:00:00Z"}
_TOKEN: dict[str, Any] = {
    "id": "5f0c1d7e",
    "name": "ris",
    "role": "viewer",
    "areas": ["dicomweb"],
    "created_at": "2025-03-01T12:00:00Z",
    "expires_at": "2026-03-01T12:00:00Z",
    "last_used_at": None,
}

Name = Annotated[str, Field(pattern=_NAME, description="Letters, digits, `. _ @ + -`, blanks.")]
Password = Annotated[SecretStr, Field(min_length=LEAST_LENGTH, max_length=MOST_LENGTH)]
InName = Annotated[str, Path(pattern=r"^[^/]{1,64}$")]


class UserAnswer(BaseModel):
    """A person who signs in with a password; the password is not told."""

    model_config = shape(_USER)

    name: str
    role: AccessRole
    created_at: datetime


class UserList(BaseModel):
    """Everyone who signs in with a password, by name."""

    model_config = shape({"items": [_USER]})

    items: tuple[UserAnswer, ...]


class NewUser(BaseModel):
    """A user to be added."""

    model_config = shape({"name": "jane", "role": "operator", "password": "four words will do"})

    name: Name
    role: AccessRole = AccessRole.VIEWER
    password: Password


class UserChange(BaseModel):
    """What is to change of a user; what is absent stays."""

    model_config = shape({"role": "admin", "password": None})

    role: AccessRole | None = None
    password: Password | None = None
    """Whoever is signed in under the name is signed out by a new one."""


class TokenAnswer(BaseModel):
    """A token of a program; the token itself is not kept."""

    model_config = shape(_TOKEN)

    id: str
    name: str
    role: AccessRole
    areas: tuple[Area, ...]
    """Where it may go; everywhere when empty."""
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    """To ten minutes."""


class MadeToken(TokenAnswer):
    """A new token, which is told this once."""

    model_config = shape({**_TOKEN, "token": "opx_…"})

    token: str


class TokenList(BaseModel):
    """The tokens, the newest first."""

    model_config = shape({"items": [_TOKEN]})

    items: tuple[TokenAnswer, ...]


class NewToken(BaseModel):
    """A token to be made."""

    model_config = shape({"name": "ris", "role": "viewer", "areas": ["dicomweb"], "days": 365})

    name: Name
    role: AccessRole = AccessRole.VIEWER
    areas: tuple[Area, ...] = ()
    days: int = Field(default=365, ge=1, le=_MOST_DAYS)
    """Until it expires."""


@router.get("/users", summary="List the users", responses=tagged(documented()), dependencies=TAGGED)
def list_users(parts: Parts) -> UserList:
    """List who signs in with a password, with roles."""
    return _users(parts)


@router.post(
    "/users",
    summary="Add a user",
    status_code=201,
    responses=documented(400, 409),
    dependencies=TAKES_KEY,
)
def add_user(parts: Parts, user: NewUser) -> UserAnswer:
    """Add a user, who may sign in at once. The name must be free."""
    hashed = hash_password(user.password.get_secret_value())
    added = User(user.name, user.role, parts.now(), hashed)
    parts.accounts.add(added)
    return UserAnswer.model_validate(added)


@router.patch("/users/{name}", summary="Change a user", responses=documented(400, 404))
def change_user(parts: Parts, name: InName, change: UserChange) -> UserAnswer:
    """Give a user another role, another password, or both; it holds at once."""
    if parts.accounts.user(name) is None:
        raise NotFound(f"There is no user {name}.")
    hashed = hash_password(change.password.get_secret_value()) if change.password else None
    changed = parts.accounts.change(name, role=change.role, password_hash=hashed)
    return UserAnswer.model_validate(changed)


@router.delete("/users/{name}", summary="Remove a user", responses=documented(404))
def remove_user(parts: Parts, name: InName) -> UserList:
    """Remove a user, who is signed out at once. Answers with who is left."""
    parts.accounts.remove(name)
    return _users(parts)


@router.get(
    "/tokens", summary="List the tokens", responses=tagged(documented()), dependencies=TAGGED
)
def list_tokens(parts: Parts) -> TokenList:
    """List the tokens of programs, the newest first."""
    return _tokens(parts)


@router.post(
    "/tokens",
    summary="Make a token",
    status_code=201,
    responses=documented(400, 409),
    dependencies=TAKES_KEY,
)
def make_token(parts: Parts, wanted: NewToken) -> MadeToken:
    """Make a token and tell it, this once."""
    now = parts.now()
    until = now + timedelta(days=wanted.days)
    made, secret = parts.tokens.create(wanted.name, wanted.role, wanted.areas, now, until)
    return MadeToken(**TokenAnswer.model_validate(made).model_dump(), token=secret)


@router.delete("/tokens/{token_id}", summary="Revoke a token", responses=documented(404))
def revoke_token(
    parts: Parts, token_id: Annotated[str, Path(pattern=r"^[0-9a-f]{1,16}$")]
) -> TokenList:
    """Make a token worthless at once. Answers with those that are left."""
    parts.tokens.revoke(token_id)
    return _tokens(parts)


def _users(parts: Parts) -> UserList:
    return UserList(items=tuple(map(UserAnswer.model_validate, parts.accounts.users())))


def _tokens(parts: Parts) -> TokenList:
    return TokenList(items=tuple(map(TokenAnswer.model_validate, parts.tokens.all())))
