"""How the files of deleted studies go.

A folder sets files aside by a rename before the rows go, and gives them up afterwards; see
`bucket_removal` for what lies in a bucket.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.deletion_lock import StillHeld, deletion_lock
from oncopixel_pacs.store.files import FileStore
from oncopixel_pacs.store.promises import promised
from oncopixel_pacs.store.set_aside import SetAside


class Removal(Protocol):
    """What `Retention` asks of it. Every method raises `OSError` when disk or bucket refuse."""

    @property
    def goes_with_rows(self) -> bool:
        """Whether files are gone for all when the rows are; else the record says what is left."""
        ...

    def take(self, paths: Sequence[str]) -> None:
        """Prepare to remove files and folders, before their rows go."""
        ...

    def finish(self, still_held: StillHeld) -> None:
        """Remove for good what has no row any more. The deletion lock is held."""
        ...

    def mend(self, still_held: StillHeld) -> None:
        """Finish, or undo, what was interrupted. The deletion lock is held."""
        ...

    def recover(self) -> None:
        """See to it that no file of a deleted study is here, as a server starts."""
        ...


class FolderRemoval:
    """Of files below the data directory."""

    goes_with_rows = True

    def __init__(self, database: Database, files: FileStore) -> None:
        self._database = database
        self._files = files
        self.aside = SetAside(files.data_dir)

    def take(self, paths: Sequence[str]) -> None:
        """Set files and folders aside."""
        self.aside.take(paths)

    def finish(self, still_held: StillHeld) -> None:
        """Remove what was set aside."""
        self.aside.remove()

    def mend(self, still_held: StillHeld) -> None:
        """Bring back what a row still needs, and remove the rest."""
        for path in promised(self._database, self._files, list(self.aside.held())):
            self.aside.bring_back(path)
        self.aside.remove()

    def recover(self) -> None:
        """Mend, as soon as nobody deletes."""
        with deletion_lock(self._database, self._files.data_dir) as still_held:
            assert still_held is not None  # noqa: S101 - it was waited for
            self.mend(still_held)


def removal_of(database: Database, files: FileStore) -> Removal:
    """Give the one that fits."""
    if not files.is_cache:
        return FolderRemoval(database, files)
    from oncopixel_pacs.store.bucket_removal import BucketRemoval  # most hosts have no bucket

    return BucketRemoval(database, files)
