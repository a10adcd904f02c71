"""What a backup folder holds: the manifest, a copy of the database, and the copies of the files.

A file that changed since the backup before is copied to ``changed/`` and takes its place below
``files/`` only when the manifest names it: until then the backup before is whole. What an
unfinished backup has copied already stands in ``copied.jsonl``, so that the next one goes on there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.store.files import StorageAway

MANIFEST = "manifest.json"
FILES = "files"
CHANGED = "changed"
COPIED = "copied.jsonl"
_SAID = ("made_at", "software_version", "database", "database_sha256", "installation")
#: 1 did not tell whose it is.
_FORMAT, _FORMATS = 2, (1, 2)

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
    found = [
        f"{FILES}/{path}"
        for path, item in watch(list(manifest.files.items()))
        if not any(is_whole(place, item.sha256) for place in places_of(folder, path))
    ]
    if not is_whole(folder / manifest.database, manifest.database_sha256):
        found.append(manifest.database)
    return sorted(found)


def places_of(folder: Path, relative: str) -> tuple[Path, Path]:
    """Where the copy of a file may lie: the second, when the backup was ended at its end."""
    return folder / FILES / relative, folder / CHANGED / relative


def put_changed_in_place(folder: Path, files: Mapping[str, CopiedFile]) -> None:
    """Move what a manifest names from ``changed/`` to its place, and remove the rest of it.

    Parameters
    ----------
    files
        Of the manifest that is in force.
    """
    for path in sorted((folder / CHANGED).rglob("*")):
        relative = str(path.relative_to(folder / CHANGED))
        named = files.get(relative)
        if named is not None and path.is_file() and is_whole(path, named.sha256):
            path.replace(folder / FILES / relative)
            sync((folder / FILES / relative).parent)
    if (folder / CHANGED).exists():
        shutil.rmtree(folder / CHANGED)


class CopiedSoFar:
    """What an unfinished backup has copied, a line of JSON for each file.

    Parameters
    ----------
    installation
        Database that is backed up; what was copied of another one counts for nothing.
    """

    def __init__(self, folder: Path, installation: str) -> None:
        self._path = folder / COPIED
        self._installation = installation

    def read(self) -> dict[str, CopiedFile]:
        """Return the files by path; a line that was not written to its end is left out."""
        found: dict[str, CopiedFile] = {}
        try:
            with self._path.open(encoding="utf-8") as stream:
                if stream.readline().rstrip("\n") != self._installation:
                    return {}
                for line in stream:
                    path, sha256, size_bytes, modified_ns = json.loads(line)
                    found[path] = CopiedFile(sha256, size_bytes, modified_ns)
        except (FileNotFoundError, ValueError):
            pass
        return found

    @contextmanager
    def writing(
        self, known: Mapping[str, CopiedFile]
    ) -> Iterator[Callable[[str, CopiedFile], None]]:
        """Begin anew with what is known; gives what notes one more file."""
        with self._path.open("w", encoding="utf-8") as stream:
            stream.write(f"{self._installation}\n")
            for path, item in known.items():
                _note(stream, path, item)
            stream.flush()

            def note(path: str, item: CopiedFile) -> None:
                _note(stream, path, item)
                stream.flush()

            yield note

    def forget(self) -> None:
        """Remove it: the backup is finished."""
        self._path.unlink(missing_ok=True)


def _note(stream: TextIO, path: str, item: CopiedFile) -> None:
    stream.write(json.dumps([path, item.sha256, item.size_bytes, item.modified_ns]) + "\n")


def copy_file(source: Path, target: Path) -> CopiedFile:
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


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest durably, in the place of the one of before."""
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
    sync(folder)


def is_whole(path: Path, sha256: str) -> bool:
    """Whether a file is there with this digest."""
    try:
        return digest_of(path) == sha256
    except OSError:
        return False


def digest_of(path: Path) -> str:
    """SHA-256 of a file, lower case hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn what a disk or a bucket refuses into a sentence."""
    try:
        yield
    except StorageAway as exc:
        raise ConfigurationError(str(exc)) from exc
    except (OSError, shutil.Error) as exc:
        raise ConfigurationError(
            f"{folder} cannot be used ({exc}); check its rights and its free space."
        ) from exc
