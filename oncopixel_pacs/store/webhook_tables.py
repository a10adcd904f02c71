"""Tables of webhooks: what was told to whom, and up to where the ledger was read for it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Column, Index, text
from sqlmodel import Field, SQLModel

from oncopixel_pacs.store.tables import UtcDateTime


def _moment(nullable: bool = False) -> Any:
    return Field(sa_column=Column(UtcDateTime(), nullable=nullable))


class WebhookRow(SQLModel, table=True):
    """One receiver: every job that ended before `read_until` has its call."""

    __tablename__ = "webhook"

    name: str = Field(primary_key=True, max_length=64)
    read_until: datetime = _moment()


class WebhookCallRow(SQLModel, table=True):
    """One end of a job that one receiver is to be told of.

    Of an export `content` is a digest of what it says, from before it is first sent, and
    `statements` how many Observations of the job were told by then, at most.
    """

    __tablename__ = "webhook_call"
    __table_args__ = (
        Index("ix_webhook_call_due", "webhook", "state", "next_attempt_at"),
        Index("ix_webhook_call_finished", "finished_at", "id"),
        Index("ix_webhook_call_job", "webhook", "job_id"),
    )

    id: str = Field(primary_key=True, max_length=64)
    webhook: str
    job_id: str = Field(max_length=64)
    finished_at: datetime = _moment()
    state: str
    attempts: int = 0
    next_attempt_at: datetime | None = _moment(nullable=True)
    ended_at: datetime | None = _moment(nullable=True)
    status: int = 0
    error: str = ""
    content: str = Field(default="", sa_column_kwargs={"server_default": text("''")})
    statements: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
