"""Users with passwords, and the sign-ins of browsers."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, delete, func, select

from oncopixel_pacs.domain.access import AccessRole, Caller, SignIn, User
from oncopixel_pacs.errors import ConfigurationError, NotFound
from oncopixel_pacs.store.access_tables import ApiTokenRow, SessionRow, UserRow
from oncopixel_pacs.store.database import Database


class Accounts:
    """Users and their sessions in the database.

    Every method that writes is one transaction, committed durably when it returns.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def any(self) -> bool:
        """Whether there is a user."""
        with self._database.read() as session:
            return bool(session.exec(select(func.count()).select_from(UserRow)).one())

    def users(self) -> tuple[User, ...]:
        """List the users by name."""
        with self._database.read() as session:
            rows = session.exec(select(UserRow).order_by(col(UserRow.name))).all()
            return tuple(map(_to_user, rows))

    def user(self, name: str) -> User | None:
        """Find a user."""
        with self._database.read() as session:
            row = session.get(UserRow, name)
            return None if row is None else _to_user(row)

    def add(self, user: User) -> None:
        """Keep a new user.

        Raises
        ------
        ConfigurationError
            When there is one of that name.
        """
        with self._database.write() as session:
            if session.get(UserRow, user.name) is not None:
                raise ConfigurationError(f"There is a user {user.name} already; choose another.")
            session.add(
                UserRow(
                    name=user.name,
                    role=user.role,
                    password_hash=user.password_hash,
                    created_at=user.created_at,
                )
            )

    def change(
        self, name: str, *, role: AccessRole | None = None, password_hash: str | None = None
    ) -> User:
        """Give a user another role or password; a new password ends the user's sessions.

        Raises
        ------
        NotFound
            When there is no such user.
        """
        with self._database.write() as session:
            row = session.get(UserRow, name)
            if row is None:
                raise NotFound(f"There is no user {name}.")
            if role is not None:
                row.role = role
            if password_hash is not None:
                row.password_hash = password_hash
                session.exec(delete(SessionRow).where(*_local_sessions(name)))
            session.add(row)
            return _to_user(row)

    def remove(self, name: str) -> None:
        """Remove a user and end all its sessions; those of an account of the institution, too.

        Raises
        ------
        NotFound
            When there is no such user, and nobody is signed in with such an account.
        """
        of_institution = (col(SessionRow.user_name) == name, col(SessionRow.sign_in) == SignIn.OIDC)
        with self._database.write() as session:
            signed_out = session.exec(delete(SessionRow).where(*of_institution)).rowcount
            row = session.get(UserRow, name)
            if row is None and not signed_out:
                raise NotFound(f"There is no user {name}.")
            if row is not None:
                session.delete(row)
                session.exec(delete(SessionRow).where(*_local_sessions(name)))

    def begin_session(self, caller: Caller, now: datetime, until: datetime, token: str = "") -> str:
        """Begin a session; what has expired is forgotten.

        Parameters
        ----------
        token
            With which the caller signed in, if so; the session ends with it.

        Returns
        -------
        str
            What the browser keeps; only its digest is kept here.
        """
        secret = secrets.token_urlsafe(32)
        of_ours = caller.sign_in is SignIn.PASSWORD
        with self._database.write() as session:
            session.exec(delete(SessionRow).where(col(SessionRow.expires_at) <= now))
            session.add(
                SessionRow(
                    digest=digest_of(secret),
                    user_name=caller.name,
                    sign_in=caller.sign_in,
                    role="" if of_ours else caller.role,
                    expires_at=until,
                    began_with=digest_of(token) if token else "",
                )
            )
        return secret

    def caller_of_session(
        self, secret: str, now: datetime, configured: Collection[str] = ()
    ) -> Caller | None:
        """Find whose session it is; a user's role is the one it has now.

        Parameters
        ----------
        configured
            Digests of the tokens of the configuration.
        """
        with self._database.read() as session:
            row = session.get(SessionRow, digest_of(secret))
            if row is None or row.expires_at <= now:
                return None
            came_with_token = row.sign_in == SignIn.TOKEN and row.began_with not in configured
            if came_with_token and not _holds(session, row.began_with, now):
                return None
            role = row.role
            if not role:
                user = session.get(UserRow, row.user_name)
                if user is None:
                    return None
                role = user.role
            return Caller(row.user_name, AccessRole(role), SignIn(row.sign_in))

    def end_session(self, secret: str) -> None:
        """End a session; again is no harm."""
        with self._database.write() as session:
            row = session.get(SessionRow, digest_of(secret))
            if row is not None:
                session.delete(row)


def digest_of(secret: str) -> str:
    """SHA-256 in hex; enough for a secret of 256 random bits, which nobody guesses."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _holds(session: Session, digest: str, now: datetime) -> bool:
    """Whether a token that was made here is still good."""
    row = session.exec(select(ApiTokenRow).where(ApiTokenRow.digest == digest)).first()
    return row is not None and (row.expires_at is None or row.expires_at > now)


def _local_sessions(name: str) -> tuple[ColumnElement[bool], ...]:
    return (col(SessionRow.user_name) == name, col(SessionRow.sign_in) == SignIn.PASSWORD)


def _to_user(row: UserRow) -> User:
    return User(row.name, AccessRole(row.role), row.created_at, row.password_hash)
