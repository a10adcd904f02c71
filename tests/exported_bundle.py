"""What holds of every bundle that a training exported, the shipped ones among them."""

from __future__ import annotations

import json
from typing import Any

import torch
from safetensors.torch import load_file

from oncopixel_pacs.imaging.preprocess import Preprocessing
from oncopixel_pacs.settings import ModelSettings
from training.bundle_metadata import check_metadata


def read_whole_bundle(model: ModelSettings) -> dict[str, Any]:
    """Check that a bundle is complete and its weights lie there twice; gives its metadata."""
    text = (model.bundle / "configs" / "metadata.json").read_text("utf-8")
    metadata: dict[str, Any] = json.loads(text)
    check_metadata(metadata)
    weights = torch.load(model.bundle / "models" / "model.pt", weights_only=True)
    twin = load_file(model.bundle / "models" / "model.safetensors")
    assert weights.keys() == twin.keys()
    assert all(torch.equal(weights[key], twin[key]) for key in weights)
    assert metadata["operating_points"]["default"] == model.threshold
    assert metadata["preprocessing"]["sha256"] == Preprocessing().digest()
    assert metadata["data_licence"]
    assert metadata["measured"]
    return metadata
