"""The database: embedded SQLite by default, PostgreSQL by URL alone."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlmodel import Session

from oncopixel_pacs.errors import ConfigurationError, OlderSchema, OutOfResources

#: The workflow engine needs ``unixepoch('subsec')``, new in SQLite 3.42.
SQLITE_NEEDED = (3, 42, 0)
BUSY_TIMEOUT_MS = 10_000
MIGRATIONS = Path(__file__).parent / "migrations"
#: Number of the advisory lock that migrations hold on PostgreSQL; any number, once chosen.
_MIGRATION_LOCK = 20_250_301
#: How long a process waits for another that migrates the same file, however slow its disk is.
_MIGRATION_WAIT_MS = 60_000
#: A host that is paused or cut off in the middle of a transaction holds its locks, and nobody
#: takes its work over, until the server ends it. No transaction of ours waits for anything long.
_SESSION = {
    "idle_in_transaction_session_timeout": "15s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
#: A server that lost its power or its network says nothing; without these we would hear of it
#: after minutes (libpq's connection parameters). What the URL says goes before.
_CONNECTION = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


class Database:
    """An engine with its schema up to date, and transactions on it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        #: Connection of `write_directly`, kept between its calls on SQLite.
        self._kept: deque[Any] = deque()

    @contextlib.contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction that may write; committed durably when the block ends.

        On SQLite it takes the write lock first, so that what it reads cannot change before
        it writes.

        Raises
        ------
        OutOfResources
            When the database is locked for too long, full, or gone.
        """
        try:
            with Session(self.engine, expire_on_commit=False) as session:
                _take_write_lock(session.connection())
                yield session
                session.commit()
        except SQLAlchemyError as exc:
            raise _not_written(exc) from exc

    @contextlib.contextmanager
    def write_rows(self) -> Iterator[Connection]:
        """One transaction as `write` has it, without objects for its rows: for what is frequent.

        Raises
        ------
        OutOfResources
            When the database is locked for too long, full, or gone.
        """
        try:
            with self.engine.connect() as connection:
                _take_write_lock(connection)
                yield connection
                connection.commit()
        except SQLAlchemyError as exc:
            raise _not_written(exc) from exc

    @contextlib.contextmanager
    def write_directly(self) -> Iterator[Any]:
        """One transaction as `write_rows` has it, on a cursor of the driver itself.

        For `DriverStatement`: SQLAlchemy lends the connection, and is not asked again. On SQLite
        one connection is kept for it: to give it back and lend it anew takes as long as a row.

        Raises
        ------
        OutOfResources
            When the database is locked for too long, full, or gone.
        """
        driver: Any = self.engine.dialect.dbapi
        is_sqlite = self.engine.dialect.name == "sqlite"
        connection = self._lent()
        cursor = connection.cursor()
        keeps = False
        try:
            if is_sqlite:
                cursor.execute("BEGIN IMMEDIATE")
            yield cursor
            connection.commit()
            keeps = is_sqlite and not self._kept
        except driver.Error as exc:
            if _is_read_only(exc):
                connection.invalidate(exc)
                self.engine.dispose()
            elif self.engine.dialect.is_disconnect(exc, connection.driver_connection, None):
                connection.invalidate(exc)
            raise self._refusal(exc)  # noqa: B904
        finally:
            # Before the next has the connection: one that the garbage collector closes resets
            # a statement that may be another's by then.
            with contextlib.suppress(driver.Error):
                cursor.close()
            if keeps:
                self._kept.append(connection)
            else:
                connection.close()  # given back, and what was not committed undone

    def _lent(self) -> Any:
        """Give the connection that was kept, or one of the pool."""
        with contextlib.suppress(IndexError):
            return self._kept.pop()
        driver: Any = self.engine.dialect.dbapi
        try:
            return self.engine.raw_connection()
        except SQLAlchemyError as exc:
            raise _not_written(exc) from exc
        except driver.Error as exc:  # a new connection fails in the driver's own words
            raise self._refusal(exc)  # noqa: B904

    def _refusal(self, error: Exception) -> OutOfResources:
        """Wrap an error of the driver as SQLAlchemy would have."""
        driver: Any = self.engine.dialect.dbapi
        cause = DBAPIError.instance(
            None, None, error, driver.Error, hide_parameters=True, dialect=self.engine.dialect
        )
        refusal = _not_written(cause)
        refusal.__cause__ = cause
        return refusal

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """One session that only reads.

        Raises
        ------
        OutOfResources
            When the database is gone.
        """
        try:
            with Session(self.engine, expire_on_commit=False) as session:
                yield session
        except SQLAlchemyError as exc:
            raise OutOfResources(
                f"The database cannot be read now ({type(exc).__name__}); "
                "check its disk and its server."
            ) from exc

    def close(self) -> None:
        """Give back every connection."""
        while self._kept:
            self._kept.pop().close()
        self.engine.dispose()


def _take_write_lock(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _not_written(exc: SQLAlchemyError) -> OutOfResources:
    return OutOfResources(
        f"The database does not take a write now ({type(exc).__name__}); "
        "check its disk, its lock and its server, then send again."
    )


def open_database(
    url: str, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS, upgrades: bool = True
) -> Database:
    """Connect, check the server, and bring the schema up to date.

    Parameters
    ----------
    url
        SQLAlchemy URL; ``sqlite:///path`` or ``postgresql+psycopg://…``.
    busy_timeout_ms
        How long a write waits for the lock of another on SQLite.
    upgrades
        Whether tables of an older version are brought up to date. There is no way back, and a
        server of that version may be running: only a server that starts, and a restore, may.

    Raises
    ------
    OlderSchema
        When the tables are of an older version, and stay so.
    ConfigurationError
        When the database cannot be reached, is too old, or was written by a newer version.
    """
    with contextlib.ExitStack() as undo:
        try:
            if url.startswith("sqlite"):
                engine = _sqlite_engine(url, busy_timeout_ms)
            else:
                engine = _server_engine(url)
            undo.callback(engine.dispose)
            done, last = _revisions(engine)
            if done != [last]:
                if not upgrades and done and done[0] < last:
                    raise OlderSchema(
                        "The database is of an older version: use the commands of that one, or "
                        "start this server, which brings it up to date."
                    )
                _migrate(engine)
        except SQLAlchemyError as exc:
            raise _unusable(exc) from exc
        undo.pop_all()
    return Database(engine)


def _unusable(exc: SQLAlchemyError) -> ConfigurationError:
    return ConfigurationError(
        f"The database cannot be opened ({type(exc).__name__}: {str(exc).splitlines()[0]}); "
        "check database_url and that its server runs."
    )


def _sqlite_engine(url: str, busy_timeout_ms: int) -> Engine:
    module = _sqlite_module()
    engine = create_engine(
        url,
        module=module,
        connect_args={"timeout": busy_timeout_ms / 1000},
        pool_size=20,
        # The connection used last has the pages that are needed next in its cache.
        pool_use_lifo=True,
        hide_parameters=True,  # errors would quote patient names
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        # FULL, because WAL with NORMAL may lose the last commits at a power cut.
        connection.isolation_level = "IMMEDIATE"
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        # 16 MiB of log: the pages that every image changes are copied once in hundreds of images.
        connection.execute("PRAGMA wal_autocheckpoint=4096")
        connection.execute(f"PRAGMA busy_timeout={busy_timeout_ms}")
        connection.execute("PRAGMA foreign_keys=ON")

    return engine


def _sqlite_module() -> ModuleType:
    if sqlite3.sqlite_version_info >= SQLITE_NEEDED:
        return sqlite3
    try:
        import pysqlite3.dbapi2 as bundled
    except ImportError as exc:
        raise ConfigurationError(
            f"SQLite {sqlite3.sqlite_version} is too old, 3.42 is needed; "
            "install pysqlite3-binary or set database_url to a PostgreSQL server."
        ) from exc
    module: ModuleType = bundled
    return module


def _server_engine(url: str) -> Engine:
    said = make_url(url).query
    engine = create_engine(
        url,
        connect_args={name: value for name, value in _CONNECTION.items() if name not in said},
        pool_pre_ping=True,
        pool_size=20,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            for name, value in _SESSION.items():
                cursor.execute(f"SET {name} = '{value}'")
        connection.commit()

    @event.listens_for(engine, "handle_error")
    def _leave_read_only(context: ExceptionContext) -> None:
        # A connection stays as it began: without a new one nothing is written ever after.
        if context.original_exception is not None and _is_read_only(context.original_exception):
            context.is_disconnect = True

    return engine


def _is_read_only(error: BaseException) -> bool:
    """Whether PostgreSQL was read-only when the connection began (SQLSTATE 25006).

    As a standby is, and a server whose disk is full with some who run them.
    """
    return getattr(error, "sqlstate", None) == "25006"


def _revisions(engine: Engine) -> tuple[list[str], str]:
    """Tell what the schema has, and the last; without Alembic, which is slow to load."""
    last = max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))
    with engine.connect() as connection:
        try:
            done = connection.exec_driver_sql("SELECT version_num FROM alembic_version").all()
        except (OperationalError, ProgrammingError):  # no such table, or it is being made
            return [], last
    return [row.version_num for row in done], last


def _migrate(engine: Engine) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        # All or nothing, and one process at a time: SQLite's driver would commit each table.
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql(f"PRAGMA busy_timeout={_MIGRATION_WAIT_MS}")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as exc:
            raise ConfigurationError(
                f"The database was made by a newer version of this server ({exc}); "
                "install that version or set another database_url."
            ) from exc
    # The connection that waited so long is not used again.
    engine.dispose()
