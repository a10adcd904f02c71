"""Restore: what a backup holds, put in an empty place.

Files come first and the database last. A marker in the data directory stands from the first file
until all is done, so that no server begins on half of it: it would take the files for studies of
which it never heard, and have them read and sent anew.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.store.backup_folder import (
    FILES,
    Manifest,
    Watch,
    copy_file,
    disk_errors,
    is_whole,
    places_of,
    read_manifest,
    sync,
)
from oncopixel_pacs.store.database_copy import is_empty, put_back, require_empty
from oncopixel_pacs.store.files import KEPT_FOLDERS
from oncopixel_pacs.store.installation import InstallationRow

MARKER = "restoring"


def restore_backup(
    folder: Path, data_dir: Path, database_url: str, watch: Watch = iter
) -> Manifest:
    """Put a backup in an empty place, or where the restore of the same backup was interrupted.

    No server starts there before `end_restore`.

    Raises
    ------
    ConfigurationError
        When the backup is damaged, the place is not empty, or cannot be written.
    """
    manifest = read_manifest(folder)
    with disk_errors(data_dir):
        goes_on = _goes_on(data_dir, manifest)
        if not goes_on:
            _require_no_files(data_dir)
        # Now, and not after hours of copying.
        is_back = goes_on and not is_empty(database_url) and _is_back(database_url, manifest)
        if not is_back:
            require_empty(database_url)
        if not is_whole(folder / manifest.database, manifest.database_sha256):
            raise ConfigurationError(f"{manifest.database} is damaged; take another backup.")
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        (data_dir / MARKER).write_text(manifest.database_sha256, encoding="ascii")
        sync(data_dir / MARKER)
        sync(data_dir)
        for path, sha256 in watch([(path, item.sha256) for path, item in manifest.files.items()]):
            _put(folder, path, data_dir / path, sha256)
        for parent in sorted({(data_dir / path).parent for path in manifest.files}):
            sync(parent)
        if not is_back:
            put_back(folder / manifest.database, database_url)
    return manifest


def end_restore(data_dir: Path) -> None:
    """Let servers start there.

    Raises
    ------
    ConfigurationError
        When the data directory cannot be written.
    """
    with disk_errors(data_dir):
        (data_dir / MARKER).unlink(missing_ok=True)
        sync(data_dir)


def require_restored(data_dir: Path) -> None:
    """Refuse a data directory in which a restore is under way or was interrupted.

    Raises
    ------
    ConfigurationError
        When it is.
    """
    if (data_dir / MARKER).exists():
        raise ConfigurationError(
            f"A restore into {data_dir} is under way or was interrupted; run the same oncopixel "
            "restore again, which goes on, or empty the folder."
        )


def _goes_on(data_dir: Path, manifest: Manifest) -> bool:
    try:
        begun = (data_dir / MARKER).read_text(encoding="ascii")
    except FileNotFoundError:
        return False
    if begun != manifest.database_sha256:
        raise ConfigurationError(
            f"The restore of another backup into {data_dir} was interrupted; empty that folder, "
            "or restore the same again."
        )
    return True


def _require_no_files(data_dir: Path) -> None:
    for name in KEPT_FOLDERS:
        if any(path.is_file() for path in (data_dir / name).rglob("*")):
            raise ConfigurationError(
                f"{data_dir} holds files already; restore into an empty folder."
            )


def _is_back(database_url: str, manifest: Manifest) -> bool:
    """Whether the database is there already: it comes in one piece."""
    engine = sa.create_engine(database_url, poolclass=sa.NullPool, hide_parameters=True)
    try:
        with engine.connect() as connection:
            found = connection.scalar(sa.text(f"SELECT id FROM {InstallationRow.__tablename__}"))  # noqa: S608
    except sa.exc.SQLAlchemyError:
        return False
    return manifest.installation != "" and found == manifest.installation


def _put(folder: Path, relative: str, target: Path, sha256: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    for place in places_of(folder, relative):
        if place.is_file() and copy_file(place, target).sha256 == sha256:
            return
    raise ConfigurationError(
        f"{FILES}/{relative} of the backup is damaged or missing; take another backup."
    )
