"""Who called and was not let in: one row for each kind of caller, and not too many of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from sqlmodel import Session, col, select

from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.tables import RejectedCallerRow

#: Rows that are kept; whoever called longest ago goes first.
MOST_ROWS = 200


class RejectionKind(StrEnum):
    """What stood in the way."""

    UNKNOWN = "unknown"
    PLAIN = "plain"
    CALLED = "called"
    LIMIT = "limit"
    TLS = "tls"


@dataclass(frozen=True, slots=True)
class RejectedCaller:
    """Association requests that were rejected for the same reason, from the same caller.

    Attributes
    ----------
    kind
        What stood in the way; `reason` says it in words.
    certificate_sha256
        Digest of the certificate that it showed over TLS; empty without.
    id
        Row; ``None`` while it has none.
    """

    calling_ae_title: str
    called_ae_title: str
    address: str
    reason: str
    first_at: datetime
    last_at: datetime
    count: int = 1
    kind: RejectionKind = RejectionKind.UNKNOWN
    certificate_sha256: str = ""
    id: int | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """What makes two of them the same."""
        return (
            self.calling_ae_title,
            self.called_ae_title,
            self.address,
            self.reason,
            self.certificate_sha256,
        )

    @property
    def may_be_allowed(self) -> bool:
        """Whether naming it among the peers would let it in."""
        return self.kind is RejectionKind.UNKNOWN and bool(self.calling_ae_title)

    def joined(self, later: RejectedCaller) -> RejectedCaller:
        """Return both as one."""
        return replace(self, last_at=later.last_at, count=self.count + later.count)


class Callers:
    """The rejected callers in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, rejected: Iterable[RejectedCaller]) -> None:
        """Count these in, and forget the oldest where there are too many.

        Raises
        ------
        OutOfResources
            When the database cannot take it; nothing is recorded then.
        """
        with self._database.write() as session:
            for item in rejected:
                _add(session, item)
            session.flush()
            newest = select(RejectedCallerRow).order_by(
                col(RejectedCallerRow.last_at).desc(), col(RejectedCallerRow.id).desc()
            )
            for row in session.exec(newest.offset(MOST_ROWS)).all():
                session.delete(row)

    def rejected(self) -> tuple[RejectedCaller, ...]:
        """List them, the one that called last first."""
        newest = select(RejectedCallerRow).order_by(
            col(RejectedCallerRow.last_at).desc(), col(RejectedCallerRow.id).desc()
        )
        with self._database.read() as session:
            return tuple(to_caller(row) for row in session.exec(newest).all())


def _add(session: Session, item: RejectedCaller) -> None:
    row = session.exec(
        select(RejectedCallerRow)
        .where(
            RejectedCallerRow.calling_ae_title == item.calling_ae_title,
            RejectedCallerRow.called_ae_title == item.called_ae_title,
            RejectedCallerRow.address == item.address,
            RejectedCallerRow.reason == item.reason,
            RejectedCallerRow.certificate_sha256 == item.certificate_sha256,
        )
        .with_for_update()
    ).first()
    if row is None:
        session.add(
            RejectedCallerRow(
                calling_ae_title=item.calling_ae_title,
                called_ae_title=item.called_ae_title,
                address=item.address,
                reason=item.reason,
                kind=item.kind,
                certificate_sha256=item.certificate_sha256,
                first_at=item.first_at,
                last_at=item.last_at,
                count=item.count,
            )
        )
        return
    row.last_at = max(row.last_at, item.last_at)
    row.count += item.count


def to_caller(row: RejectedCallerRow) -> RejectedCaller:
    """Read a row."""
    return RejectedCaller(
        row.calling_ae_title,
        row.called_ae_title,
        row.address,
        row.reason,
        row.first_at,
        row.last_at,
        row.count,
        RejectionKind(row.kind),
        row.certificate_sha256,
        row.id,
    )
