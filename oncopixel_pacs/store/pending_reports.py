"""Storage commitment reports that are owed: kept until told, over restarts of the server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import col, select

from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.tables import PendingReportRow


@dataclass(frozen=True, slots=True)
class PendingReport:
    """A report that a peer asked for and has not confirmed.

    Attributes
    ----------
    address
        IP address that it asked from.
    instances
        SOP Class and SOP Instance UID of each.
    """

    calling_ae_title: str
    address: str
    transaction_uid: str
    instances: tuple[tuple[str, str], ...]
    requested_at: datetime


class PendingReports:
    """The reports that one host owes.

    Parameters
    ----------
    executor
        Name of this host; others that share the database see to their own.
    """

    def __init__(self, database: Database, executor: str) -> None:
        self._database = database
        self._executor = executor

    def add(self, report: PendingReport) -> None:
        """Remember a report; one with the same transaction of the same peer is replaced.

        Raises
        ------
        OutOfResources
            When the database cannot take it; the request must not be answered with success.
        """
        with self._database.write() as session:
            session.merge(
                PendingReportRow(
                    calling_ae_title=report.calling_ae_title,
                    transaction_uid=report.transaction_uid,
                    executor=self._executor,
                    address=report.address,
                    requested_at=report.requested_at,
                    instances=[list(item) for item in report.instances],
                )
            )

    def remove(self, report: PendingReport) -> None:
        """Forget a report that was told, or given up; safe to repeat.

        Raises
        ------
        OutOfResources
            When the database cannot take it.
        """
        with self._database.write() as session:
            row = session.get(PendingReportRow, (report.calling_ae_title, report.transaction_uid))
            if row is not None and row.requested_at == report.requested_at:
                session.delete(row)

    def all(self) -> tuple[PendingReport, ...]:
        """List what is owed, the oldest first.

        Raises
        ------
        OutOfResources
            When the database is gone.
        """
        oldest = (
            select(PendingReportRow)
            .where(PendingReportRow.executor == self._executor)
            .order_by(col(PendingReportRow.requested_at))
        )
        with self._database.read() as session:
            return tuple(_to_report(row) for row in session.exec(oldest).all())


def _to_report(row: PendingReportRow) -> PendingReport:
    return PendingReport(
        row.calling_ae_title,
        row.address,
        row.transaction_uid,
        tuple((sop_class, sop_instance) for sop_class, sop_instance in row.instances),
        row.requested_at,
    )
