"""The metadata of an exported recipe: complete by the MONAI specification, and checked.

docs.monai.io/en/stable/mb_specification.html; the keys beyond it are ours and are documented in
``docs/training.md``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import monai
import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.imaging.preprocess import Preprocessing
from training.assessment import FoldSettings
from training.class_scores import Row
from training.inputs import picture_input
from training.picture_codes import picture_meaning
from training.recipe import Recipe

INTENDED_USE = (
    "Research use only. Not a medical device, not for diagnosis, not for any decision about a "
    "patient."
)
SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
_MODALITIES = {"breast": "MG", "colour": "SM", "grey": "MR"}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Channel(_Strict):
    type: Literal["image", "probabilities"]
    format: Literal["magnitude", "rgb", "segmentation", "classes"]
    num_channels: int = Field(ge=1)
    spatial_shape: list[int]
    dtype: Literal["float32"]
    value_range: list[float]
    is_patch_data: bool
    channel_def: dict[str, str]
    modality: str | None = None


class _Format(_Strict):
    inputs: dict[str, _Channel] = Field(min_length=1, max_length=1)
    outputs: dict[str, _Channel] = Field(min_length=1, max_length=1)


class _Metadata(BaseModel):
    """What the specification requires, and what we add; extra keys are allowed by it."""

    version: str = Field(min_length=1)
    changelog: dict[str, str] = Field(min_length=1)
    monai_version: str = Field(pattern=r"^\d+\.\d+")
    pytorch_version: str = Field(pattern=r"^\d+\.\d+")
    numpy_version: str = Field(pattern=r"^\d+\.\d+")
    required_packages_version: dict[str, str]
    name: str
    task: str = Field(min_length=1)
    description: str = Field(min_length=1)
    authors: str = Field(min_length=1)
    copyright: str = Field(min_length=1)
    data_source: str
    data_licence: str = Field(min_length=1)
    intended_use: str
    network_data_format: _Format
    preprocessing: dict[str, Any] = Field(min_length=2)
    classes: list[str] = Field(min_length=1)
    calibration: dict[str, Any]
    operating_points: dict[str, float]
    measured: list[dict[str, Any]]
    golden: dict[str, Any]
    oncopixel: dict[str, Any]


def describe(
    recipe: Recipe,
    answers: str,
    settings: FoldSettings,
    rows: Sequence[Row],
    golden: dict[str, Any],
) -> dict[str, Any]:
    """Write ``configs/metadata.json`` of one bundle.

    Parameters
    ----------
    answers
        ``classify`` or ``segment``; a multitask recipe is exported once for each.
    settings
        Calibration and operating points of the exported fold.
    golden
        Digests of the golden input and output.
    """
    segments = answers == "segment"
    return {
        **origin(recipe.name, recipe.version, recipe.description, recipe.manufacturer),
        "data_source": ", ".join(recipe.data.sets),
        "data_licence": recipe.data_licence,
        "network_data_format": {
            "inputs": {"image": _input(recipe)},
            "outputs": {"pred": _output(recipe, segments)},
        },
        "preprocessing": preprocessing(recipe),
        "classes": list(class_names(recipe, segments)),
        "calibration": dict(settings.calibrator.as_dict()) if not segments else {"kind": "none"},
        "operating_points": _operating_points(recipe, settings, segments),
        "measured": [
            {"subset": row.subset, "figure": row.name, "value": row.model.value,
             "low": row.model.low, "high": row.model.high, "images": row.model.images}
            for row in rows
            if np.isfinite(row.model.value)
        ],
        "golden": golden,
        "oncopixel": _table(recipe, answers),
    }  # fmt: skip


def origin(name: str, version: str, description: str, authors: str) -> dict[str, Any]:
    """State what is alike in every bundle: who made it, and with which software."""
    return {
        "schema": SCHEMA,
        "version": version,
        "changelog": {version: "trained and exported"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {},
        "name": name,
        "task": description,
        "description": description,
        "authors": authors,
        "copyright": "See docs/license.txt",
        "intended_use": INTENDED_USE,
    }


def inference(target: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Content of ``configs/inference.json``: literals only.

    Parameters
    ----------
    target
        Path of the class of the network.
    arguments
        Literal keyword arguments of it.
    """
    literal: dict[str, Any] = json.loads(json.dumps(arguments))
    return {
        "bundle_root": ".",
        "device": "cpu",
        "network_def": {"_target_": target, **literal},
        "inferer": {"_target_": "monai.inferers.SimpleInferer"},
    }


