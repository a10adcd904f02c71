"""Tables of who may come in over HTTP. Secrets are kept as digests alone."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, text
from sqlmodel import Field, SQLModel

from oncopixel_pacs.store.tables import UtcDateTime


def _moment(nullable: bool = False, index: bool = False) -> Any:
    return Field(sa_column=Column(UtcDateTime(), nullable=nullable, index=index))


class UserRow(SQLModel, table=True):
    """A person who signs in with a password."""

    __tablename__ = "user_account"

    name: str = Field(primary_key=True, max_length=64)
    role: str
    password_hash: str
    created_at: datetime = _moment()


class ApiTokenRow(SQLModel, table=True):
    """A token of a program; `digest` is its SHA-256."""

    __tablename__ = "api_token"

    id: str = Field(primary_key=True, max_length=16)
    digest: str = Field(unique=True)
    name: str
    role: str
    areas: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    created_at: datetime = _moment()
    expires_at: datetime | None = _moment(nullable=True)
    last_used_at: datetime | None = _moment(nullable=True)


class SessionRow(SQLModel, table=True):
    """A sign-in of a browser; `role` is empty for a user of ours, who has one.

    `began_with` is the digest of the token that began it, if one did.
    """

    __tablename__ = "web_session"

    digest: str = Field(primary_key=True)
    user_name: str = Field(index=True)
    sign_in: str
    role: str = ""
    expires_at: datetime = _moment(index=True)
    began_with: str = Field(default="", sa_column_kwargs={"server_default": text("''")})
