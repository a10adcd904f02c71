"""Builds a stranger's bundle with code of its own, as the model zoo's for breast density has it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.infer.trusted.confinement import NotConfinable, require_confinable
from oncopixel_pacs.infer.trusted.stranger_card import Wishes, propose
from oncopixel_pacs.settings import ModelSettings


def _confinable() -> bool:
    try:
        require_confinable()
    except NotConfinable:
        return False
    return True


#: Mark of tests that run a stranger's code.
needs_confinement = pytest.mark.skipif(
    not _confinable(), reason="needs a kernel with landlock of version 3"
)

_NETWORK = '''"""A network that no library has."""

import torch


class TinyInception(torch.nn.Module):
    def __init__(self, num_classes, pretrained=True):
        super().__init__()
        assert not pretrained, "there is no network to fetch weights from"
        self.narrow = torch.nn.Conv2d(3, 4, 1)
        self.wide = torch.nn.Conv2d(3, 4, 5, padding=2)
        self.fc = torch.nn.Linear(8, num_classes)

    def forward(self, image):
        both = torch.cat([self.narrow(image), self.wide(image)], dim=1)
        return self.fc(torch.relu(both).mean(dim=(2, 3)))
'''
_TRANSFORMS = '''"""Transforms that no library has."""

from monai.transforms import MapTransform


class FromBytes(MapTransform):
    def __call__(self, data):
        item = dict(data)
        for key in self.keys:
            item[key] = item[key] / float(item[key].max() or 1.0)
        return item


class Misbehaves(MapTransform):
    """Does, at the answer, what a test asks of it."""

    def __call__(self, data):
        item = dict(data)
        exec({code!r}, {{"item": item}})
        return item
'''


def zoo_config() -> dict[str, Any]:
    """Give an inference configuration with expressions and classes of its own."""
    return {
        "import": ["$import glob", "$import os"],
        "bundle_root": ".",
        "model_dir": "$@bundle_root + '/models'",
        "data": {"_target_": "scripts.lists.Missing", "filename": "./configs/list.json"},
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": "scripts.networks.TinyInception",
            "num_classes": 4,
            "pretrained": True,
        },
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": "scripts.steps.FromBytes", "keys": "image"},
                {"_target_": "Resized", "keys": "image", "spatial_size": [32, 32]},
            ],
        },
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
                {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
                {"_target_": "scripts.steps.Misbehaves", "keys": "pred"},
            ],
        },
        "evaluator": {"_target_": "SupervisedEvaluator", "network": "@network"},
        "evaluating": ["$@evaluator.run()"],
    }


def zoo_metadata() -> dict[str, Any]:
    """Give the metadata of a model that answers with four densities."""
    return {
        "version": "0.1.6",
        "task": "Breast Density Classification",
        "description": "A pre-trained model for classifying breast images (mammograms)",
        "authors": "Department of Tests",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "modality": "Mammogram",
                    "num_channels": 3,
                    "spatial_shape": [32, 32],
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "labels",
                    "num_channels": 4,
                    "spatial_shape": [1, 4],
                    "channel_def": {"0": "A", "1": "B", "2": "C", "3": "D"},
                }
            },
        },
    }


def write_zoo_bundle(
    folder: Path,
    *,
    code: str = "pass",
    on_import: str = "",
    config: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
) -> Path:
    """Write the bundle.

    Parameters
    ----------
    code
        What it does with every answer, which is ``item["pred"]``.
    on_import
        What it does while it is loaded.
    """
    for part in ("configs", "models", "scripts"):
        (folder / part).mkdir(parents=True)
    (folder / "configs" / "inference.json").write_text(json.dumps(config or zoo_config()))
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata or zoo_metadata()))
    (folder / "scripts" / "__init__.py").write_text("")
    (folder / "scripts" / "networks.py").write_text(f"{_NETWORK}\n{on_import}\n")
    (folder / "scripts" / "steps.py").write_text(_TRANSFORMS.format(code=code))
    torch.manual_seed(11)
    weights = {
        "narrow.weight": torch.randn(4, 3, 1, 1),
        "narrow.bias": torch.randn(4),
        "wide.weight": torch.randn(4, 3, 5, 5) / 9,
        "wide.bias": torch.randn(4),
        "fc.weight": torch.randn(4, 8),
        "fc.bias": torch.randn(4),
    }
    torch.save({"model": weights}, folder / "models" / "model.pt")
    return folder


def zoo_model(folder: Path, **limits: Any) -> ModelSettings:
    """Pin a bundle as ``oncopixel models add --trusted`` does."""
    trusted = propose(folder.name, folder, Wishes())
    return ModelSettings(
        name=folder.name,
        task=ModelTask.CLASSIFY,
        bundle=folder,
        sha256=hashlib.sha256((folder / "models" / "model.pt").read_bytes()).hexdigest(),
        threshold=0.5,
        trusted=trusted.model_copy(update=limits),
    )
