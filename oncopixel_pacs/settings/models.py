"""Settings of the models, and those that come with the product."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from oncopixel_pacs.domain.algorithms import ModelMode, ModelTask
from oncopixel_pacs.settings.rules import RuleSettings
from oncopixel_pacs.settings.section import Name, Section
from oncopixel_pacs.settings.trusted import TrustedSettings

BUNDLES = Path(__file__).parents[1] / "bundles"


class ModelSettings(Section):
    """A MONAI bundle that the server runs."""

    name: Name
    """Name of the model, unique."""
    task: ModelTask
    """What it answers: ``classify`` (a probability per image) or ``segment`` (lesion mask)."""
    bundle: Path
    """Folder of the bundle; relative paths start at the configuration file."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of ``models/model.pt``; weights with another digest are refused."""
    threshold: float = Field(ge=0.0, le=1.0)
    """Operating point: probability at or above which the model calls a finding."""
    shadow: bool = False
    """Reads beside the active models; what it says is kept and compared, and never sent."""
    shipped: bool = False
    """Comes with the product, under this name: task, bundle and digest are known then and left
    out, and the threshold is its own unless one is given."""
    rule: RuleSettings = RuleSettings()
    trusted: TrustedSettings | None = None

    @property
    def mode(self) -> ModelMode:
        """How it reads."""
        return ModelMode.SHADOW if self.shadow else ModelMode.ACTIVE

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, given: Any) -> Any:
        """Fill in what the product knows of a model that comes with it."""
        if not isinstance(given, dict) or given.get("shipped") is not True:
            return given
        known = {item.name: item for item in shipped_models()}
        if given.get("name") not in known:
            raise ValueError(f"only {' and '.join(known)} come with the product")
        if needless := sorted({"task", "bundle", "sha256", "trusted"} & given.keys()):
            raise ValueError(f"a shipped model has its own {needless[0]}; leave that out")
        return {**known[given["name"]].model_dump(), **given}


@cache
def shipped_models() -> tuple[ModelSettings, ...]:
    """Read the models that come with the product, pinned by ``bundles/models.toml``."""
    table = tomllib.loads((BUNDLES / "models.toml").read_text(encoding="utf-8"))
    entries = (ModelSettings.model_validate(entry) for entry in table["models"])
    return tuple(
        entry.model_copy(update={"bundle": BUNDLES / entry.bundle, "shipped": True})
        for entry in entries
    )