def check_metadata(metadata: dict[str, Any]) -> None:
    """Check that nothing is missing and that classes and channels agree.

    Raises
    ------
    ConfigurationError
        With what is wrong.
    """
    try:
        read = _Metadata.model_validate(metadata)
    except ValidationError as exc:
        found = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
            for one in exc.errors(include_url=False, include_input=False)
        )
        raise ConfigurationError(f"The bundle's metadata is not complete: {found}.") from exc
    (output,) = read.network_data_format.outputs.values()
    if output.num_channels != len(output.channel_def):
        raise ConfigurationError("The bundle's channel_def does not name every output channel.")


def channels(recipe: Recipe, segments: bool) -> int:
    """Output channels of the exported network."""
    return 1 if recipe.kind == "multitask" and segments else recipe.logits


def class_names(recipe: Recipe, segments: bool) -> Sequence[str]:
    """Name what the output means; of one channel, the last is what it is the probability of."""
    if recipe.kind == "multitask" and segments:
        return ("lesion",)
    return recipe.data.classes


def threshold(recipe: Recipe, settings: FoldSettings, segments: bool) -> float:
    """Operating point of the exported answer."""
    cut = settings.pixel_threshold if segments else settings.class_threshold
    return round(cut, 4)


def _operating_points(recipe: Recipe, settings: FoldSettings, segments: bool) -> dict[str, float]:
    """Give the threshold on the network's own score, and what that is after calibration."""
    cut = threshold(recipe, settings, segments)
    if segments or len(recipe.data.classes) != 2:
        return {"default": cut}
    pair = settings.calibrator(np.array([[1.0 - cut, cut]]))
    return {"default": cut, "calibrated": round(float(pair[0, 1]), 4)}


def preprocessing(recipe: Recipe) -> dict[str, Any]:
    """How an image becomes the input, with the digest that pins it."""
    if recipe.data.reading == "breast":
        ours = Preprocessing()
        return {
            "kind": "breast",
            "pixel_size_mm": ours.pixel_size_mm,
            "sha256": ours.digest(),
            "views": recipe.data.bag,
        }
    reader = picture_input(recipe.data)
    return {
        "kind": "picture",
        "channels": reader.channels,
        "height": reader.height,
        "width": reader.width,
        "sha256": reader.digest(),
    }


def _input(recipe: Recipe) -> dict[str, Any]:
    colour = recipe.data.reading == "colour"
    names = ("red", "green", "blue") if colour else ("image",)
    breast = recipe.data.reading == "breast"
    return {
        "type": "image",
        "format": "rgb" if colour else "magnitude",
        "modality": _MODALITIES[recipe.data.reading],
        "num_channels": len(names),
        "spatial_shape": list(recipe.data.size),
        "dtype": "float32",
        "value_range": [0, 1] if breast else [-1, 1],
        "is_patch_data": False,
        "channel_def": {str(index): name for index, name in enumerate(names)},
    }


def _output(recipe: Recipe, segments: bool) -> dict[str, Any]:
    count = channels(recipe, segments)
    names = class_names(recipe, segments)
    meant = names[-1:] if count == 1 else names
    return {
        "type": "image" if segments else "probabilities",
        "format": "segmentation" if segments else "classes",
        "num_channels": count,
        "spatial_shape": list(recipe.data.size) if segments else [],
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {str(index): name for index, name in enumerate(meant)},
    }


def _table(recipe: Recipe, answers: str) -> dict[str, Any]:
    segments = answers == "segment"
    activation = "sigmoid" if channels(recipe, segments) == 1 else "softmax"
    common = {"task": answers, "activation": activation, "manufacturer": recipe.manufacturer}
    if recipe.data.reading == "breast":
        ours = Preprocessing()
        return {
            **common,
            "preprocessing_sha256": ours.digest(),
            "pixel_size_mm": ours.pixel_size_mm,
        }
    digest = picture_input(recipe.data).digest()
    return {**common, "preprocessing_sha256": digest, **picture_meaning(recipe)}
