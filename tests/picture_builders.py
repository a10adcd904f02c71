"""Builds tiny bundles of models that read pictures other than mammograms, with random weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.imaging.picture_input import PictureInput
from oncopixel_pacs.settings import ModelSettings
from tests.bundle_builder import TINY_DENSENET, TINY_UNET, network_of, pinned

BRAIN = ("glioma", "meningioma", "pituitary", "notumor")
BRAIN_SITE = ("12738006", "SCT", "Brain")
BREAST_SITE = ("76752008", "SCT", "Breast")
CODES = {
    "glioma": ("393564001", "SCT", "Glioma"),
    "necrosis": ("6574001", "SCT", "Necrosis"),
    "tumour": ("108369006", "SCT", "Neoplasm"),
}
ABSENT = ("notumor", "normal", "other")


def picture_metadata(
    classes: Sequence[str],
    task: ModelTask = ModelTask.CLASSIFY,
    *,
    channels: int = 3,
    modalities: Sequence[str] = ("GM",),
    site: Sequence[str] = BREAST_SITE,
    calibration: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Give the metadata of a model that reads pictures of 32 x 48 pixels."""
    two = len(classes) == 2
    return {
        "version": "0.0.1",
        "network_data_format": {
            "inputs": {"image": {"num_channels": channels, "spatial_shape": [32, 48]}},
            "outputs": {"pred": {"num_channels": 1 if two else len(classes)}},
        },
        "calibration": calibration or {"kind": "none"},
        "oncopixel": {
            "reads": "picture",
            "task": str(task),
            "activation": "sigmoid" if two else "softmax",
            "preprocessing_sha256": PictureInput(channels, 32, 48).digest(),
            "manufacturer": "Test",
            "classes": [
                {
                    "name": name,
                    **({"code": list(CODES[name])} if name in CODES else {}),
                    **({"absence": True} if name in ABSENT else {}),
                }
                for name in classes
            ],
            "site": list(site),
            "eligibility": {"modalities": list(modalities)},
        },
    }


def write_picture_bundle(
    folder: Path,
    classes: Sequence[str],
    task: ModelTask = ModelTask.CLASSIFY,
    *,
    threshold: float = 0.5,
    **metadata: Any,
) -> ModelSettings:
    """Write a bundle, pinned, that answers with these classes."""
    content = picture_metadata(classes, task, **metadata)
    channels = content["network_data_format"]["inputs"]["image"]["num_channels"]
    outputs = content["network_data_format"]["outputs"]["pred"]["num_channels"]
    tiny = TINY_UNET if task is ModelTask.SEGMENT else TINY_DENSENET
    network = {**tiny, "in_channels": channels, "out_channels": outputs}
    for part in ("configs", "models"):
        (folder / part).mkdir(parents=True)
    config = {"network_def": network, "inferer": {"_target_": "SimpleInferer"}}
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text(json.dumps(content))
    torch.save(network_of(network).state_dict(), folder / "models" / "model.pt")
    model = pinned(folder, task, threshold=threshold)
    return model.model_copy(update={"name": folder.name})
