"""Fixtures that several test modules share: a store, on SQLite or on every database."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import settings
from postgresql_server import PostgresqlServer, find_binaries, postgresql_server
from store_template import open_prepared

from oncopixel_pacs.child_process import loading, share_cores
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.files import FileStore
from oncopixel_pacs.store.ledger import Ledger
from tests.golden_collection import COLLECTION, VARIABLE

if TYPE_CHECKING:
    from workflow_builder import Works

# A busy machine is no defect: examples have no deadline, and are the same each time in CI.
settings.register_profile("steady", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("steady")

# Results are compared byte by byte, and hold times of the server's zone.
os.environ["TZ"] = "UTC"
time.tzset()

# Before any module loads torch: several tests share the cores with child processes of theirs.
share_cores()
# Before any other module takes the functions that build results.
COLLECTION.install()


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder of what the tests build, unless an earlier command or process made it."""
    if VARIABLE not in os.environ:
        folder = tempfile.mkdtemp(prefix="golden-")
        os.environ[VARIABLE] = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        config.add_cleanup(lambda: os.environ.pop(VARIABLE, None))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import the tests while the collector rests; what they bring stays, so it never looks at it.

    It would take a third of the time of collecting, and then of every test a part.
    """
    try:
        with loading():
            return (yield)
    finally:
        gc.collect()
        gc.freeze()


@pytest.hookimpl(trylast=True)  # after marks have chosen
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the golden checklist last, over what all the others built.

    Beside tests in other processes there is no last: it then needs a command of its own, which
    `make test` has.
    """
    golden = [item for item in items if item.get_closest_marker("golden")]
    others = [item for item in items if not item.get_closest_marker("golden")]
    beside_others = hasattr(config, "workerinput") and golden and others
    if beside_others:
        config.hook.pytest_deselected(items=golden)
    items[:] = others if beside_others else others + golden


@pytest.fixture(autouse=True)
def _words_as_they_were() -> Iterator[None]:
    """Take back how the commands of a process log and speak: the next test may read its own log."""
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    before, root = structlog.is_configured(), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    if structlog.is_configured() and not before:
        structlog.reset_defaults()
        root.handlers = handlers
        root.setLevel(level)


@dataclass(frozen=True)
class Store:
    """Everything that keeps something."""

    database: Database
    files: FileStore
    catalogue: Catalogue
    ledger: Ledger


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """Run a PostgreSQL server of our own; skips where none is installed."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed (apt-get install postgresql)")
    with postgresql_server(binaries) as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Open a store on the embedded database."""
    yield from opened(f"sqlite:///{tmp_path / 'oncopixel.sqlite'}", tmp_path)


@pytest.fixture(params=["sqlite", "postgresql"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Open the same store on each database that is supported."""
    url = f"sqlite:///{tmp_path / 'oncopixel.sqlite'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql").prepared_database()
    yield from opened(url, tmp_path)


def opened(url: str, data_dir: Path) -> Iterator[Store]:
    """Open a store, and close it afterwards."""
    database = open_prepared(url)
    try:
        yield Store(database, FileStore(data_dir), Catalogue(database), Ledger(database))
    finally:
        database.close()


@pytest.fixture
def works(store: Store, tmp_path: Path) -> Iterator[Works]:
    """Run the workflow with a folder that takes results, and one image received."""
    # Most tests need nothing of it, and it brings the engine.
    from workflow_builder import PretendedModel, Works, folder_destination, running

    built = Works(store, PretendedModel(), (folder_destination(tmp_path / "out"),))
    with running(built):
        built.receive(tmp_path / "in")
        yield built
