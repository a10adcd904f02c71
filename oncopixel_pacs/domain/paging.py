"""Part of a list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Part of a list. `next_cursor` fetches what follows; ``None`` at the end."""

    items: tuple[Item, ...]
    next_cursor: str | None = None
