"""What the configured models say of themselves, read without torch.

A bundle is a folder in the MONAI bundle layout (``configs/metadata.json``,
``configs/inference.json`` or ``.yaml``, ``models/model.pt``). Beyond MONAI's own keys,
``metadata.json`` must hold a table ``oncopixel``::

    "oncopixel": {
        "task": "segment",                     what it answers: "classify" or "segment"
        "activation": "sigmoid",               from the network's output to a probability:
                                               "sigmoid" (1 channel) or "softmax" (2 channels,
                                               of which the second is malignancy)
        "preprocessing_sha256": "9f2c…",       digest of the preprocessing it was trained with
        "pixel_size_mm": 0.5,                  size of a pixel on the model's grid
        "manufacturer": "OncoPixel",           who answers for the model
        "outline_threshold": 0.4,             optional, of a segmenter: findings reach down to this
                                               probability, below the operating point
        "eligibility": {                       optional, as is each of its keys: which images it
                                               reads, beyond what every model asks
            "sop_class_uids": ["1.2.840.10008.5.1.4.1.1.1.2"],
            "views": ["CC", "MLO"],
            "lateralities": ["L", "R"],
            "manufacturers": ["ACME"],         as Manufacturer (0008,0070) begins
            "pixel_size_mm": [0.05, 0.2],      least and largest
            "burned_in_annotation": false      whether it reads images with text burned in
        }
    }

The last of ``classes``, or of the output's ``channel_def``, of a classifier must name malignancy.
``operating_points`` states under ``default`` the threshold that was measured.

``calibration``, beside the table, is applied to the probability of a classifier and to its
operating point, which is configured for the network's own score. ``network_data_format`` must state
one input ``image`` of one channel and two whole-number spatial sizes, and one output whose
``num_channels`` agrees with the activation. What a model of other pictures states instead is in
`picture_card`, and how a bundle with code of its own is read in `trusted.stranger_card`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from oncopixel_pacs.domain import Algorithm, Laterality, ModelTask, View
from oncopixel_pacs.domain.model_choice import Candidate
from oncopixel_pacs.domain.requirements import Requirements
from oncopixel_pacs.domain.rules import Rule
from oncopixel_pacs.errors import ModelRefused
from oncopixel_pacs.imaging.picture_input import PictureInput
from oncopixel_pacs.imaging.preprocess import Preprocessing
from oncopixel_pacs.infer.card import (
    CHANNELS,
    Activation,
    CalibrationTable,
    Card,
    Words,
    require_meant,
)
from oncopixel_pacs.infer.picture_card import is_picture_card, read_picture_card
from oncopixel_pacs.infer.trusted.manifest import require_unchanged
from oncopixel_pacs.infer.trusted.stranger_card import read_stranger_card
from oncopixel_pacs.settings import ModelSettings
from oncopixel_pacs.settings.section import Uid

#: Files of a bundle that say how its weights are run, as far as they are there.
CONFIGURATIONS = ("metadata.json", "inference.json", "inference.yaml", "inference.yml")
_MAX_METADATA_BYTES = 1_000_000
_MOST_CLASSES = 2
_PixelSize = Annotated[float, Field(gt=0, le=10)]
_Side = Annotated[int, Field(ge=16, le=8192)]


class _Eligibility(BaseModel):
    model_config = ConfigDict(extra="forbid")
    sop_class_uids: tuple[Uid, ...] = ()
    views: tuple[View, ...] = ()
    lateralities: tuple[Laterality, ...] = ()
    manufacturers: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = ()
    pixel_size_mm: tuple[_PixelSize, _PixelSize] | None = None
    burned_in_annotation: bool = False

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.pixel_size_mm and self.pixel_size_mm[0] > self.pixel_size_mm[1]:
            raise ValueError("pixel_size_mm is the least size and then the largest")
        return self


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid")
    task: ModelTask
    activation: Activation
    preprocessing_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    pixel_size_mm: float = Field(gt=0.01, le=10)
    manufacturer: Words
    outline_threshold: float | None = Field(default=None, gt=0, lt=1)
    eligibility: _Eligibility = _Eligibility()


class _Image(BaseModel):
    num_channels: Literal[1]
    spatial_shape: tuple[_Side, _Side]


class _Inputs(BaseModel):
    model_config = ConfigDict(extra="forbid")
    image: _Image


class _Output(BaseModel):
    num_channels: int
    channel_def: dict[int, str] = {}


class _DataFormat(BaseModel):
    inputs: _Inputs
    outputs: dict[str, _Output] = Field(min_length=1, max_length=1)


class _Metadata(BaseModel):
    version: Words
    network_data_format: _DataFormat
    calibration: CalibrationTable = CalibrationTable()
    classes: tuple[str, ...] = ()
    preprocessing: object = None
    oncopixel: _Table

    @property
    def views_together(self) -> int:
        """How many images of a breast the model reads at once, as our training states it."""
        stated = self.preprocessing.get("views") if isinstance(self.preprocessing, dict) else None
        if stated is None:
            return 1
        if type(stated) is not int:
            raise ValueError(f"preprocessing.views is a whole number, not {stated!r}")
        return stated

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.calibration.kind == "temperature":
            raise ValueError("a model of mammograms has two classes: calibration is none or platt")
        if self.calibration.kind != "none" and self.oncopixel.task is ModelTask.SEGMENT:
            raise ValueError("a segmenter has no calibration")
        if self.oncopixel.outline_threshold and self.oncopixel.task is ModelTask.CLASSIFY:
            raise ValueError("a classifier outlines nothing: it has no outline_threshold")
        if self.views_together < 1:
            raise ValueError("preprocessing.views is 1 or more")
        (output,) = self.network_data_format.outputs.values()
        for names in (self.classes, [name for _, name in sorted(output.channel_def.items())]):
            if len(names) > _MOST_CLASSES:
                raise ValueError(f"a model of mammograms has two classes at most, not {len(names)}")
            require_meant(self.oncopixel.task, names)
        return self


def read_card(model: ModelSettings) -> Card:
    """Read and check ``configs/metadata.json`` of one bundle.

    Raises
    ------
    ModelRefused
        When the file is missing, is not JSON, lacks something or contradicts itself.
    """
    if model.trusted is not None:
        return read_stranger_card(model, model.trusted)
    path = model.bundle / "configs" / "metadata.json"
    try:
        if path.stat().st_size > _MAX_METADATA_BYTES:
            raise ModelRefused(f"Model {model.name}: {path} is too large to be metadata.")
        content = path.read_bytes()
        if is_picture_card(content):
            return read_picture_card(content)
        metadata = _Metadata.model_validate_json(content)
    except OSError as exc:
        raise ModelRefused(
            f"Model {model.name}: {path} cannot be read ({exc.strerror}); "
            "check the model's bundle setting."
        ) from exc
    except ValidationError as exc:
        raise ModelRefused(
            f"Model {model.name}: metadata.json is refused ({_problems(exc)}); "
            "correct it or export the bundle again."
        ) from exc
    table = metadata.oncopixel
    (output,) = metadata.network_data_format.outputs.values()
    if output.num_channels != CHANNELS[table.activation]:
        raise ModelRefused(
            f"Model {model.name}: metadata.json states {output.num_channels} output channels, but "
            f"activation {table.activation} needs {CHANNELS[table.activation]}; correct it."
        )
    return Card(
        version=metadata.version,
        task=table.task,
        activation=table.activation,
        preprocessing_sha256=table.preprocessing_sha256,
        pixel_size_mm=table.pixel_size_mm,
        manufacturer=table.manufacturer,
        input_shape=metadata.network_data_format.inputs.image.spatial_shape,
        requirements=Requirements(**dict(table.eligibility)),
        outline_threshold=table.outline_threshold,
        calibrator=metadata.calibration.as_calibrator(),
        views_together=metadata.views_together,
    )


def read_algorithms(models: Sequence[ModelSettings]) -> tuple[Algorithm, ...]:
    """Read the cards of the configured models and check their weights against the pins.

    Parameters
    ----------
    models
        At least one; of those with one task, the first that fits a study reads it.

    Returns
    -------
    tuple of Algorithm
        In the order of `models`.

    Raises
    ------
    ModelRefused
        When there is none, weights are missing or not the pinned ones, or a
        card does not fit the configuration or the server's preprocessing.
    """
    if not models:
        raise ModelRefused(
            "No model is configured; name a classifier, a segmenter or both in [[models]]."
        )
    return tuple(_read_algorithm(model) for model in models)


def read_candidates(models: Sequence[ModelSettings]) -> tuple[Candidate, ...]:
    """Read what decides which images each configured model reads, in their order.

    Raises
    ------
    ModelRefused
        When a card cannot be read; see `read_card`.
    """
    cards = ((model, read_card(model)) for model in models)
    return tuple(
        Candidate(
            model.name,
            model.task,
            model.rule.as_rule(),
            card.requirements,
            card.subject,
            model.mode,
        )
        for model, card in cards
    )


def models_digest(algorithms: Sequence[Algorithm], software_version: str) -> str:
    """Digest of everything a result depends on beside the images.

    Changes with any weight, threshold, preprocessing, name or version of a model, and with the
    version of the software; does not depend on the order of the models.

    Returns
    -------
    str
        SHA-256, 64 hex digits.
    """
    entries = sorted(json.dumps(asdict(item), sort_keys=True) for item in algorithms)
    return hashlib.sha256(json.dumps([software_version, *entries]).encode()).hexdigest()


def weights_path(model: ModelSettings) -> Path:
    """File with the state dict of the network."""
    return model.bundle / "models" / "model.pt"


def require_pinned(model: ModelSettings, sha256: str) -> None:
    """Compare a digest of the weights with the pinned one.

    Raises
    ------
    ModelRefused
        When they differ.
    """
    if sha256 != model.sha256:
        raise ModelRefused(
            f"Model {model.name}: models/model.pt has SHA-256 {sha256}, but {model.sha256} is "
            "pinned; restore the file, or pin the new digest if you trust it."
        )


def _read_algorithm(model: ModelSettings) -> Algorithm:
    card = read_card(model)
    if card.task is not model.task:
        raise ModelRefused(
            f"Model {model.name}: the configuration says task {model.task}, its metadata.json "
            f"{card.task}; correct the model's task setting."
        )
    if model.trusted is None:
        _require_our_preprocessing(model, card)
    else:
        require_unchanged(model, model.trusted)
    path = weights_path(model)
    try:
        with path.open("rb") as weights:
            sha256 = hashlib.file_digest(weights, "sha256").hexdigest()
    except OSError as exc:
        raise ModelRefused(
            f"Model {model.name}: {path} cannot be read ({exc.strerror}); restore the file."
        ) from exc
    require_pinned(model, sha256)
    return Algorithm(
        name=model.name,
        version=card.version,
        task=card.task,
        weights_sha256=sha256,
        preprocessing_sha256=card.preprocessing_sha256,
        threshold=_reported_threshold(model, card),
        manufacturer=card.manufacturer,
        rule_sha256=_rule_digest(model.rule.as_rule()),
        outline_threshold=_outline_threshold(model, card),
        configuration_sha256="" if model.trusted else _configuration_digest(model),
    )


def _configuration_digest(model: ModelSettings) -> str:
    """Digest of the files that say how the weights are run: the same ones may answer otherwise.

    Which of them must be there is the loader's to say.
    """
    digest = hashlib.sha256()
    for name in CONFIGURATIONS:
        with contextlib.suppress(OSError):
            content = (model.bundle / "configs" / name).read_bytes()
            digest.update(f"{name} {hashlib.sha256(content).hexdigest()} ".encode())
    return digest.hexdigest()


def _reported_threshold(model: ModelSettings, card: Card) -> float:
    """Operating point on the scale of the scores that are reported.

    It is configured for the network's own score, whatever calibration a bundle has. Models of
    pictures compare that score themselves.
    """
    if card.reader is not None or card.calibrator.kind == "none":
        return model.threshold
    return round(float(card.calibrator.binary(np.array([model.threshold]))[0]), 6)


def _outline_threshold(model: ModelSettings, card: Card) -> float | None:
    """Give the bundle's, unless an operating point is configured that lies no higher."""
    found = card.outline_threshold
    return found if found is not None and found < model.threshold else None


