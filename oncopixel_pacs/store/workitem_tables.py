"""Table of what worklists asked of us."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Column, Index
from sqlmodel import Field, SQLModel

from oncopixel_pacs.store.tables import UtcDateTime


def _moment(nullable: bool = False) -> Any:
    return Field(sa_column=Column(UtcDateTime(), nullable=nullable))


class WorkitemRow(SQLModel, table=True):
    """One workitem; while a host works on it, `next_attempt_at` is when another may."""

    __tablename__ = "workitem"
    __table_args__ = (
        Index("ix_workitem_due", "state", "next_attempt_at"),
        Index("ix_workitem_created", "created_at", "id"),
    )

    id: str = Field(primary_key=True, max_length=64)
    worklist: str = Field(max_length=64)
    workitem_uid: str = Field(max_length=64)
    transaction_uid: str = Field(max_length=64)
    study_instance_uid: str = Field(max_length=64)
    state: str
    created_at: datetime = _moment()
    claimed_at: datetime | None = _moment(nullable=True)
    pull_id: str = ""
    attempts: int = 0
    error: str = ""
    next_attempt_at: datetime | None = _moment(nullable=True)
    ended_at: datetime | None = _moment(nullable=True)
