"""Says what is wrong with a configuration, and which setting a mistyped one was meant to be."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


def explain(error: ValidationError, settings: type[BaseModel]) -> str:
    """Say in one sentence what is refused, without the values: some are secret.

    Parameters
    ----------
    settings
        Model of the whole configuration.
    """
    problems = []
    for item in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in item["loc"])
        said = item["msg"]
        if item["type"] == "extra_forbidden":
            said = f"there is no such setting{_meant(item['loc'], settings)}"
        problems.append(f"{where}: {said}" if where else said)
    return "Configuration refused: " + "; ".join(problems) + "."


def _meant(place: Sequence[int | str], settings: type[BaseModel]) -> str:
    sections = [settings]
    for part in place[:-1]:
        fields = [item.model_fields[str(part)] for item in sections if part in item.model_fields]
        # An index, or the type of a destination, is no field: it stays in the same section.
        if fields:
            sections = [found for field in fields for found in _sections_in(field.annotation)]
    known = {name for item in sections for name in item.model_fields}
    near = difflib.get_close_matches(str(place[-1]), sorted(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _sections_in(part)
