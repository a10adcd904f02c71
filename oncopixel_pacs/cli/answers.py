"""What commands print for scripts, and how they refuse a name that they do not know."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Any

import typer
from pydantic import TypeAdapter


def print_json(kind: Any, value: Any) -> None:
    """Print one JSON document on standard output.

    Parameters
    ----------
    kind
        Type of the value: a dataclass, a model of the API, or a container of them.
    """
    typer.echo(TypeAdapter(kind).dump_json(value, indent=2).decode())


def require_known(name: str | None, known: Collection[str], what: str) -> None:
    """Refuse a name that is not one of those configured, and suggest the nearest.

    Raises
    ------
    typer.BadParameter
        Exit status 2.
    """
    if name is None or name in known:
        return
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        raise typer.BadParameter(f"there is no {what} {name}; did you mean {near[0]}?")
    there = f"there are {', '.join(known)}" if known else "none is configured"
    raise typer.BadParameter(f"there is no {what} {name}; {there}")
