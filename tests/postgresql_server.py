"""Runs a PostgreSQL server of its own for tests, where the package is installed."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from free_ports import free_port

from oncopixel_pacs.store.database import open_database

_UNPRIVILEGED = "postgres"


@dataclass
class PostgresqlServer:
    """A server on a loopback port; `restart` breaks every connection."""

    binaries: Path
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    _is_prepared: bool = False

    def empty_database(self) -> str:
        """Empty the one database; returns its SQLAlchemy URL."""
        url = self._url("postgres")
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            for schema in ("dbos", "public"):
                connection.execute(sa.text(f"DROP SCHEMA IF EXISTS {schema} CASCADE"))
            connection.execute(sa.text("CREATE SCHEMA public"))
        return url

    def prepared_database(self) -> str:
        """Make the one copy anew of a database at the last migration; returns its URL."""
        first, copy = (self._url(name) for name in ("prepared", "copy"))
        engine = sa.create_engine(
            self._url("postgres"), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            if not self._is_prepared:
                connection.execute(sa.text("CREATE DATABASE prepared"))
                open_database(first).close()
                self._is_prepared = True
            connection.execute(sa.text("DROP DATABASE IF EXISTS copy WITH (FORCE)"))
            connection.execute(sa.text("CREATE DATABASE copy TEMPLATE prepared"))
        return copy

    def _url(self, name: str) -> str:
        return f"postgresql+psycopg://{_UNPRIVILEGED}@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = {"port": self.port, "listen_addresses": "127.0.0.1", "fsync": "off"}
        options |= {"unix_socket_directories": self.folder, "max_connections": 200}
        flags = [f"--{name}={value}" for name, value in options.items()]
        command = [self.binaries / "postgres", "-D", self.folder / "data", *flags]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*_as_unprivileged(), *map(str, command)], stdout=log, stderr=log
            )
        ready = [self.binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        for _ in range(100):
            if subprocess.run([*ready, "-t", "1"], check=False).returncode == 0:
                return
            if self.process.poll() is not None:
                break
            subprocess.run(["sleep", "0.1"], check=True)
        raise RuntimeError(f"PostgreSQL did not start: {(self.folder / 'log').read_text()}")

    def stop(self) -> None:
        """Stop at once, as after a power cut of the server's machine."""
        assert self.process is not None
        postmaster = int((self.folder / "data/postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGQUIT)
        self.process.wait(30)

    def restart(self) -> None:
        """Stop at once and start again on the same port."""
        self.stop()
        self.start()


def find_binaries() -> Path | None:
    """Folder of the newest server that is installed and that we may run."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found or (os.geteuid() == 0 and not shutil.which("runuser")):
        return None
    return found[-1].parent


@contextmanager
def postgresql_server(binaries: Path) -> Iterator[PostgresqlServer]:
    """Set up a server in a temporary folder and run it."""
    folder = Path(tempfile.mkdtemp(prefix="oncopixel-postgresql-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, _UNPRIVILEGED)
        make = [binaries / "initdb", "-D", folder / "data", "-U", _UNPRIVILEGED, "--no-sync"]
        subprocess.run(
            [*_as_unprivileged(), *map(str, make), "--auth=trust", "--encoding=UTF8"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        server = PostgresqlServer(binaries, folder, free_port())
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_unprivileged() -> list[str]:
    """Prefix of a command: PostgreSQL refuses to run as root."""
    return ["runuser", "-u", _UNPRIVILEGED, "--"] if getpass.getuser() == "root" else []
