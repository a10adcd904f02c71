"""Who has an association open, told by the listener to whoever settles studies."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlmodel import col, select

from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.tables import AssociationLeaseRow

#: A lease that ended so long ago says nothing any more.
_FORGOTTEN = timedelta(days=1)


class AssociationLeases:
    """Leases in the database: what a listener that died has left runs out by itself."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set(
        self, listener: str, calling_ae_titles: Iterable[str], open_until: datetime, now: datetime
    ) -> None:
        """Say until when these callers count as having an association open at a listener.

        Raises
        ------
        OutOfResources
            When the database cannot take it; nothing is recorded then.
        """
        with self._database.write() as session:
            for ae_title in calling_ae_titles:
                row = session.get(AssociationLeaseRow, (listener, ae_title))
                if row is None:
                    row = AssociationLeaseRow(
                        listener=listener, calling_ae_title=ae_title, open_until=open_until
                    )
                    session.add(row)
                row.open_until = open_until
            past = select(AssociationLeaseRow).where(
                col(AssociationLeaseRow.open_until) < now - _FORGOTTEN
            )
            for row in session.exec(past).all():
                session.delete(row)

    def open_until(self) -> dict[str, datetime]:
        """Tell by calling AE title until when an association counts as open, past ones included."""
        with self._database.read() as session:
            rows = session.exec(
                select(AssociationLeaseRow).order_by(col(AssociationLeaseRow.open_until))
            ).all()
            # The last one counts, at whatever listener.
            return {row.calling_ae_title: row.open_until for row in rows}
