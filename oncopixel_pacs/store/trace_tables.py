"""Tables of traces: which ends of jobs were told, and up to where the ledger was read for it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Column, Index
from sqlmodel import Field, SQLModel

from oncopixel_pacs.store.tables import UtcDateTime


def _moment(nullable: bool = False, key: bool = False) -> Any:
    return Field(sa_column=Column(UtcDateTime(), nullable=nullable, primary_key=key))


class TraceReaderRow(SQLModel, table=True):
    """Every job that ended before `read_until` has its trace; there is one row."""

    __tablename__ = "trace_reader"

    name: str = Field(primary_key=True, max_length=64)
    read_until: datetime = _moment()


class TraceRow(SQLModel, table=True):
    """One end of a job whose trace is told, or to be told from `due_at` on."""

    __tablename__ = "trace"
    __table_args__ = (Index("ix_trace_due", "due_at"),)

    job_id: str = Field(primary_key=True, max_length=64)
    finished_at: datetime = _moment(key=True)
    told: bool = False
    due_at: datetime | None = _moment(nullable=True)
