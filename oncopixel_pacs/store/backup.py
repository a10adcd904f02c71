"""Backup and restore: one copy of the database, every file, and a manifest with their digests.

The database is copied first and the files after it, so that every row of the copy has its file;
a file without a row is adopted at the next start. What lies in a bucket alone is fetched as it is
copied, and what only this host's copy of it holds is left out. The manifest is written last: what
has no manifest is no backup.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlmodel import select

from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.database_copy import SUFFIXES, copy_database, put_back
from oncopixel_pacs.store.deletion_lock import deletion_lock
from oncopixel_pacs.store.files import KEPT_FOLDERS, FileStore, StorageAway, is_of_labels
from oncopixel_pacs.store.installation import Backups, installation_of
from oncopixel_pacs.store.promises import promised_files
from oncopixel_pacs.store.tables import InstanceRow

MANIFEST = "manifest.json"
_SAID = ("made_at", "software_version", "database", "database_sha256", "installation")
#: 1 did not tell whose it is.
_FORMAT, _FORMATS = 2, (1, 2)
_FILES = "files"

#: What a long walk passes its items through, so that somebody can see how far it is.
Watch = Callable[[Sequence[Any]], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class CopiedFile:
    """One file of a backup: digest of all its bytes, and what tells that it did not change."""

    sha256: str
    size_bytes: int
    modified_ns: int


_OF_A_FILE = frozenset(CopiedFile.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds.

    Attributes
    ----------
    software_version
        Of the server that made it.
    database, database_sha256
        File with the copy of the database inside the backup, and its digest.
    files
        By path relative to the data directory.
    installation
        Id of the database that it is a backup of; empty in the first format.
    """

    made_at: str
    software_version: str
    database: str
    database_sha256: str
    files: dict[str, CopiedFile]
    installation: str = ""

    @property
    def size_bytes(self) -> int:
        """Bytes of all files, without the database."""
        return sum(item.size_bytes for item in self.files.values())


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
    with _disk_errors(folder), deletion_lock(database, files.data_dir):
        installation = installation_of(database)
        earlier = _prepare(folder, database, installation)
        beside = folder / "database.part"
        copy_database(database.engine, beside)
        digest = _digest(beside)
        name = f"database-{digest[:16]}{SUFFIXES[database.engine.dialect.name]}"
        beside.replace(folder / name)
        # Asked after the copy: what came since is more than it promises, and does no harm.
        promised, jobs = promised_files(database)
        paths = list(files.every_path(promised, jobs))
        there = set(paths)
        # Else a folder that is not mounted would empty the backup.
        if gone := [item for item in promised if _must_be_there(item) and item not in there]:
            raise _gone(database, gone[0], len(gone))
        try:
            kept, copied = _copy_files(files, paths, folder / _FILES, earlier, watch)
        except FileNotFoundError as exc:  # nor is it in the bucket
            missing = Path(str(exc.filename))
            if not missing.is_relative_to(files.data_dir):
                raise
            raise _gone(database, str(missing.relative_to(files.data_dir)), 1) from exc
        manifest = Manifest(now.isoformat(), software_version, name, digest, kept, installation)
        _write_manifest(folder, manifest)
        _remove_leftovers(folder, manifest)
        Backups(database).note_made(now)
        return manifest, copied


def read_manifest(folder: Path) -> Manifest:
    """Read what a backup holds.

    Raises
    ------
    ConfigurationError
        When there is no finished backup, or one of a newer format.
    """
    try:
        with (folder / MANIFEST).open(encoding="utf-8") as stream:
            told: dict[str, Any] = json.load(stream, object_pairs_hook=_as_told)
        if told.pop("format") not in _FORMATS:
            raise ConfigurationError(
                f"The backup in {folder} has another format; restore it with the version "
                f"{told['software_version']} that made it."
            )
        manifest = Manifest(**told)
        if not all(isinstance(item, CopiedFile) for item in manifest.files.values()):
            raise TypeError(MANIFEST)
        return manifest
    except (OSError, ValueError, TypeError, KeyError) as exc:
        raise ConfigurationError(
            f"There is no finished backup in {folder}: {MANIFEST} is missing or damaged."
        ) from exc


def _as_told(pairs: list[tuple[str, Any]]) -> Any:
    """Make each file as it is read; a dictionary more for each would be much memory."""
    found = dict(pairs)
    return CopiedFile(**found) if found.keys() == _OF_A_FILE else found


def find_damage(folder: Path, watch: Watch = iter) -> list[str]:
    """Compare every file of a backup with its digest.

    Returns
    -------
    list of str
        Paths inside the backup that are missing or not as they were written; sorted.
    """
    manifest = read_manifest(folder)
    expected = {f"{_FILES}/{path}": item.sha256 for path, item in manifest.files.items()}
    expected[manifest.database] = manifest.database_sha256
    found = (
        path
        for path, digest in watch(list(expected.items()))
        if not _is_whole(folder / path, digest)
    )
    return sorted(found)


