"""The audit trail: append-only, each record chained to the one before by SHA-256."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Column, Index, Text, text
from sqlmodel import Field, SQLModel, col, select

from oncopixel_pacs.audit import AuditEvent, message
from oncopixel_pacs.domain import Page
from oncopixel_pacs.errors import ConfigurationError, NotFound, OutOfResources
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.tables import UtcDateTime

log = structlog.get_logger()

#: What the first record is chained to.
GENESIS = "0" * 64
#: Number of the advisory lock under which records are chained on PostgreSQL.
_LOCK = 20_250_302
_BATCH = 1000
#: A repository that has not taken a record for so long is said to be away.
_AWAY_AFTER = timedelta(hours=1)


class AuditRow(SQLModel, table=True):
    """One record; triggers of the database refuse to change or delete it."""

    __tablename__ = "audit_record"
    __table_args__ = (Index("ix_audit_record_of_kind", "kind", "id"),)

    id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    at: datetime = Field(sa_column=Column(UtcDateTime(), nullable=False, index=True))
    kind: str
    who: str = Field(index=True)
    address: str
    outcome: int
    study_instance_uid: str = Field(index=True, max_length=64)
    message: str = Field(sa_column=Column(Text, nullable=False))
    digest: str


class AuditForwardingRow(SQLModel, table=True):
    """Up to which record a receiver has everything."""

    __tablename__ = "audit_forwarding"

    receiver: str = Field(primary_key=True)
    last_id: int = 0


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One record of the trail; `message` is XML of PS3.15 A.5."""

    id: int
    at: datetime
    kind: str
    who: str
    address: str
    outcome: int
    study_instance_uid: str
    message: str
    digest: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What checking the chain found.

    Attributes
    ----------
    records
        How many were checked.
    head
        Number and digest of the last one, to be kept elsewhere and compared with later.
    fault
        One sentence about the first record that does not fit; empty when all do.
    """

    records: int
    head: str
    fault: str


class AuditTrail:
    """Appends, reads and checks records.

    Parameters
    ----------
    source
        Our AE title, the Audit Source ID.
    """

    def __init__(self, database: Database, source: str) -> None:
        self._database = database
        self._source = source

    def append(self, event: AuditEvent) -> AuditRecord:
        """Append a record, durable when this returns.

        Raises
        ------
        OutOfResources
            When the database cannot take it.
        """
        with self._database.write() as session:
            if session.get_bind().dialect.name == "postgresql":
                session.connection().execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            last = session.exec(select(AuditRow).order_by(col(AuditRow.id).desc()).limit(1)).first()
            row = AuditRow(
                id=1 if last is None else last.id + 1,
                at=event.at,
                kind=event.kind.name.lower(),
                who=event.who,
                address=event.address,
                outcome=event.outcome.value,
                study_instance_uid=event.study_instance_uid,
                message=message(event, self._source),
                digest="",
            )
            row.digest = _chained(GENESIS if last is None else last.digest, row)
            session.add(row)
            return _to_record(row)

    def append_if_possible(self, event: AuditEvent) -> None:
        """Append a record; a database that is gone leaves a line in the log instead."""
        try:
            self.append(event)
        except OutOfResources as exc:
            log.error("audit.unwritten", kind=event.kind.name.lower(), error=exc.for_log)

    def record(self, record_id: int) -> AuditRecord:
        """Return one record.

        Raises
        ------
        NotFound
            When there is none of this number.
        """
        with self._database.read() as session:
            row = session.get(AuditRow, record_id)
            if row is None:
                raise NotFound(f"There is no audit record {record_id}.")
            return _to_record(row)

    def records(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        who: str = "",
        kind: str = "",
        study_instance_uid: str = "",
    ) -> Page[AuditRecord]:
        """List records, the newest first.

        Raises
        ------
        NotFound
            When the cursor is not one of ours.
        """
        query = select(AuditRow).order_by(col(AuditRow.id).desc()).limit(limit + 1)
        wanted = {"who": who, "kind": kind, "study_instance_uid": study_instance_uid}
        for name, value in wanted.items():
            if value:
                query = query.where(col(getattr(AuditRow, name)) == value)
        if cursor is not None:
            if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:
                raise NotFound("The cursor is not one of this list; begin without one.")
            query = query.where(col(AuditRow.id) < int(cursor))
        with self._database.read() as session:
            rows = session.exec(query).all()
        items = tuple(map(_to_record, rows[:limit]))
        return Page(items, str(items[-1].id) if len(rows) > limit else None)

    def verify(self, known_head: str = "") -> Verification:
        """Check every record against the chain.

        Parameters
        ----------
        known_head
            What an earlier check told, ``NUMBER:DIGEST``; it must be in the chain still. Without
            one a trail that was cut off at its end, or written anew as a whole, looks sound.

        Raises
        ------
        ConfigurationError
            When `known_head` is not of that form.
        """
        number, digest = _head_of(known_head)
        previous, count = GENESIS, 0
        while True:
            later = (
                select(AuditRow)
                .where(col(AuditRow.id) > count)
                .order_by(col(AuditRow.id))
                .limit(_BATCH)
            )
            with self._database.read() as session:
                rows = session.exec(later).all()
            for row in rows:
                fault = _fault(row, count + 1, previous)
                if row.id == number and row.digest != digest:
                    fault = f"Record {row.id} is not the one that was the head."
                if fault:
                    return Verification(count, f"{count}:{previous}", fault)
                previous, count = row.digest, row.id
            if len(rows) < _BATCH:
                break
        missing = f"Records after {count} are missing; {number} was the head." * (number > count)
        return Verification(count, f"{count}:{previous}", missing)

    def unsent(self, receiver: str, limit: int = 100) -> tuple[AuditRecord, ...]:
        """List the oldest records that a receiver does not have."""
        with self._database.read() as session:
            row = session.get(AuditForwardingRow, receiver)
            later = select(AuditRow).where(col(AuditRow.id) > (0 if row is None else row.last_id))
            rows = session.exec(later.order_by(col(AuditRow.id)).limit(limit)).all()
            return tuple(map(_to_record, rows))

    def alarm(self, receiver: str, now: datetime) -> str:
        """Say that a receiver does not take the records; empty while it does, or there is none."""
        if not receiver:
            return ""
        oldest = next(iter(self.unsent(receiver, 1)), None)
        if oldest is None or now - oldest.at < _AWAY_AFTER:
            return ""
        return (
            f"The audit records since {oldest.at:%Y-%m-%d %H:%M} UTC are not at their repository "
            f"({receiver}): see that it runs, its certificate, and audit.unsent in the log."
        )

    def note_sent(self, receiver: str, last_id: int) -> None:
        """Remember up to which record a receiver has everything."""
        with self._database.write() as session:
            row = session.get(AuditForwardingRow, receiver) or AuditForwardingRow(receiver=receiver)
            row.last_id = max(row.last_id, last_id)
            session.add(row)


def _fault(row: AuditRow, number: int, previous: str) -> str:
    if row.id != number:
        return f"Record {number} is missing."
    if row.digest != _chained(previous, row):
        return f"Record {row.id} was changed, or what it is chained to."
    return ""


def _chained(previous: str, row: AuditRow) -> str:
    content = [
        previous,
        row.id,
        row.at.isoformat(),
        row.kind,
        row.who,
        row.address,
        row.outcome,
        row.study_instance_uid,
        row.message,
    ]
    return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()


def _head_of(known: str) -> tuple[int, str]:
    if not known:
        return 0, ""
    number, _, digest = known.partition(":")
    if not number.isdigit() or len(digest) != len(GENESIS):
        raise ConfigurationError("A head is NUMBER:DIGEST, as `oncopixel audit verify` told it.")
    return int(number), digest


def _to_record(row: AuditRow) -> AuditRecord:
    fields: dict[str, Any] = row.model_dump()
    return AuditRecord(**fields)
