"""Tables of uploads, and of requests that may be repeated."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel

from oncopixel_pacs.store.tables import UtcDateTime


class UploadRow(SQLModel, table=True):
    """One upload over HTTP: its files by name, and the images that they became."""

    __tablename__ = "upload"

    id: str = Field(primary_key=True, max_length=64)
    created_at: datetime = Field(sa_column=Column(UtcDateTime(), nullable=False, index=True))
    images: list[dict[str, str]] = Field(
        default_factory=list, sa_column=Column(JSON, nullable=False)
    )


class IdempotencyKeyRow(SQLModel, table=True):
    """What a request did, by the key it came with; `key` and `content` are digests.

    Of an upload `upload_id` stands for the answer, of all others `status` to `body` are it. Status
    0 is a request under way.
    """

    __tablename__ = "idempotency_key"

    key: str = Field(primary_key=True, max_length=64)
    content: str = Field(max_length=64)
    expires_at: datetime = Field(sa_column=Column(UtcDateTime(), nullable=False, index=True))
    status: int = 0
    media_type: str = ""
    location: str = ""
    body: str = ""
    upload_id: str = ""
