"""``oncopixel backup`` and ``oncopixel restore``."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from oncopixel_pacs import __version__
from oncopixel_pacs.cli.answers import print_json
from oncopixel_pacs.cli.options import ConfigOption, JsonOption
from oncopixel_pacs.cli.progress import watching
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.opening import Store, open_existing, open_store, utc_now
from oncopixel_pacs.receive.intake import is_intact
from oncopixel_pacs.settings import load_settings
from oncopixel_pacs.store.backup import make_backup
from oncopixel_pacs.store.backup_folder import find_damage, read_manifest
from oncopixel_pacs.store.held_files import verify
from oncopixel_pacs.store.installation import Backups
from oncopixel_pacs.store.ownership import give_all_to_owner
from oncopixel_pacs.store.restore import end_restore, restore_backup
from oncopixel_pacs.store.retention_clock import RetentionClock

_MOST_NAMED = 20


def backup(
    folder: Annotated[Path, typer.Argument(help="Folder of the backup; made when missing.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Back up database and files, while the server runs or not.

    Into the folder of an earlier backup only what is new is copied.
    """
    settings = load_settings(config)
    store = open_existing(settings)
    try:
        manifest, copied = make_backup(
            store.database, store.files, folder, __version__, utc_now(), watching("Copying")
        )
    finally:
        store.database.close()
    if as_json:
        about = {
            "made_at": manifest.made_at,
            "software_version": manifest.software_version,
            "files": len(manifest.files),
            "size_bytes": manifest.size_bytes,
            "copied": copied,
        }
        print_json(dict[str, object], about)
        return
    size = f"{manifest.size_bytes / 1024**2:.1f} MiB"
    typer.echo(f"Backed up {len(manifest.files)} files ({size}, {copied} copied) and the database.")


def restore(
    folder: Annotated[Path, typer.Argument(help="Folder of the backup.", exists=True)],
    config: ConfigOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only compare the backup with its digests.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Put a backup into the empty data directory and database of the configuration.

    Afterwards every file that the database promises is compared with its digest.
    """
    if check:
        damaged = find_damage(folder, watching("Comparing"))
        whole = f"{len(read_manifest(folder).files)} files and the database"
        _report(damaged, whole, as_json)
        return
    settings = load_settings(config)
    manifest = restore_backup(
        folder, settings.data_dir, settings.resolved_database_url, watching("Copying")
    )
    typer.echo(
        f"Put back the backup of {manifest.made_at}, by version {manifest.software_version}.",
        err=as_json,
    )
    store = open_store(settings)
    try:
        give_all_to_owner(settings.data_dir)
        _hand_out(store)
        # The copy of the database was made before it could know of this backup.
        Backups(store.database).note_made(datetime.fromisoformat(manifest.made_at))
        # The backup may be old; that is no leap of the clock.
        RetentionClock(store.database, settings.executor).confirm(utc_now())
        end_restore(settings.data_dir)
        _verify(store, as_json)
    finally:
        store.database.close()


def _hand_out(store: Store) -> None:
    try:
        store.files.hand_out()
    except OSError as exc:
        raise ConfigurationError(f"Not every file could be put in the bucket: {exc}.") from exc


def _verify(store: Store, as_json: bool) -> None:
    found = verify(store.database, store.files, is_intact, watching("Comparing"))
    whole = f"{found.instances} images and {found.results} results"
    _report(list(found.damaged), whole, as_json)


def _report(damaged: list[str], whole: str, as_json: bool) -> None:
    if as_json:
        print_json(dict[str, object], {"whole": not damaged, "damaged": damaged})
    for path in damaged[:_MOST_NAMED]:
        typer.echo(f"missing or damaged  {path}", err=True)
    if damaged:
        typer.echo(f"{len(damaged)} files are missing or damaged.", err=True)
        raise typer.Exit(1)
    if not as_json:
        typer.echo(f"{whole} have their digests.")
