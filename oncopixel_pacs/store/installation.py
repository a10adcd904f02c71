"""Who a database is: an id that it keeps for life, and takes with it into its copies."""

from __future__ import annotations

from sqlmodel import Field, SQLModel, select

from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.files import FileStore
from oncopixel_pacs.store.tables import InstanceRow


class InstallationRow(SQLModel, table=True):
    """The one row that the migration which made the table put in."""

    __tablename__ = "installation"

    id: str = Field(primary_key=True)


def installation_of(database: Database) -> str:
    """Tell the id of a database.

    Raises
    ------
    OutOfResources
        When the database is gone.
    """
    with database.read() as session:
        return session.exec(select(InstallationRow.id)).one()


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
