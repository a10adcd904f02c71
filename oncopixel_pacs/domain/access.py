"""Who asks over HTTP, and what such a one may do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class AccessRole(StrEnum):
    """What a caller may do; each role may do what the one before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, other: AccessRole) -> bool:
        """Whether this role may do what `other` may."""
        order = list(AccessRole)
        return order.index(self) >= order.index(other)


class Area(StrEnum):
    """Part of the server that a token can be narrowed to."""

    API = "api"
    DICOMWEB = "dicomweb"
    UPLOAD = "upload"
    METRICS = "metrics"
    PAGES = "pages"


class SignIn(StrEnum):
    """How a caller said who it is."""

    NOBODY = "open"
    TOKEN = "token"  # noqa: S105
    PASSWORD = "password"  # noqa: S105
    OIDC = "oidc"


@dataclass(frozen=True, slots=True)
class Caller:
    """Someone who came in.

    Attributes
    ----------
    name
        Of the user or token; empty where the server is open.
    areas
        Where it may go; everywhere when empty.
    """

    name: str
    role: AccessRole
    sign_in: SignIn
    areas: tuple[Area, ...] = ()


@dataclass(frozen=True, slots=True)
class User:
    """A person with a password kept here; the hash is Argon2id in PHC format (RFC 9106)."""

    name: str
    role: AccessRole
    created_at: datetime
    password_hash: str


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token of a program. The token itself is told once, when it is made.

    Attributes
    ----------
    expires_at
        ``None`` for one that does not expire.
    last_used_at
        To ten minutes; ``None`` for never.
    """

    id: str
    name: str
    role: AccessRole
    areas: tuple[Area, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
