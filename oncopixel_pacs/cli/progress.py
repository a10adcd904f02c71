"""Progress of long work: a bar on standard error of a terminal, and silence anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")


def progress_bar(*, silent: bool = False) -> Progress:
    """Make a bar that goes when the work is done."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        disable=silent or not console.is_terminal,
    )


def tracked(
    items: Iterable[Item], description: str, total: int | None = None, *, silent: bool = False
) -> Iterator[Item]:
    """Iterate, and show how far it has come."""
    with progress_bar(silent=silent) as progress:
        yield from progress.track(items, total=total, description=description)


def watching(description: str, *, silent: bool = False) -> Callable[[Sequence[Any]], Iterable[Any]]:
    """Make what long functions pass their sequence through."""
    return partial(tracked, description=description, silent=silent)
