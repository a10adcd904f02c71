"""What the tables of the configuration have in common: their base, and kinds of values."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

#: PS3.5 6.2: printable, no backslash, and not of spaces alone.
AeTitle = Annotated[str, Field(max_length=16, pattern=r"^[ -\[\]-~]*[!-\[\]-~][ -\[\]-~]*$")]
Port = Annotated[int, Field(ge=0, le=65535)]
#: PS3.5 9.1.
Uid = Annotated[str, Field(max_length=64, pattern=r"^(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+$")]
Name = Annotated[str, Field(min_length=1, max_length=64)]
#: At most a year, so that adding it to a time never overflows.
Seconds = Annotated[float, Field(ge=0, le=31_536_000)]
PositiveSeconds = Annotated[float, Field(gt=0, le=31_536_000)]


class Section(BaseModel):
    """A table of the configuration file: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
