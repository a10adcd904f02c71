"""Idempotency keys: what a request with a key did, so that a repeat does it not again.

Of a key only a digest is kept, bound to who sent it; of the request a digest keyed with the key
itself, so that nothing in the database tells a password that was in it.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlmodel import Session, col

from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.tallies import insert_new
from oncopixel_pacs.store.upload_tables import IdempotencyKeyRow

#: For how long a repeat is known.
KEPT = timedelta(days=1)
#: For how long a request is under way at the most; a server that stopped over it ends none.
UNDER_WAY = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What was answered to the request that came with a key.

    Attributes
    ----------
    status
        HTTP status; 0 while the request is under way.
    upload_id
        The upload that it made; empty for every other request.
    """

    content: str
    status: int
    media_type: str
    location: str
    body: str
    upload_id: str


class IdempotencyKeys:
    """Keys and answers in the database; what is over is removed as new keys come."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, key: str, content: str, now: datetime) -> KeptAnswer | None:
        """Take up a request; ``None`` when it is new, and to be done.

        Parameters
        ----------
        key, content
            Digests, as `digest_of_key` and `digest_of_request` make them.
        """
        with self._database.write() as session:
            forget_old(session, now)
            row = {"key": key, "content": content, "expires_at": now + UNDER_WAY}
            if insert_new(session, IdempotencyKeyRow, row):
                return None
            return _to_answer(session.get_one(IdempotencyKeyRow, key))

    def finish(
        self, key: str, now: datetime, status: int, media_type: str, location: str, body: str
    ) -> None:
        """Keep the answer to a request that was taken up."""
        with self._database.write() as session:
            row = session.get(IdempotencyKeyRow, key)
            if row is not None:
                row.status, row.media_type, row.location = status, media_type, location
                row.body, row.expires_at = body, now + KEPT

    def release(self, key: str) -> None:
        """Forget a request that came to nothing: it may be tried again under the same key."""
        with self._database.write() as session:
            row = session.get(IdempotencyKeyRow, key)
            if row is not None and not row.status:
                session.delete(row)


def digest_of_key(who: str, key: str) -> str:
    """Digest of a key, bound to who sent it: others may use the same one."""
    return hashlib.sha256(f"{who}\x1f{key}".encode()).hexdigest()


def digest_of_request(key: str, *parts: bytes) -> str:
    """Digest of a request, which nobody who does not know its key can guess at."""
    mac = hmac.new(key.encode(), digestmod=hashlib.sha256)
    for part in parts:
        mac.update(len(part).to_bytes(8))
        mac.update(part)
    return mac.hexdigest()


def forget_old(session: Session, now: datetime) -> None:
    """Remove what is over."""
    old = delete(IdempotencyKeyRow).where(col(IdempotencyKeyRow.expires_at) <= now)
    session.connection().execute(old)


def _to_answer(row: IdempotencyKeyRow) -> KeptAnswer:
    return KeptAnswer(
        row.content, row.status, row.media_type, row.location, row.body, row.upload_id
    )
