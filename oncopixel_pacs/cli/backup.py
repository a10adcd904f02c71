"""``oncopixel backup`` and ``oncopixel restore``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oncopixel_pacs import __version__
from oncopixel_pacs.bootstrap import Store, open_store, utc_now
from oncopixel_pacs.cli.options import ConfigOption
from oncopixel_pacs.receive.intake import is_intact
from oncopixel_pacs.settings import load_settings
from oncopixel_pacs.store.backup import find_damage, make_backup, read_manifest, restore_backup
from oncopixel_pacs.store.held_files import verify

_MOST_NAMED = 20


def backup(
    folder: Annotated[Path, typer.Argument(help="Folder of the backup; made when missing.")],
    config: ConfigOption = None,
) -> None:
    """Back up database and files, while the server runs or not.

    Into the folder of an earlier backup only what is new is copied.
    """
    settings = load_settings(config)
    store = open_store(settings)
    try:
        manifest, copied = make_backup(
            store.database, settings.data_dir, folder, __version__, utc_now()
        )
    finally:
        store.database.close()
    size = f"{manifest.size_bytes / 1024**2:.1f} MiB"
    typer.echo(f"Backed up {len(manifest.files)} files ({size}, {copied} copied) and the database.")


def restore(
    folder: Annotated[Path, typer.Argument(help="Folder of the backup.", exists=True)],
    config: ConfigOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only compare the backup with its digests.")
    ] = False,
) -> None:
    """Put a backup into the empty data directory and database of the configuration.

    Afterwards every file that the database promises is compared with its digest.
    """
    if check:
        _report(find_damage(folder), f"{len(read_manifest(folder).files)} files and the database")
        return
    settings = load_settings(config)
    manifest = restore_backup(folder, settings.data_dir, settings.resolved_database_url)
    typer.echo(
        f"Put back the backup of {manifest.made_at}, by version {manifest.software_version}."
    )
    store = open_store(settings)
    try:
        _verify(store)
    finally:
        store.database.close()


def _verify(store: Store) -> None:
    found = verify(store.database, store.files, is_intact)
    _report(list(found.damaged), f"{found.instances} images and {found.results} results")


def _report(damaged: list[str], whole: str) -> None:
    for path in damaged[:_MOST_NAMED]:
        typer.echo(f"missing or damaged  {path}", err=True)
    if damaged:
        typer.echo(f"{len(damaged)} files are missing or damaged.", err=True)
        raise typer.Exit(1)
    typer.echo(f"{whole} have their digests.")
