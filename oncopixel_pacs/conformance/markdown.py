"""Pieces of Markdown that the statement is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydicom.uid import UID


def name(uid: str) -> str:
    """Name of a UID in PS3.6, or the UID."""
    return str(UID(uid).name)


def yes(said: bool) -> str:
    """Word for a truth."""
    return "yes" if said else "no"


def seconds(value: float) -> str:
    """Duration in words."""
    return f"{value:g} s"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Table with its head."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
