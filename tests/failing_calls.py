"""Makes functions fail for a while, as disks and databases do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def failing_first(real: Callable[..., Any], *failures: Exception) -> Callable[..., Any]:
    """Raise each of these at one call in turn, and do the real thing from then on."""
    left = list(failures)

    def call(*arguments: Any, **named: Any) -> Any:
        if left:
            raise left.pop(0)
        return real(*arguments, **named)

    return call
