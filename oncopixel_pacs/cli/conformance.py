"""``oncopixel conformance``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oncopixel_pacs import __version__
from oncopixel_pacs.cli.options import ConfigOption
from oncopixel_pacs.settings import load_settings


def conformance(
    config: ConfigOption = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write to; standard output when absent.")
    ] = None,
) -> None:
    """Write the DICOM Conformance Statement of this configuration, as Markdown."""
    settings = load_settings(config)
    from oncopixel_pacs.conformance.statement import statement

    text = statement(settings, __version__)
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