def _require_our_preprocessing(model: ModelSettings, card: Card) -> None:
    if card.views_together != 1:
        raise ModelRefused(
            f"Model {model.name} reads {card.views_together} views of a breast together, and this "
            "server gives a model one image at a time, for which its figures and its operating "
            "point do not hold; train a model that reads images alone."
        )
    grid = card.reader if isinstance(card.reader, PictureInput) else Preprocessing()
    ours = grid.digest()
    if card.preprocessing_sha256 != ours:
        raise ModelRefused(
            f"Model {model.name} was trained with preprocessing {card.preprocessing_sha256[:12]}…, "
            f"but this server prepares images with {ours[:12]}…; use the server version that the "
            "model was exported for, or train and export it again."
        )
    # Areas on that grid decide what is too small for a finding.
    if isinstance(grid, Preprocessing) and card.pixel_size_mm != grid.pixel_size_mm:
        raise ModelRefused(
            f"Model {model.name}: metadata.json states pixels of {card.pixel_size_mm:g} mm, but "
            f"its preprocessing makes pixels of {grid.pixel_size_mm:g} mm; correct it."
        )


def _rule_digest(rule: Rule) -> str:
    if rule == Rule():
        return ""
    return hashlib.sha256(json.dumps(asdict(rule), sort_keys=True).encode()).hexdigest()


def _problems(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'file'}: {item['msg']}" for item in found
    )
