"""``oncopixel top``: how it goes, live in the terminal."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from oncopixel_pacs.cli.answers import print_json
from oncopixel_pacs.cli.options import ConfigOption, JsonOption
from oncopixel_pacs.cli.top.screen import draw
from oncopixel_pacs.cli.top.sources import Reading, Snapshot, Unreachable, reading

_QUIT = frozenset("qQ\x03\x1b")


def top(
    url: Annotated[
        str | None,
        typer.Option(help="Address of a running server; this machine's data when absent."),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(help="API token for --url.", envvar="ONCOPIXEL_TOKEN", show_envvar=True),
    ] = None,
    interval: Annotated[
        float, typer.Option(min=0.2, max=3600, help="Seconds between two looks.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Show it once, and end.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show live how it goes: throughput, queue, jobs, destinations, disk, alarms.

    q or Ctrl-C ends it. Without a terminal it is shown once.
    """
    console = Console()
    live = console.is_terminal and sys.stdin.isatty()
    with reading(url, token, config) as read:
        if as_json:
            print_json(Snapshot, read())
        elif once or not live:
            console.print(draw(read(), console.width))
        else:
            _watch(console, read, interval)


def _watch(console: Console, read: Reading, interval: float) -> None:
    seen = read()
    with _keys() as key, Live(console=console, screen=True, auto_refresh=False) as live:
        trouble = ""
        while True:
            live.update(draw(seen, console.width, console.height, interval, trouble), refresh=True)
            if key(interval) in _QUIT:
                return
            try:
                seen, trouble = read(), ""
            except Unreachable as exc:
                # What was seen last is better than nothing, as long as it is said.
                trouble = str(exc)


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """Take keys as they are struck; gives what waits for one, and answers empty when none came."""
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    tty.setcbreak(number)
    try:

        def key(seconds: float) -> str:
            ready, _, _ = select.select([number], [], [], seconds)
            # The terminal that is gone ends it, too.
            return (os.read(number, 1).decode("latin-1") or "q") if ready else ""

        yield key
    except KeyboardInterrupt:
        return
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)
