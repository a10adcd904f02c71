"""What is trained, on what, for how long: one TOML file per task."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.infer.bundle_config import OWN_NETWORKS
from oncopixel_pacs.infer.card import Words

TASKS = Path(__file__).parent / "tasks"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class NetworkConfig(_Part):
    """A network of ``monai.networks.nets`` or of ours, as it will stand in the bundle."""

    target: Literal["UNet", "DenseNet", "ResNet", "LiteUNet", "LiteUNetEnsemble", "LiteClassifier"]
    """Class name; the last three are of ``oncopixel_pacs.infer.networks``."""
    arguments: dict[str, Any]
    """Literal keyword arguments."""
    pretrained: Literal["efficientnet-lite0", "efficientnet-lite2"] | None = None
    """Published weights that the encoder begins with; networks of ours only."""
    frozen_blocks: int = Field(default=3, ge=0)
    """Of a pretrained encoder: blocks that stay as published, beside the first convolution."""

    @property
    def path(self) -> str:
        """Where the class lies, as ``_target_`` of a bundle names it."""
        own = self.target in OWN_NETWORKS
        package = "oncopixel_pacs.infer.networks" if own else "monai.networks.nets"
        return f"{package}.{self.target}"


class Seeds(_Part):
    """Seeds of generated phantom studies, ``first`` to ``first + count - 1``.

    Seeds below 10000 are for demonstrations and tests and never trained on.
    """

    first: int = Field(ge=10_000)
    count: int = Field(ge=1)


class Tuning(_Part):
    """Patients of ``train`` that change no weights: operating point and calibration are theirs."""

    folds: int = Field(ge=2)
    """Equal parts, by patient, of every set; each has its share of women with a malignancy."""
    fold: int = Field(default=0, ge=0)
    """Which of them is set apart."""


class DataConfig(_Part):
    """Which images train the model, and how often each set is drawn."""

    shares: dict[str, float]
    """Share of the training images per set; ``phantoms`` are the generated ones."""
    phantom_train: Seeds
    """Phantom studies to train on; each has a lesion, in one breast."""
    phantom_val: Seeds
    """Phantom studies that choose the threshold; every other one has a lesion."""
    phantom_test: Seeds
    """Phantom studies that are only ever scored; every other one has a lesion."""
    tuning: Tuning | None = None
    """Absent: every patient of ``train`` changes weights, and ``val`` has to choose."""


class Phase(_Part):
    """One stretch of training; a later one starts from the weights of the one before."""

    kind: Literal["crops", "images"]
    """Crops around lesions and elsewhere, or whole images."""
    size: tuple[int, int]
    """Crops: ``(height, width)`` in pixels of the model's grid. Images keep their own size."""
    steps: int = Field(ge=1)
    """Optimiser steps."""
    batch: int = Field(ge=1)
    """Images per step."""
    learning_rate: float = Field(gt=0)
    """Highest rate of the one-cycle schedule."""
    encoder_rate: float = Field(default=1.0, ge=0)
    """Factor of the learning rate for a pretrained encoder; 0 leaves it as it is."""
    weight_decay: float = Field(default=1e-3, ge=0)
    """Of AdamW."""
    positive_share: float = Field(default=0.5, ge=0, le=1)
    """Crops: probability that one is centred on a lesion where there is one."""
    augmentation: Literal["plain", "strong"] = "plain"
    """Crops: ``strong`` has larger turns, elastic deformation, other tone curves and holes too."""
    shares: dict[str, float] | None = None
    """Shares of the sets in this phase, where they differ from the task's."""
    ema_decay: float = Field(default=0.999, gt=0, lt=1)
    """Decay of the exponential moving average of the weights, which is what is kept."""


class Task(_Part):
    """A model to be trained."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    """Name of the model."""
    version: str
    """Version of the model, raised with every release of its weights."""
    task: ModelTask
    """What the model answers."""
    description: str
    """One sentence for the model card."""
    manufacturer: Words = "not stated"
    """Who answers for the model; stands in every result that it has a part in."""
    seed: int
    """Of weights, sampling and augmentation."""
    network: NetworkConfig
    precision: Literal["32-true", "bf16-mixed"] = "bf16-mixed"
    """Of training; exported weights and inference are float32."""
    data: DataConfig
    phases: tuple[Phase, ...] = Field(min_length=1)

    def with_set_apart(self, folds: int) -> Task:
        """Set one in `folds` of the training patients apart; with 0 the task stays as it is.

        Raises
        ------
        ConfigurationError
            With one fold, which would leave nobody to train on.
        """
        if folds == 0:
            return self
        if folds == 1:
            raise ConfigurationError("--set-apart needs at least 2; 5 leaves a fifth out.")
        data = self.data.model_copy(update={"tuning": Tuning(folds=folds)})
        return self.model_copy(update={"data": data})

    def with_seed(self, seed: int | None) -> Task:
        """Draw everything random anew, for another training of the same; without one, as it is."""
        return self if seed is None else self.model_copy(update={"seed": seed})

    def joined(self, members: int) -> Task:
        """Give the task of several trainings that answer together; of one, the task as it is.

        Raises
        ------
        ConfigurationError
            When the network has no such form.
        """
        if members == 1:
            return self
        if self.network.target != "LiteUNet":
            raise ConfigurationError(
                f"{self.name} is a {self.network.target}; only trainings of a LiteUNet are joined."
            )
        arguments = {"members": members, **self.network.arguments}
        update = {"target": "LiteUNetEnsemble", "arguments": arguments}
        return self.model_copy(update={"network": self.network.model_copy(update=update)})


def task_names() -> list[str]:
    """Names of the tasks that come with the product."""
    return sorted(path.stem for path in TASKS.glob("*.toml"))


def load_task(name: str) -> Task:
    """Read a task by name, or from a TOML file of one's own.

    Parameters
    ----------
    name
        A name of `task_names`, or the path of a ``.toml`` file.

    Raises
    ------
    ConfigurationError
        When there is no such task or its file is not valid.
    """
    path = Path(name) if name.endswith(".toml") else TASKS / f"{name}.toml"
    if not path.is_file():
        raise ConfigurationError(
            f"There is no task {name}; choose among {', '.join(task_names())} "
            "or give the path of a TOML file."
        )
    try:
        return Task.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, ValidationError) as exc:
        raise ConfigurationError(f"{path} is not a valid task: {exc}") from exc
