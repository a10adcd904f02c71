"""A whole database into one file and back: SQLite's online backup, PostgreSQL's own tools."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from psycopg.conninfo import make_conninfo
from sqlalchemy import URL, Engine, make_url

from oncopixel_pacs.errors import ConfigurationError

#: Databases that can be copied, each with the suffix of its copy.
SUFFIXES = {"sqlite": ".sqlite", "postgresql": ".pgdump"}


def copy_database(engine: Engine, target: Path) -> None:
    """Write a consistent copy of a database that may be in use.

    Parameters
    ----------
    target
        File to make; replaced when it exists.

    Raises
    ------
    ConfigurationError
        When the copy fails, or PostgreSQL's tools are not installed.
    """
    # Not written over: who ended an earlier copy may not have ended the tool that writes there.
    target.unlink(missing_ok=True)
    if engine.dialect.name == "sqlite":
        _copy_sqlite(engine, target)
        return
    command = [
        _tool("pg_dump"),
        *("--format=custom", "--no-owner", "--no-privileges"),
        *("--schema=public", "--schema=dbos", f"--file={target}"),
    ]
    _run(command, engine.url)
    _sync(target)


def put_back(source: Path, url: str) -> None:
    """Fill an empty database from a copy.

    Raises
    ------
    ConfigurationError
        When the database is not empty, or the copy cannot be read into it.
    """
    parsed = make_url(url)
    require_empty(url)
    if parsed.get_backend_name() == "sqlite":
        _put_back_sqlite(source, Path(str(parsed.database)))
        return
    command = [
        _tool("pg_restore"),
        *("--no-owner", "--no-privileges", "--clean", "--if-exists"),
        *("--exit-on-error", "--single-transaction", str(source)),
    ]
    _run(command, parsed)


def is_empty(url: str) -> bool:
    """Whether nothing is in a database yet; an embedded one is then not there.

    Raises
    ------
    ConfigurationError
        When it cannot be opened.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return not Path(str(parsed.database)).exists()
    return not _has_tables(parsed)


def require_empty(url: str) -> None:
    """Refuse a database that holds something.

    Raises
    ------
    ConfigurationError
        When it does, or cannot be opened.
    """
    if is_empty(url):
        return
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        raise ConfigurationError(
            f"There is a database at {parsed.database}; move it away with its -wal and -shm files "
            "first."
        )
    raise ConfigurationError(
        "The database holds tables already; restore into an empty one, and set database_url."
    )


def _copy_sqlite(engine: Engine, target: Path) -> None:
    connection = engine.raw_connection()
    try:
        source: Any = connection.driver_connection
        # Of the same driver: another SQLite may not know what this one wrote.
        with contextlib.closing(type(source)(str(target))) as copy:
            # In one go: it reads the state of one moment, and holds no writer up.
            source.backup(copy)
            # Without it the copy would want its log beside it.
            copy.execute("PRAGMA journal_mode=DELETE")
    except engine.dialect.loaded_dbapi.Error as exc:
        raise ConfigurationError(
            f"The database cannot be copied to {target} ({exc}); free space there, try again."
        ) from exc
    finally:
        connection.close()
    _sync(target)


def _put_back_sqlite(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_suffix(".restoring")
    shutil.copyfile(source, beside)
    _sync(beside)
    beside.replace(target)
    _sync(target.parent)


def _has_tables(url: URL) -> bool:
    engine = sa.create_engine(url, poolclass=sa.NullPool, hide_parameters=True)
    try:
        return bool(sa.inspect(engine).get_table_names(schema="public"))
    except sa.exc.SQLAlchemyError as exc:
        raise ConfigurationError(
            f"The database cannot be opened ({type(exc).__name__}); "
            "check database_url and that its server runs."
        ) from exc


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise ConfigurationError(
            f"{name} is not installed; install PostgreSQL's client of the server's version."
        )
    return found


def _run(command: list[str], url: URL) -> None:
    known = url.translate_connect_args(username="user", database="dbname")
    known |= {str(name): value for name, value in url.query.items()}
    password = known.pop("password", "")
    with tempfile.NamedTemporaryFile("w", prefix="oncopixel-", encoding="utf-8") as secret:
        # In a file: the arguments of a process are for every user to read.
        escaped = password.replace("\\", "\\\\").replace(":", "\\:")
        secret.write(f"*:*:*:*:{escaped}\n")
        secret.flush()
        place = make_conninfo(**{"connect_timeout": 10, **known, "passfile": secret.name})
        done = subprocess.run(  # noqa: S603 - a tool found by name, with arguments of our own
            [*command, f"--dbname={place}"], capture_output=True, text=True, check=False
        )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ConfigurationError(f"{Path(command[0]).name} failed: {said}.")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
