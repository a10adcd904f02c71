"""Backup: one copy of the database, every file, and a manifest with their digests.

The database is copied first and the files after it, so that every row of the copy has its file;
a file without a row is adopted at the next start. What lies in a bucket alone is fetched as it is
copied, and what only this host's copy of it holds is left out. The manifest is written last: what
has no manifest is no backup, and until there is a new one the one of before stays whole.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlmodel import select

from oncopixel_pacs.errors import ConfigurationError, OutOfResources
from oncopixel_pacs.store.backup_folder import (
    CHANGED,
    COPIED,
    FILES,
    MANIFEST,
    CopiedFile,
    CopiedSoFar,
    Manifest,
    Watch,
    copy_file,
    digest_of,
    disk_errors,
    put_changed_in_place,
    read_manifest,
    write_manifest,
)
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.database_copy import SUFFIXES, copy_database
from oncopixel_pacs.store.deletion_lock import deletion_lock
from oncopixel_pacs.store.files import FileStore, is_of_labels
from oncopixel_pacs.store.installation import Backups, installation_of
from oncopixel_pacs.store.promises import promised, promised_files
from oncopixel_pacs.store.tables import InstanceRow

#: So many paths are asked for in one query.
_AT_A_TIME = 200
#: What a backup that was interrupted leaves, and what a volume of its own has.
_NOT_STRANGE = (FILES, CHANGED, COPIED, f"{MANIFEST}.part", "lost+found")


def make_backup(
    database: Database,
    files: FileStore,
    folder: Path,
    software_version: str,
    now: datetime,
    watch: Watch = iter,
) -> tuple[Manifest, int]:
    """Back up database and files, while a server may run.

    Parameters
    ----------
    folder
        Made when missing. Into the folder of an earlier backup only what is new or changed is
        copied; the result is one whole backup, of now.
    watch
        Every file passes through it; for a display of progress.

    Returns
    -------
    tuple
        What the backup holds, and how many files had to be copied.

    Raises
    ------
    ConfigurationError
        When the folder cannot be written, or holds something else or the backup of another
        database, or a file cannot be read.
    """
    with disk_errors(folder), deletion_lock(database, files.data_dir):
        installation = installation_of(database)
        with suppress(OutOfResources):  # a full disk is a reason for a backup
            Backups(database).note_begun(now)
        earlier = _prepare(folder, database, installation)
        beside = folder / "database.part"
        copy_database(database.engine, beside)
        digest = digest_of(beside)
        name = f"database-{digest[:16]}{SUFFIXES[database.engine.dialect.name]}"
        beside.replace(folder / name)
        # Asked after the copy: what came since is more than it promises, and does no harm.
        listed, jobs = promised_files(database)
        paths = list(files.every_path(listed, jobs))
        there = set(paths)
        needed = [item for item in listed if _must_be_there(item)]
        # Else a folder that is not mounted would empty the backup.
        gone = [item for item in needed if item not in there]
        if (missed := _still_promised(database, files, gone)) is not None:
            raise _gone(database, missed, len(gone))
        copying = _Copying(folder, files, earlier, CopiedSoFar(folder, installation))
        try:
            kept, copied = copying.copy(paths, _Needed(database, files, set(needed)), watch)
        except FileNotFoundError as exc:  # nor is it in the bucket
            missing = Path(str(exc.filename))
            if not missing.is_relative_to(files.data_dir):
                raise
            raise _gone(database, str(missing.relative_to(files.data_dir)), 1) from exc
        manifest = Manifest(now.isoformat(), software_version, name, digest, kept, installation)
        write_manifest(folder, manifest)
        put_changed_in_place(folder, manifest.files)
        copying.so_far.forget()
        _remove_leftovers(folder, manifest)
        Backups(database).note_made(now)
        return manifest, copied


@dataclass(frozen=True, slots=True)
class _Needed:
    """The files that a row promised when they were listed, and still does."""

    database: Database
    files: FileStore
    listed: Container[str]

    def __contains__(self, relative: object) -> bool:
        if relative not in self.listed:
            return False
        return _still_promised(self.database, self.files, [str(relative)]) is not None


@dataclass(frozen=True, slots=True)
class _Copying:
    """Copies the files of one backup.

    Attributes
    ----------
    earlier
        What the finished backup of before holds.
    so_far
        What one that was interrupted since has copied.
    """

    folder: Path
    store: FileStore
    earlier: Mapping[str, CopiedFile]
    so_far: CopiedSoFar

    def copy(
        self, paths: Sequence[str], needed: Container[str], watch: Watch
    ) -> tuple[dict[str, CopiedFile], int]:
        """Copy what is new or changed; returns every file, and how many had to be copied."""
        so_far = self.so_far.read()
        known = {**so_far, **self.earlier}
        files: dict[str, CopiedFile] = {}
        copied = 0
        with self.so_far.writing(so_far) as note:
            for relative in watch(paths):
                try:
                    if self._is_held(relative, known.get(relative)):
                        files[relative] = known[relative]
                        continue
                    files[relative] = self._copy(relative)
                except FileNotFoundError as exc:
                    # A label map that is made anew, or an object that came again: nobody waits.
                    if relative in needed or not self._is_ours(exc):
                        raise
                    continue
                copied += 1
                if relative not in self.earlier:
                    note(relative, files[relative])
        return files, copied

    def _copy(self, relative: str) -> CopiedFile:
        # In the place of the earlier copy it would be missed until there is a new manifest.
        replaces = relative in self.earlier and (self.folder / FILES / relative).is_file()
        place = self.folder / (CHANGED if replaces else FILES) / relative
        place.parent.mkdir(parents=True, exist_ok=True)
        return copy_file(self.store.absolute(relative), place)

    def _is_held(self, relative: str, known: CopiedFile | None) -> bool:
        if known is None or not (self.folder / FILES / relative).is_file():
            return False
        if self.store.is_cache and not is_of_labels(relative):
            return True  # its name holds its digest, and each host's copy has a time of its own
        status = self.store.absolute(relative).stat()
        return (known.size_bytes, known.modified_ns) == (status.st_size, status.st_mtime_ns)

    def _is_ours(self, exc: FileNotFoundError) -> bool:
        return Path(str(exc.filename)).is_relative_to(self.store.data_dir)


def _prepare(folder: Path, database: Database, installation: str) -> dict[str, CopiedFile]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (folder / MANIFEST).exists():
        earlier = read_manifest(folder)
        if not _is_ours(earlier, database, installation):
            raise ConfigurationError(
                f"The backup in {folder} is of another database, and stays as it is. See that "
                "data_dir is mounted and that this is the server's configuration (--config), or "
                "choose another folder."
            )
        # One that was ended just after its manifest.
        put_changed_in_place(folder, earlier.files)
        return earlier.files
    # What an interrupted backup left is begun again; anything else is not ours to touch.
    strange = [
        path.name
        for path in folder.iterdir()
        if path.name not in _NOT_STRANGE and not path.name.startswith("database")
    ]
    if strange:
        raise ConfigurationError(
            f"{folder} holds {strange[0]}, which is no part of a backup; choose another folder."
        )
    return {}


def _is_ours(earlier: Manifest, database: Database, installation: str) -> bool:
    """Whether a backup is of this database; of the first format its files tell."""
    if earlier.installation:
        return earlier.installation == installation
    return not earlier.files or not earlier.files.keys().isdisjoint(promised_files(database)[0])


def _must_be_there(relative: str) -> bool:
    """Whether nobody may have removed a file by hand, as they may what was held back."""
    return not relative.startswith("quarantine/")


def _still_promised(database: Database, files: FileStore, paths: Sequence[str]) -> str | None:
    """Return the first that a row needs now; content that proved to be the same has none."""
    for begin in range(0, len(paths), _AT_A_TIME):
        for found in promised(database, files, paths[begin : begin + _AT_A_TIME]):
            return found
    return None


def _gone(database: Database, relative: str, number: int) -> ConfigurationError:
    owner = select(InstanceRow.study_instance_uid).where(InstanceRow.path == relative)
    with database.read() as session:
        study = session.exec(owner).first()
    whose = "" if study is None else f", an image of study {study},"
    more = f" and {number - 1} more" if number > 1 else ""
    return ConfigurationError(
        f"{relative}{whose}{more} is gone from data_dir, so there is no new backup; the earlier "
        "one stays. See that data_dir is mounted; put the file back from an earlier backup, or "
        "send the study again from the PACS."
    )


def _remove_leftovers(folder: Path, manifest: Manifest) -> None:
    for path in folder.glob("database-*"):
        if path.name != manifest.database:
            path.unlink()
    files = folder / FILES
    if not files.is_dir():
        return
    for path in files.rglob("*"):
        if path.is_file() and str(path.relative_to(files)) not in manifest.files:
            path.unlink()
