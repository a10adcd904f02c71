"""The lock that deleting takes, and whoever needs every file to stay: one at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.ownership import give_to_owner

NAME = "deletion.lock"
#: Number of the advisory lock on PostgreSQL; any that no other lock here has, once chosen.
_ADVISORY_LOCK = 20_250_305

#: Raises `OutOfResources` when the lock is not ours any more.
StillHeld = Callable[[], None]


@contextmanager
def deletion_lock(
    database: Database, data_dir: Path, *, wait: bool = True
) -> Iterator[StillHeld | None]:
    """Hold the lock; it ends with the process, however that ends.

    It is one for all hosts that share a PostgreSQL database: its server frees the lock of a
    process that died at once, and of a host that was cut off within half a minute. A process
    that is paused keeps it. Otherwise it is one for the data directory, and for the database.

    Parameters
    ----------
    wait
        Whether to wait for it; else ``None`` is given when it is not free.

    Raises
    ------
    OutOfResources
        When the database is gone.
    """
    with ExitStack() as held:
        for folder in _folders(database, data_dir):
            stream = held.enter_context((folder / NAME).open("a"))
            give_to_owner(data_dir, folder / NAME)
            try:
                fcntl.flock(stream, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
        if database.engine.dialect.name != "postgresql":
            yield lambda: None
        elif connection := held.enter_context(_locked(database, wait)):
            yield lambda: _require(connection)
        else:
            yield None


def _folders(database: Database, data_dir: Path) -> list[Path]:
    """In one order, so that two who want the same never wait for each other."""
    folders = {data_dir.resolve()}
    if database.engine.dialect.name == "sqlite" and database.engine.url.database:
        folders.add(Path(database.engine.url.database).resolve().parent)
    return sorted(folders)


@contextmanager
def _locked(database: Database, wait: bool) -> Iterator[Connection | None]:
    """Hold the lock of the server, on a connection without a transaction: that has no limit."""
    try:
        connection = database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    except SQLAlchemyError as exc:
        raise _gone(exc) from exc
    with connection:
        word = "pg_advisory_lock" if wait else "pg_try_advisory_lock"
        try:
            answer = connection.scalar(text(f"SELECT {word}({_ADVISORY_LOCK})"))  # noqa: S608
        except SQLAlchemyError as exc:
            raise _gone(exc) from exc
        try:
            yield None if answer is False else connection
        finally:
            # Closed, not given back to the pool: whatever happened, the lock goes with it.
            connection.invalidate()


def _require(connection: Connection) -> None:
    try:
        connection.execute(text("SELECT 1"))
    except SQLAlchemyError as exc:
        raise _gone(exc) from exc


def _gone(exc: SQLAlchemyError) -> OutOfResources:
    return OutOfResources(
        f"The database cannot be asked now ({type(exc).__name__}); check its server."
    )
