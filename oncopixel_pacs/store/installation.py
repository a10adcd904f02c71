"""Who a database is: an id that it keeps for life and in its copies; and the last of those."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Column
from sqlmodel import Field, SQLModel, select

from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.files import FileStore
from oncopixel_pacs.store.tables import InstanceRow, UtcDateTime

#: Whoever makes backups makes one a week at least.
_BACKUP_DUE = timedelta(days=8)
#: No backup takes so long.
_FIRST_DUE = timedelta(days=2)
#: By so much the clocks of hosts may differ.
_SKEW = timedelta(hours=1)


class InstallationRow(SQLModel, table=True):
    """The one row that the migration which made the table put in."""

    __tablename__ = "installation"

    id: str = Field(primary_key=True)
    backed_up_at: datetime | None = Field(
        default=None, sa_column=Column(UtcDateTime(), nullable=True)
    )
    backup_begun_at: datetime | None = Field(
        default=None, sa_column=Column(UtcDateTime(), nullable=True)
    )
    retention_at: datetime | None = Field(
        default=None, sa_column=Column(UtcDateTime(), nullable=True)
    )
    retention_leap: str | None = None
    retention_leap_on: str | None = None


def installation_of(database: Database) -> str:
    """Tell the id of a database.

    Raises
    ------
    OutOfResources
        When the database is gone.
    """
    with database.read() as session:
        return session.exec(select(InstallationRow.id)).one()


class Backups:
    """When the last backup was made, and whether the next one fails to come."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note_begun(self, now: datetime) -> None:
        """Note that somebody makes backups; only the first that was begun counts.

        Raises
        ------
        OutOfResources
            When the database does not take it.
        """
        with self._database.read() as session:
            if session.exec(select(InstallationRow.backup_begun_at)).one() is not None:
                return
        with self._database.write() as session:
            session.exec(select(InstallationRow)).one().backup_begun_at = now

    def note_made(self, now: datetime) -> None:
        """Note that a backup is whole.

        Raises
        ------
        OutOfResources
            When the database does not take it.
        """
        with self._database.write() as session:
            session.exec(select(InstallationRow)).one().backed_up_at = now

    def made_at(self) -> datetime | None:
        """Tell when the last one was made; ``None`` where none ever was.

        Raises
        ------
        OutOfResources
            When the database is gone.
        """
        with self._database.read() as session:
            return session.exec(select(InstallationRow.backed_up_at)).one()

    def alarm(self, now: datetime) -> str:
        """Say that backups come no more; empty where they do, or nobody ever began one."""
        with self._database.read() as session:
            row = session.exec(select(InstallationRow)).one()
            made_at, begun_at = row.backed_up_at, row.backup_begun_at
        if made_at is None and begun_at is not None and now - begun_at >= _FIRST_DUE:
            return (
                f"A backup was begun on {begun_at:%Y-%m-%d}, and none was ever finished: run "
                "oncopixel backup, which says why."
            )
        if made_at is not None and made_at > now + _SKEW:
            return (
                f"The last backup bears a time that is to come, {made_at:%Y-%m-%d %H:%M} UTC: a "
                "clock was wrong, so nobody would miss the next ones; run oncopixel backup."
            )
        if made_at is None or now - made_at < _BACKUP_DUE:
            return ""
        return (
            f"The last backup is of {made_at:%Y-%m-%d}: see why there was none since, and run "
            "oncopixel backup."
        )


def require_mounted(database: Database, files: FileStore) -> None:
    """Refuse a data directory without any image while the database has images.

    What was received would be acknowledged, and be hidden as soon as the volume is there again.

    Raises
    ------
    ConfigurationError
        When the volume seems not to be mounted.
    OutOfResources
        When the database is gone.
    """
    if files.is_cache or next(files.stored_paths(), None) is not None:
        return
    with database.read() as session:
        path = session.exec(select(InstanceRow.path).limit(1)).first()
    if path is not None:
        raise ConfigurationError(
            f"The database has images, and {files.data_dir} holds none of them; see that the "
            "volume is mounted and data_dir is right, or put the files back from a backup."
        )
