"""Table of the hosts that share the database."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, text
from sqlmodel import Field, SQLModel


class HostRow(SQLModel, table=True):
    """One host at work: `epoch` is empty once its work was taken from it.

    `trouble` is what a person must see to there.
    """

    __tablename__ = "host"

    executor: str = Field(primary_key=True)
    epoch: str
    beats: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    trouble: str = Field(default="", sa_column_kwargs={"server_default": text("''")})
