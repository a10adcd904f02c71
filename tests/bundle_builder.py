"""Builds tiny bundles, honest ones and hostile ones."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from monai.networks import nets

from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.imaging.preprocess import Preprocessing
from oncopixel_pacs.infer.networks import LiteClassifier, LiteUNet
from oncopixel_pacs.settings import ModelSettings

TINY_UNET = {
    "_target_": "monai.networks.nets.UNet",
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 1,
    "channels": [4, 8],
    "strides": [2],
}
TINY_DENSENET = {
    "_target_": "monai.networks.nets.DenseNet",
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 1,
    "init_features": 4,
    "growth_rate": 4,
    "block_config": [2, 2],
}


TINY_LITE = {"depth": 12, "features": [8, 8, 8, 16]}


def network_of(definition: dict[str, Any]) -> torch.nn.Module:
    """Build the network of a definition that holds only literals, with random weights."""
    arguments = {key: value for key, value in definition.items() if key != "_target_"}
    torch.manual_seed(7)
    return getattr(nets, definition["_target_"].rpartition(".")[2])(**arguments)


def tiny_config(task: ModelTask = ModelTask.SEGMENT) -> dict[str, Any]:
    """Give an inference configuration as MONAI's own bundles have it."""
    return {
        "bundle_root": ".",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": dict(TINY_UNET if task is ModelTask.SEGMENT else TINY_DENSENET),
        "network": "$@network_def.to(@device)",
        "inferer": {"_target_": "SimpleInferer"},
    }


def tiny_metadata(task: ModelTask = ModelTask.SEGMENT, channels: int = 1) -> dict[str, Any]:
    """Give the metadata of a model that reads one channel of 64 x 32 pixels."""
    return {
        "version": "1.2.3",
        "network_data_format": {
            "inputs": {"image": {"num_channels": 1, "spatial_shape": [64, 32], "type": "image"}},
            "outputs": {"pred": {"num_channels": channels, "type": "probabilities"}},
        },
        "oncopixel": {
            "task": str(task),
            "activation": "sigmoid" if channels == 1 else "softmax",
            "preprocessing_sha256": Preprocessing().digest(),
            "pixel_size_mm": 0.5,
            "manufacturer": "Test",
        },
    }


def write_bundle(
    folder: Path,
    task: ModelTask = ModelTask.SEGMENT,
    *,
    config: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    weights: object = None,
    threshold: float = 0.5,
) -> ModelSettings:
    """Write a bundle, pinned; what is not given is tiny and honest."""
    config = tiny_config(task) if config is None else config
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata or tiny_metadata(task)))
    if weights is None:
        weights = network_of(TINY_UNET if task is ModelTask.SEGMENT else TINY_DENSENET).state_dict()
    torch.save(weights, folder / "models" / "model.pt")
    return pinned(folder, task, threshold=threshold)


def write_own_bundle(folder: Path, task: ModelTask) -> ModelSettings:
    """Write a bundle of one of our own networks: a process that loads it does without MONAI."""
    kind = LiteUNet if task is ModelTask.SEGMENT else LiteClassifier
    torch.manual_seed(7)
    target = {"_target_": f"oncopixel_pacs.infer.networks.{kind.__name__}", **TINY_LITE}
    return write_bundle(
        folder,
        task,
        config=tiny_config(task) | {"network_def": target},
        weights=kind(**TINY_LITE).state_dict(),
    )


def pinned(folder: Path, task: ModelTask, *, threshold: float = 0.5) -> ModelSettings:
    """Make settings that pin the weights that lie in the bundle now."""
    sha256 = hashlib.sha256((folder / "models" / "model.pt").read_bytes()).hexdigest()
    return ModelSettings(
        name=f"tiny-{task}", task=task, bundle=folder, sha256=sha256, threshold=threshold
    )
