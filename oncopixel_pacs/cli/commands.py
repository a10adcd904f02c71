"""Every command, in one tree; what a command needs is loaded when that command is called."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup
from typer.main import get_group

from oncopixel_pacs import RESEARCH_NOTICE, __version__
from oncopixel_pacs.child_process import loading


class _Place(NamedTuple):
    """Module of a command or group of commands, its name there, and what its help begins with."""

    module: str
    name: str
    help: str


_PLACES = {
    "serve": _Place(
        "serve", "serve", "Run the server until it is told to stop (Ctrl-C or SIGTERM)."
    ),
    "run": _Place(
        "run", "run", "Analyse DICOM files in this process, without network or database."
    ),
    "route": _Place(
        "route",
        "route",
        "Say which models would read files, and why not the others. Nothing is sent or kept.",
    ),
    "send": _Place(
        "send", "send", "Act as a modality: send files by C-STORE and say what became of each."
    ),
    "demo": _Place("demo", "demo", "Show the whole loop on this machine."),
    "samples": _Place(
        "samples",
        "samples",
        "Write synthetic four-view mammography studies: no patient, a lesion you can count on.",
    ),
    "conformance": _Place(
        "conformance",
        "conformance",
        "Write the DICOM Conformance Statement of this configuration, as Markdown.",
    ),
    "doctor": _Place(
        "operate",
        "doctor",
        "Check disk, database, models, ports, destinations, sources and alarms; say what to do.",
    ),
    "pull": _Place(
        "pull", "pull", "Fetch a study from an archive; a running server does the work."
    ),
    "top": _Place(
        "top", "top", "Show live how it goes: throughput, queue, jobs, destinations, disk, alarms."
    ),
    "backup": _Place(
        "backup", "backup", "Back up database and files, while the server runs or not."
    ),
    "restore": _Place(
        "backup",
        "restore",
        "Put a backup into the empty data directory and database of the configuration.",
    ),
    "retention": _Place("retention", "retention", "Delete by policy what is proven elsewhere."),
    "sources": _Place("pull", "sources", "List and echo the sources of pulls."),
    "audit": _Place("audit", "audit", "List and check the audit trail."),
    "users": _Place("access", "users", "Add, change and remove users."),
    "tokens": _Place("access", "tokens", "Make and revoke tokens of programs."),
    "studies": _Place("status", "studies", "List studies; declare one complete; settle conflicts."),
    "jobs": _Place("status", "jobs", "List, show, retry and cancel jobs."),
    "models": _Place("models", "models", "List, check and add models."),
    "destinations": _Place(
        "operate", "destinations", "List and echo the destinations; forget one that is gone."
    ),
    "viewer": _Place("viewer", "viewer", "Install the OHIF viewer; see whether it is there."),
}


@cache
def _load(word: str) -> Any:
    place = _PLACES[word]
    with loading():
        found = getattr(import_module(f"oncopixel_pacs.cli.{place.module}"), place.name)
    return _branch(word, found)


def _branch(word: str, found: Any, told: str | None = None) -> Any:
    """Make the command of a function, or the group of commands of a ``Typer``."""
    branch = typer.Typer(pretty_exceptions_enable=False)
    if isinstance(found, typer.Typer):
        branch.add_typer(found, name=word)
    else:
        branch.command(word, help=told)(found)
    return get_group(branch).commands[word]


class _Commands(Mapping[str, Any]):
    """The commands by their words; one that is taken out is loaded."""

    def __getitem__(self, word: str) -> Any:
        return _load(word)

    def __iter__(self) -> Iterator[str]:
        return iter(_PLACES)

    def __len__(self) -> int:
        return len(_PLACES)


class _Tree(TyperGroup):
    """The root: it knows what its commands are called and what they do before it has them."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{**attributes, "commands": None})
        self.commands = _Commands()  # type: ignore[assignment]  # nothing is ever put in

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_PLACES)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        announced = copy.copy(self)
        announced.commands = {
            word: _branch(word, lambda: None, place.help) for word, place in _PLACES.items()
        }
        TyperGroup.format_help(announced, ctx, formatter)


app = typer.Typer(
    name="oncopixel",
    help=f"Open mammography AI server for the PACS. {RESEARCH_NOTICE}",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    cls=_Tree,
)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_say_version, is_eager=True),
    ] = False,
) -> None:
    """Take the options that come before any command; their callbacks act."""
