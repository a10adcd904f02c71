"""``oncopixel viewer``: OHIF beside the pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from oncopixel_pacs.cli.answers import print_json
from oncopixel_pacs.cli.options import ConfigOption, JsonOption
from oncopixel_pacs.settings import load_settings
from oncopixel_pacs.viewer import BASE, PACKAGE, install_viewer, installed_viewer

viewer = typer.Typer(help="Install the OHIF viewer; see whether it is there.", no_args_is_help=True)


@viewer.command("install")
def install(
    config: ConfigOption = None,
    archive: Annotated[
        Path | None,
        typer.Option(help="The npm package as a file, for a machine without internet."),
    ] = None,
) -> None:
    """Fetch OHIF from npm, check that it is what was published, and put it beside the pages."""
    settings = load_settings(config)
    with Console(stderr=True).status(f"Fetching and checking {PACKAGE}"):
        folder = install_viewer(settings.data_dir, archive)
    typer.echo(f"{PACKAGE} is installed in {folder}.")
    typer.echo(f"Start the server again; it serves the viewer at {BASE}.")


@viewer.command("status")
def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Say whether the viewer is installed, and where."""
    folder = installed_viewer(load_settings(config).data_dir)
    if as_json:
        print_json(dict[str, object], {"package": PACKAGE, "folder": folder})
    else:
        typer.echo(f"{PACKAGE}: {folder or 'not installed; run oncopixel viewer install'}")
    if folder is None:
        raise typer.Exit(1)
