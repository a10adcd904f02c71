"""Networks that MONAI lacks, for training and for serving what was trained."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from oncopixel_pacs.infer.networks.lite_classifier import LiteClassifier
from oncopixel_pacs.infer.networks.lite_unet import LiteUNet

OWN_NETWORKS: Mapping[str, type[torch.nn.Module]] = {
    network.__name__: network for network in (LiteClassifier, LiteUNet)
}
"""By class name, as ``_target_`` names them after ``oncopixel_pacs.infer.networks.``."""

__all__ = ["OWN_NETWORKS", "LiteClassifier", "LiteUNet"]
