"""How every answer of the API is described."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict


def shape(example: dict[str, Any]) -> ConfigDict:
    """Configure an answer: frozen, described by its docstrings, shown by an example."""
    return ConfigDict(
        from_attributes=True,
        frozen=True,
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [example]},
    )
