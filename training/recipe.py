"""What is trained, on what, for how long: one YAML file per recipe, typed, nothing hidden."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.infer.card import Words

RECIPES = Path(__file__).parent / "tasks"
Kind = Literal["classify", "segment", "multitask"]
Reading = Literal["breast", "colour", "grey"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class NetworkPart(_Part):
    """A network by name (`training.network_names`), with literal arguments."""

    name: str
    """Such as ``DenseNet121``, ``ViT`` or ``UNet``."""
    arguments: dict[str, Any] = {}
    """Beside channels and classes, which follow from the data."""
    checkpoint: str | None = None
    """ViT only: folder of a Hugging Face checkpoint, or ``--from`` on the command line."""


class DataPart(_Part):
    """Which images, what they show, and how they are split."""

    sets: tuple[str, ...] = Field(min_length=1)
    """Readers (`training.datasets.readers`); ``phantoms`` are generated."""
    phantoms: int = Field(default=0, ge=0)
    """Generated women per part."""
    reading: Reading
    """``breast``: as the server prepares mammograms; ``colour``, ``grey``: brought to `size`."""
    size: tuple[int, int]
    """``(height, width)`` of the input; for ``breast`` of training, scoring takes whole images."""
    classes: tuple[str, ...] = Field(min_length=1)
    """Labels in the order of the logits; the last of two is the positive one. Segmentation: the
    classes of the pixels, one for a lesion against the rest."""
    label: str = "label"
    """``label``, or the name of a fact such as ``subtype``."""
    merge: dict[str, str] = {}
    """Labels that count as another, such as ``normal: benign``."""
    folds: int = Field(default=1, ge=1, le=20)
    """1: the official test part, or a fifth of the patients. More: cross-validation by patient."""
    bag: int = Field(default=1, ge=1, le=8)
    """Views of a breast that are read together; 1 reads every image alone."""
    duplicates: Literal["none", "perceptual"] = "none"
    """``perceptual``: copies of a picture are found by their look and kept in one part."""
    balance: bool = True
    """Whether classes (segmentation: images with and without lesion) are drawn evenly."""


class Stage(_Part):
    """One stretch of training; a later one starts from the weights of the one before."""

    kind: Literal["images", "patches"] = "images"
    """Whole images, or patches around lesions and elsewhere."""
    size: tuple[int, int] | None = None
    """``(height, width)`` where it differs from the data's."""
    epochs: int = Field(ge=1)
    steps: int = Field(ge=1)
    """Optimiser steps per epoch."""
    batch: int = Field(ge=1)
    """Images per step; with several devices, of each."""
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=1e-3, ge=0)
    positive_share: float = Field(default=0.5, ge=0, le=1)
    """Patches: how many are centred on a lesion, where there is one."""


class TrainingPart(_Part):
    """How the optimiser works."""

    stages: tuple[Stage, ...] = Field(min_length=1)
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    """``auto``: bf16-mixed on a GPU, else 32-true."""
    channels_last: bool = True
    """On a GPU; a CPU keeps the plain layout."""
    ema_decay: float = Field(default=0.999, gt=0, lt=1)
    patience: int = Field(default=10, ge=1)
    """Epochs without a better loss on validation patients before a stage ends."""
    label_smoothing: float = Field(default=0.05, ge=0, lt=0.5)
    flips: Literal["all", "mirror", "upside_down", "none"] = "all"
    """``all``: both axes and quarter turns; ``upside_down``: for prepared breasts."""
    devices: int = Field(default=1, ge=1)
    strategy: str = "auto"
    """Of Lightning, such as ``ddp`` with several devices."""


class SmokePart(_Part):
    """What ``--smoke`` replaces so that everything runs in seconds."""

    arguments: dict[str, Any] = {}
    size: tuple[int, int] = (64, 64)


class Recipe(_Part):
    """A model to be trained, compared and exported."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    version: str
    kind: Kind
    description: str
    """One sentence for the model card."""
    seed: int
    network: NetworkPart
    data: DataPart
    training: TrainingPart
    smoke: SmokePart = SmokePart()
    twin: str | None = None
    """Recipe that ``compare`` trains beside it on an equal budget."""
    data_licence: str
    """Terms of the data, for the model card."""
    manufacturer: Words = "not stated"
    """Who answers for the model; stands in every result that it has a part in."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.kind == "classify" and len(self.data.classes) < 2:
            raise ValueError("A classifier needs at least two classes.")
        if self.data.bag > 1 and self.network.name != "AttentionMIL":
            raise ValueError("Views are read together by AttentionMIL only; set bag to 1.")
        if any(stage.kind == "patches" for stage in self.training.stages) and (
            self.data.reading != "breast" or self.kind == "multitask"
        ):
            raise ValueError("Patches are cut from prepared breasts, for one answer at a time.")
        return self

    @property
    def logits(self) -> int:
        """Logits per image or pixel: one for a question of yes or no, else one per class."""
        count = len(self.data.classes)
        return 1 if count <= 2 and not (self.kind == "segment" and count == 2) else count

    def smoked(self) -> Recipe:
        """Give the same recipe, small: two stages of two steps at most, one fold."""
        stages = tuple(
            stage.model_copy(
                update={"epochs": 1, "steps": 2, "batch": min(stage.batch, 4), "size": None}
            )
            for stage in self.training.stages
        )
        training = self.training.model_copy(update={"stages": stages, "ema_decay": 0.5})
        data = self.data.model_copy(
            update={
                "size": self.smoke.size,
                "folds": 1,
                # Generated women instead of the mammography sets, whose pictures are large.
                **({"sets": ("phantoms",), "phantoms": 1} if self.data.reading == "breast" else {}),
            }
        )
        network = self.network.model_copy(
            update={
                "arguments": {**self.network.arguments, **self.smoke.arguments},
                "checkpoint": None,
            }
        )
        return self.model_copy(update={"training": training, "data": data, "network": network})


def recipe_names() -> list[str]:
    """Names of the recipes that come with the product."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load_recipe(name: str) -> Recipe:
    """Read a recipe by name, or from a YAML file of one's own.

    Raises
    ------
    ConfigurationError
        When there is no such recipe or its file is not valid.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        raise ConfigurationError(
            f"There is no task {name}; choose among {', '.join(recipe_names())} "
            "or give the path of a YAML file."
        )
    try:
        return Recipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError) as exc:
        raise ConfigurationError(f"{path} is not a valid task: {_problems(exc)}") from exc


def _problems(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    found = error.errors(include_url=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'file'}: {one['msg']}" for one in found)
