"""Every file that a row promises, and whether it is there as promised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

from sqlmodel import col, select

from oncopixel_pacs.store.backup import Watch
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.files import FileStore
from oncopixel_pacs.store.tables import (
    ConflictRow,
    InstanceRow,
    JobRow,
    ObjectRow,
    QuarantineRow,
)


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of comparing rows with files.

    Attributes
    ----------
    instances, results
        Received objects and result objects (those in quarantine too) that are as promised.
    damaged
        Relative paths of those that are missing or have other bytes.
    """

    instances: int
    results: int
    damaged: tuple[str, ...]


def verify(
    database: Database,
    files: FileStore,
    is_intact: Callable[[Path, str], bool],
    watch: Watch = iter,
) -> Verification:
    """Compare every file that has a row with the digest in the row.

    Parameters
    ----------
    is_intact
        Tells of a received Part 10 file whether its data set has a digest; files of results are
        digested whole.
    watch
        Every file passes through it; for a display of progress.
    """
    whole = {False: 0, True: 0}
    damaged = []
    for path, sha256, received in watch(list(_promised(database))):
        check = is_intact if received else _has_digest
        try:
            good = check(files.absolute(path), sha256)
        except OSError:
            good = False
        if good:
            whole[received] += 1
        else:
            damaged.append(path)
    return Verification(whole[True], whole[False], tuple(damaged))


def gather(database: Database, files: FileStore) -> None:
    """Bring every file that a row promises to this host, with the label maps of every job.

    Raises
    ------
    OSError
        When the bucket does not answer, or the disk is full.
    """
    with database.read() as session:
        jobs = session.exec(select(JobRow.id).where(col(JobRow.written))).all()
    files.gather((path for path, _, _ in _promised(database)), jobs)


def _promised(database: Database) -> Iterator[tuple[str, str, bool]]:
    tables: tuple[tuple[Any, bool], ...] = (
        (InstanceRow, True),
        (ConflictRow, True),
        (ObjectRow, False),
        (QuarantineRow, False),
    )
    with database.read() as session:
        for table, received in tables:
            for path, sha256 in session.exec(select(table.path, table.sha256)):
                yield path, sha256, received


def _has_digest(path: Path, sha256: str) -> bool:
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest() == sha256