def restore_backup(
    folder: Path, data_dir: Path, database_url: str, watch: Watch = iter
) -> Manifest:
    """Put a backup in an empty place.

    Files come first and the database last: until then there is nothing to start from.

    Raises
    ------
    ConfigurationError
        When the backup is damaged, the place is not empty, or cannot be written.
    """
    manifest = read_manifest(folder)
    with _disk_errors(data_dir):
        for name in KEPT_FOLDERS:
            if any(path.is_file() for path in (data_dir / name).rglob("*")):
                raise ConfigurationError(
                    f"{data_dir} holds files already; restore into an empty folder."
                )
        if not _is_whole(folder / manifest.database, manifest.database_sha256):
            raise ConfigurationError(f"{manifest.database} is damaged; take another backup.")
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, item in watch(list(manifest.files.items())):
            target = data_dir / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if _copy(folder / _FILES / path, target).sha256 != item.sha256:
                raise ConfigurationError(
                    f"{_FILES}/{path} of the backup is damaged; take another backup."
                )
        for parent in sorted({(data_dir / path).parent for path in manifest.files}):
            _sync(parent)
        put_back(folder / manifest.database, database_url)
    return manifest


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
        return earlier.files
    # What an interrupted backup left is begun again; anything else is not ours to touch.
    strange = [
        path.name
        for path in folder.iterdir()
        if path.name != _FILES and not path.name.startswith("database")
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


def _copy_files(
    store: FileStore,
    paths: Sequence[str],
    target: Path,
    earlier: dict[str, CopiedFile],
    watch: Watch,
) -> tuple[dict[str, CopiedFile], int]:
    files: dict[str, CopiedFile] = {}
    copied = 0
    for relative in watch(paths):
        place = target / relative
        known = earlier.get(relative)
        if known is not None and place.is_file() and _is_unchanged(store, relative, known):
            files[relative] = known
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        files[relative] = _copy(store.absolute(relative), place)
        copied += 1
    return files, copied


def _must_be_there(relative: str) -> bool:
    """Whether nobody may have removed a file by hand, as they may what was held back."""
    return not relative.startswith("quarantine/")


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


def _is_unchanged(store: FileStore, relative: str, known: CopiedFile) -> bool:
    if store.is_cache and not is_of_labels(relative):
        return True  # its name holds its digest, and each host's copy has a time of its own
    status = store.absolute(relative).stat()
    return (known.size_bytes, known.modified_ns) == (status.st_size, status.st_mtime_ns)


def _copy(source: Path, target: Path) -> CopiedFile:
    """Copy a file durably; its digest is of the bytes that were read."""
    digest = hashlib.sha256()
    beside = target.with_name(f"{target.name}.part")
    with source.open("rb") as reading, beside.open("wb") as writing:
        status = os.fstat(reading.fileno())
        while chunk := reading.read(1 << 20):
            digest.update(chunk)
            writing.write(chunk)
        writing.flush()
        os.fsync(writing.fileno())
        size = writing.tell()
    os.utime(beside, ns=(status.st_mtime_ns, status.st_mtime_ns))
    beside.replace(target)
    return CopiedFile(digest.hexdigest(), size, status.st_mtime_ns)


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    beside = folder / f"{MANIFEST}.part"
    said = {"format": _FORMAT, **{key: getattr(manifest, key) for key in _SAID}}
    with beside.open("w", encoding="utf-8") as stream:
        # Piece by piece: there may be millions of files.
        stream.write(json.dumps(said, indent=1).removesuffix("\n}") + ',\n "files": {')
        for number, (path, item) in enumerate(manifest.files.items()):
            comma = "," if number else ""
            stream.write(f"{comma}\n  {json.dumps(path)}: {json.dumps(asdict(item))}")
        stream.write("\n }\n}\n")
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(folder / MANIFEST)
    _sync(folder)


def _remove_leftovers(folder: Path, manifest: Manifest) -> None:
    for path in folder.glob("database-*"):
        if path.name != manifest.database:
            path.unlink()
    files = folder / _FILES
    if not files.is_dir():
        return
    for path in files.rglob("*"):
        if path.is_file() and str(path.relative_to(files)) not in manifest.files:
            path.unlink()


def _is_whole(path: Path, sha256: str) -> bool:
    try:
        return _digest(path) == sha256
    except OSError:
        return False


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except StorageAway as exc:
        raise ConfigurationError(str(exc)) from exc
    except (OSError, shutil.Error) as exc:
        raise ConfigurationError(
            f"{folder} cannot be used ({exc}); check its rights and its free space."
        ) from exc
