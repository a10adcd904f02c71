"""Tokens of programs: hashed, narrowed, expiring."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlmodel import col, delete, func, select

from oncopixel_pacs.domain.access import AccessRole, ApiToken, Area, Caller, SignIn
from oncopixel_pacs.errors import NotFound
from oncopixel_pacs.store.access_tables import ApiTokenRow, SessionRow
from oncopixel_pacs.store.accounts import digest_of
from oncopixel_pacs.store.database import Database

#: Begins every token, so that scanners of code and logs know one when they see it.
PREFIX = "opx_"
_NOTE_USE_EVERY = timedelta(minutes=10)


class ApiTokens:
    """The tokens in the database.

    Every method that writes is one transaction, committed durably when it returns.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def any(self) -> bool:
        """Whether there is a token, expired or not."""
        with self._database.read() as session:
            return bool(session.exec(select(func.count()).select_from(ApiTokenRow)).one())

    def all(self) -> tuple[ApiToken, ...]:
        """List the tokens, the newest first."""
        newest = select(ApiTokenRow).order_by(col(ApiTokenRow.created_at).desc())
        with self._database.read() as session:
            return tuple(map(_to_token, session.exec(newest).all()))

    def create(
        self,
        name: str,
        role: AccessRole,
        areas: Sequence[Area],
        now: datetime,
        expires_at: datetime | None,
    ) -> tuple[ApiToken, str]:
        """Make a token.

        Returns
        -------
        tuple of ApiToken and str
            What is known of it, and the token itself, which is told this once.
        """
        secret = PREFIX + secrets.token_urlsafe(32)
        row = ApiTokenRow(
            id=secrets.token_hex(4),
            digest=digest_of(secret),
            name=name,
            role=role,
            areas=[str(area) for area in areas],
            created_at=now,
            expires_at=expires_at,
            last_used_at=None,
        )
        with self._database.write() as session:
            session.add(row)
            session.flush()
            return _to_token(row), secret

    def revoke(self, token_id: str) -> ApiToken:
        """Make a token worthless at once, and end the sessions that began with it.

        Raises
        ------
        NotFound
            When there is none of that id.
        """
        with self._database.write() as session:
            row = session.get(ApiTokenRow, token_id)
            if row is None:
                raise NotFound(f"There is no token {token_id}; list them.")
            token = _to_token(row)
            session.delete(row)
            begun_with_it = (
                col(SessionRow.user_name) == token.name,
                col(SessionRow.sign_in) == SignIn.TOKEN,
            )
            session.exec(delete(SessionRow).where(*begun_with_it))
            return token

    def caller_of(self, secret: str, now: datetime) -> Caller | None:
        """Find whose token it is; ``None`` for one that is unknown or has expired."""
        wanted = select(ApiTokenRow).where(ApiTokenRow.digest == digest_of(secret))
        with self._database.read() as session:
            row = session.exec(wanted).first()
            if row is None or (row.expires_at is not None and row.expires_at <= now):
                return None
            token = _to_token(row)
        if token.last_used_at is None or now - token.last_used_at >= _NOTE_USE_EVERY:
            with self._database.write() as session:
                used = session.get(ApiTokenRow, token.id)
                if used is not None:
                    used.last_used_at = now
                    session.add(used)
        return Caller(token.name, token.role, SignIn.TOKEN, token.areas)


def _to_token(row: ApiTokenRow) -> ApiToken:
    return ApiToken(
        row.id,
        row.name,
        AccessRole(row.role),
        tuple(Area(area) for area in row.areas),
        row.created_at,
        row.expires_at,
        row.last_used_at,
    )
