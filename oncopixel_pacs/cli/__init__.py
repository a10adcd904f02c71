"""The command line: ``oncopixel …``. Exit status 0 success, 1 failure, 2 wrong usage.

Importing this is cheap: the commands are in `commands`, and the shell, when it wants to complete a
word, asks `completion` alone.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oncopixel_pacs.cli.commands import app as app


def main() -> None:
    """Run the command line; an error of ours is one sentence on standard error."""
    from oncopixel_pacs.cli.completion import complete

    if complete():
        return
    from oncopixel_pacs.child_process import fill_closed_streams, share_cores

    fill_closed_streams()
    import typer

    from oncopixel_pacs.cli.commands import app as commands
    from oncopixel_pacs.errors import OncoPixelError

    share_cores()
    try:
        commands()
    except OncoPixelError as exc:
        typer.echo(f"oncopixel: {exc}", err=True)
        sys.exit(1)
    except OSError as exc:
        place = f"{exc.filename}: " if exc.filename else ""
        said = f"{place}{exc.strerror or exc}; check path, rights and disk."
        typer.echo(f"oncopixel: {said}", err=True)
        sys.exit(1)


def __getattr__(name: str) -> Any:
    if name == "app":
        from oncopixel_pacs.cli.commands import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
