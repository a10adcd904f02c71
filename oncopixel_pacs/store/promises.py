"""Which files a row promises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlmodel import col, select

from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.files import FileStore, is_of_labels
from oncopixel_pacs.store.tables import ConflictRow, InstanceRow, JobRow, ObjectRow, QuarantineRow

#: Rows with a path, their digest, and whether that is of the data set alone, as received.
_TABLES: tuple[tuple[Any, Any, bool], ...] = (
    (InstanceRow, InstanceRow.digest, True),
    (ConflictRow, ConflictRow.digest, True),
    (ObjectRow, ObjectRow.sha256, False),
    (QuarantineRow, QuarantineRow.sha256, False),
)


def promised(database: Database, files: FileStore, paths: Sequence[str]) -> list[str]:
    """Those of some files, and of some files and folders of label maps, that a row needs."""
    if not paths:
        return []
    with database.read() as session:
        known: set[str] = set()
        for table, _, _ in _TABLES:
            known |= set(session.exec(select(table.path).where(table.path.in_(paths))))
        labels: set[str] = set()
        if any(map(is_of_labels, paths)):
            labels = {files.labels_path(job_id) for job_id in session.exec(select(JobRow.id))}
    return [
        path
        for path in paths
        if path in known or path in labels or path.rpartition("/")[0] in labels
    ]


def promised_digests(database: Database) -> Iterator[tuple[str, str, bool]]:
    """Path and digest of every file that has a row, and whether it is a received object."""
    with database.read() as session:
        for table, column, received in _TABLES:
            for path, digest in session.exec(select(table.path, column)):
                yield path, digest, received


def promised_files(database: Database) -> tuple[list[str], list[str]]:
    """Path of every file that has a row, and id of every job that may have label maps."""
    paths = dict.fromkeys(path for path, _, _ in promised_digests(database))
    with database.read() as session:
        jobs = session.exec(select(JobRow.id).where(col(JobRow.written))).all()
    return list(paths), list(jobs)
