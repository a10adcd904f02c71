"""How the files of deleted studies leave a bucket, and the copies that each host has of them.

A bucket cannot rename, so the rows go first: the record of the deletion says what is to leave, and
is open until all of it has left. Until then no study of that UID begins anew (`arrivals`), so what
leaves is never what came again. Each host reads the records, and lets go of its own copies.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import update
from sqlmodel import col, select

from oncopixel_pacs.store.bucket import BucketFileStore
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.deletion_lock import StillHeld
from oncopixel_pacs.store.files import FileStore, is_of_labels
from oncopixel_pacs.store.promises import promised
from oncopixel_pacs.store.tables import DeletionRow

MARK = "deletions-followed.json"
#: So long whoever read a row before it went may still bring its file to this host.
LATE_READERS = timedelta(hours=1)
_RECORDS_AT_A_TIME = 100


class BucketRemoval:
    """Of files in a bucket, and of this host's copies.

    Parameters
    ----------
    now
        Clock, timezone-aware UTC.
    """

    goes_with_rows = False

    def __init__(
        self,
        database: Database,
        files: FileStore,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        assert isinstance(files, BucketFileStore)  # noqa: S101 - for the type checker
        self._database = database
        self._files: BucketFileStore = files
        self._now = now
        self._mark = files.data_dir / MARK

    def take(self, paths: Sequence[str]) -> None:
        """Do nothing: the record says it."""

    def finish(self, still_held: StillHeld) -> None:
        """Let everything leave that a record says, of whichever host, and our copies too."""
        for record in self._open():
            gone = self._unneeded(record.paths or ())
            # Just before: who lost the lock unawares must not remove what came again since.
            still_held()
            self._files.remove(gone)
            self._let_go(gone)
            with self._database.write() as session:
                session.execute(
                    update(DeletionRow)
                    .where(col(DeletionRow.id) == record.id)
                    .values(removed_at=self._now())
                )

    def mend(self, still_held: StillHeld) -> None:
        """Finish what was interrupted, here or on another host; its rows are gone."""
        self.finish(still_held)

    def recover(self) -> None:
        """Let go of this host's copies of what any host deleted since this was last done.

        It needs no lock: should a copy go that came again in this moment, the bucket has it.
        """
        last = mark = self._followed()
        settled = True
        while records := self._after(last):
            self._let_go(self._unneeded([path for item in records for path in item.paths or ()]))
            for record in records:
                settled = settled and self._is_settled(record)
                mark = record if settled else mark
            last = records[-1]
        self._note_followed(mark)

    def _open(self) -> Sequence[DeletionRow]:
        unfinished = select(DeletionRow).where(col(DeletionRow.removed_at).is_(None))
        with self._database.read() as session:
            return session.exec(unfinished.order_by(col(DeletionRow.id))).all()

    def _after(self, record: DeletionRow | None) -> Sequence[DeletionRow]:
        begin = 0 if record is None or record.id is None else record.id
        later = select(DeletionRow).where(col(DeletionRow.id) > begin)
        with self._database.read() as session:
            return session.exec(later.order_by(col(DeletionRow.id)).limit(_RECORDS_AT_A_TIME)).all()

    def _unneeded(self, paths: Sequence[str]) -> list[str]:
        """Those without a row; jobs and their label maps never come again."""
        needed = set(
            promised(
                self._database, self._files, [path for path in paths if not is_of_labels(path)]
            )
        )
        return [path for path in paths if path not in needed]

    def _let_go(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._files.let_go(path)

    def _is_settled(self, record: DeletionRow) -> bool:
        """Whether nobody can bring a copy of it here any more."""
        return record.removed_at is not None and record.deleted_at < self._now() - LATE_READERS

    def _followed(self) -> DeletionRow | None:
        """Give the last record up to which all is done; none where the database is another."""
        try:
            noted = json.loads(self._mark.read_text(encoding="utf-8"))
            number, deleted_at = int(noted["id"]), str(noted["deleted_at"])
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None
        with self._database.read() as session:
            record = session.get(DeletionRow, number)
        return record if record and record.deleted_at.isoformat() == deleted_at else None

    def _note_followed(self, record: DeletionRow | None) -> None:
        if record is None:
            return
        noted = {"id": record.id, "deleted_at": record.deleted_at.isoformat()}
        # Another process of this host may write it too. What is lost is done again.
        handle, beside = tempfile.mkstemp(dir=self._files.incoming, suffix=".mark")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(noted, stream)
        Path(beside).replace(self._mark)
