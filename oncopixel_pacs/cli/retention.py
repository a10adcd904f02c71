"""``oncopixel retention``: what may be deleted, deleting it, and what was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from oncopixel_pacs.cli.answers import print_json
from oncopixel_pacs.cli.options import ConfigOption, JsonOption
from oncopixel_pacs.cli.tables import Table
from oncopixel_pacs.opening import open_existing, utc_now
from oncopixel_pacs.settings import load_settings
from oncopixel_pacs.store.retention import Deletion, Expired, Retention
from oncopixel_pacs.store.retention_clock import RetentionClock
from oncopixel_pacs.workflow.engine import WorkQueue
from oncopixel_pacs.workflow.purging import Purge

retention = typer.Typer(help="Delete by policy what is proven elsewhere.", no_args_is_help=True)


@retention.command("plan")
def plan(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Dry run: list what the policy would delete now; nothing is deleted."""
    with _opened(config) as purge:
        found = purge.retention.expired(purge.before, limit=1_000_000)
        kept = purge.retention.held_back(purge.before)
        leap = purge.clock.leap(purge.now())
    if leap:
        typer.echo(leap, err=True)
    if as_json:
        print_json(tuple[Expired, ...], found)
        return
    _show(found)
    size = sum(item.size_bytes for item in found) / 1024**2
    typer.echo(f"{len(found)} studies would be deleted ({size:.1f} MiB).")
    typer.echo(f"{kept} as old are kept: not every result of them is confirmed.")


@retention.command("apply")
def apply(
    config: ConfigOption = None,
    clock_is_right: Annotated[
        bool,
        typer.Option("--clock-is-right", help="Believe the clock although it is days ahead."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete now what the policy allows; the server does the same by itself."""
    with _opened(config) as purge:
        if clock_is_right:
            purge.clock.confirm(purge.now())
        found = tuple(purge.run())
    if as_json:
        print_json(tuple[Expired, ...], found)
        return
    _show(found)
    typer.echo(f"{len(found)} studies were deleted.")


@retention.command("records")
def records(
    config: ConfigOption = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List what was deleted: when, by which rule, and the digest of every object."""
    with _opened(config) as purge:
        found = purge.retention.deletions(limit)
    if as_json:
        print_json(tuple[Deletion, ...], found)
        return
    table = Table("Deleted", "Study Instance UID", "Images", "Results", "Files", "Rule")
    for item in found:
        table.add_row(
            f"{item.deleted_at:%Y-%m-%d %H:%M:%S}",
            item.study_instance_uid,
            str(item.images),
            str(item.results),
            "leaving" if item.removed_at is None else "gone",
            item.policy,
        )
    Console().print(table)


@contextlib.contextmanager
def _opened(config: Path | None) -> Iterator[Purge]:
    settings = load_settings(config)
    store = open_existing(settings)
    try:
        with contextlib.closing(WorkQueue(store.database.engine)) as queue:
            retention = Retention(store.database, store.files)
            clock = RetentionClock(store.database, settings.executor)
            yield Purge(retention, queue, settings.retention, utc_now, clock)
    finally:
        store.database.close()


def _show(studies: tuple[Expired, ...]) -> None:
    table = Table("Study Instance UID", "Last received", "Images", "Results", "MiB")
    for item in studies:
        table.add_row(
            item.study_instance_uid,
            f"{item.last_received_at:%Y-%m-%d}",
            str(item.images),
            str(item.results),
            f"{item.size_bytes / 1024**2:.1f}",
        )
    Console().print(table)
