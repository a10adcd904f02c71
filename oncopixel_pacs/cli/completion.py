"""Answers the shell when it completes a word, without loading what the commands load.

The shape of the commands is read from a file that the first answer leaves behind; a light copy of
them is made from it, which typer completes. Values are asked of `values`.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import Enum
from inspect import isclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_type_hints

import typer

from oncopixel_pacs import __version__

#: What the shell sets when it wants to know how a line may go on.
_ASKS = "_ONCOPIXEL_COMPLETE"


@dataclass(frozen=True)
class Word:
    """One parameter of a command.

    Attributes
    ----------
    spelled
        How an option is written, ``--config`` and ``-c``; empty for an argument.
    kind
        ``flag``, ``file`` or ``text``.
    choices
        The only values, where there are such.
    """

    name: str
    spelled: tuple[str, ...]
    kind: str
    many: bool
    choices: tuple[str, ...]
    help: str


def complete() -> bool:
    """Print how the line may go on, as the shell's function takes it; false when nobody asked."""
    if _ASKS not in os.environ:
        return False
    _copy(_shape())(prog_name="oncopixel", complete_var=_ASKS)
    return True


def shape_file() -> Path:
    """Path of the file that remembers the shape; another one for every state of the commands."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    changed = max(path.stat().st_mtime_ns for path in Path(__file__).parent.rglob("*.py"))
    return Path(home) / "oncopixel" / f"commands-{__version__}-{changed}.json"


def _shape() -> dict[str, dict[str, Any]]:
    file = shape_file()
    with contextlib.suppress(OSError, ValueError):
        known: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
        return known
    found = read_shape()
    # Where it cannot be kept, the next answer is as slow as this one.
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        for old in file.parent.glob("commands-*.json"):
            old.unlink()
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as beside:
            json.dump(found, beside)
        Path(beside.name).replace(file)
    return found


def read_shape() -> dict[str, dict[str, Any]]:
    """Read help and parameters of every command from the commands themselves, by its words."""
    from typer.main import get_command

    from oncopixel_pacs.cli.commands import app

    return {
        words: {
            "help": command.get_short_help_str(80),
            "words": [asdict(w) for w in _words(command)],
        }
        for words, command in _commands(get_command(app), "")
    }


def _commands(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for word, command in tree.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix}{word} ")
        else:
            yield f"{prefix}{word}", command


def _words(command: Any) -> Iterator[Word]:
    hints = get_type_hints(inspect.unwrap(command.callback))
    for item in command.params:
        option = item.param_type_name == "option"
        # Of list[Path] and Path | None, Path.
        inner = {one for one in get_args(hints[item.name]) if one is not NoneType}
        inner = {part for one in inner for part in get_args(one) or (one,)} or {hints[item.name]}
        enums = [one for one in inner if isclass(one) and issubclass(one, Enum)]
        kind = "file" if Path in inner else "text"
        yield Word(
            name=item.name,
            spelled=_spelled(item) if option else (),
            kind="flag" if getattr(item, "is_flag", False) else kind,
            many=item.multiple if option else item.nargs != 1,
            choices=tuple(str(choice.value) for enum in enums for choice in enum),
            help=(getattr(item, "help", "") or "").partition("\n")[0],
        )


def _spelled(item: Any) -> tuple[str, ...]:
    if item.secondary_opts:
        return (f"{item.opts[0]}/{item.secondary_opts[0]}",)
    return tuple(item.opts)


def _copy(shape: dict[str, dict[str, Any]]) -> typer.Typer:
    """Make commands that do nothing but look the same."""
    root = typer.Typer(name="oncopixel")
    root.callback()(_before_any_command)
    groups: dict[str, typer.Typer] = {}
    for words, told in shape.items():
        group, _, last = words.rpartition(" ")
        if group and group not in groups:
            groups[group] = typer.Typer(no_args_is_help=True)
            root.add_typer(groups[group], name=group)
        below = groups[group] if group else root
        below.command(last, help=told["help"])(
            _hollow(words, [Word(**word) for word in told["words"] if word["name"] != "help"])
        )
    return root


def _before_any_command(version: Annotated[bool, typer.Option("--version")] = False) -> None:
    """Have the options that the program has itself."""


def _hollow(words: str, parameters: list[Word]) -> Callable[..., None]:
    def nothing(**_: Any) -> None: ...

    taken = []
    for word in parameters:
        kind: Any = {"flag": bool, "file": Path, "text": str}[word.kind]
        if word.many:
            kind = list[kind]
        default: Any = False if word.kind == "flag" else None
        ask = _asking(words, word)
        given = (
            typer.Option(*word.spelled, help=word.help, autocompletion=ask)
            if word.spelled
            else typer.Argument(help=word.help, autocompletion=ask)
        )
        taken.append(
            inspect.Parameter(
                word.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=default,
                annotation=Annotated[kind, given],
            )
        )
    nothing.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]
    nothing.__annotations__ = {item.name: item.annotation for item in taken}
    return nothing


def _asking(words: str, word: Word) -> Callable[..., list[str]] | None:
    if word.kind == "flag":
        return None
    if word.choices:
        return lambda incomplete: [item for item in word.choices if item.startswith(incomplete)]

    def ask(ctx: typer.Context, incomplete: str) -> list[str]:
        from oncopixel_pacs.cli.values import VALUES, values_of
        from oncopixel_pacs.errors import OncoPixelError

        if (words, word.name) not in VALUES:
            return []
        config = ctx.params.get("config") or os.environ.get("ONCOPIXEL_CONFIG")
        # A configuration with a mistake completes nothing; the command will say what is wrong.
        with contextlib.suppress(OncoPixelError):
            found = values_of(words, word.name, Path(config) if config else None)
            return [item for item in found if item.startswith(incomplete)]
        return []

    # Files are the shell's own matter.
    return None if word.kind == "file" else ask
