"""Settings of a trusted model: a bundle whose own code is run, shut in. Part of `settings`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from oncopixel_pacs.settings.section import Section

_Words = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[ -\[\]-~]+$")]
_Value = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,16}$")]
_Scheme = Annotated[str, Field(pattern=r"^[A-Z0-9_]{1,16}$")]
CodeTriplet = tuple[_Value, _Scheme, _Words]
"""Code value, coding scheme and meaning (PS3.3 table 8.8-1)."""


class TrustedClass(Section):
    """One class that a trusted model tells apart, in the order of its output."""

    name: _Words
    code: CodeTriplet | None = None
    """Code value, scheme and meaning; a private code of the name when absent."""
    absence: bool = False
    """Whether it says that there is nothing."""


class TrustedSettings(Section):
    """A bundle with code of its own, which is run in a process that is shut in."""

    files: tuple[str, ...] = Field(min_length=1)
    """SHA-256 and path of every file of the bundle, as ``sha256sum`` writes them. A file that
    is another, is missing or is new keeps the model from loading."""
    classes: tuple[TrustedClass, ...] = Field(min_length=2, max_length=64)
    """What the numbers of its answer stand for."""
    site: CodeTriplet
    """Which organ its images show."""
    modalities: tuple[Annotated[str, Field(pattern=r"^[A-Z0-9_ ]{1,16}$")], ...] = Field(
        min_length=1
    )
    """Modalities of the images that it reads."""
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    """What makes its answer probabilities, after its own postprocessing."""
    seconds_per_image: float = Field(default=60.0, gt=0, le=3600)
    """An image that takes longer fails, and its process is ended."""
    memory_mib: int = Field(default=4096, ge=512, le=1_048_576)
    """Memory that its process may use, in MiB."""
