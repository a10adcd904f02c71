"""Networks that MONAI lacks, for training and for serving what was trained."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from oncopixel_pacs.infer.networks.attention_mil import AttentionMIL
from oncopixel_pacs.infer.networks.hybrid import HybridTransformer
from oncopixel_pacs.infer.networks.lite_classifier import LiteClassifier
from oncopixel_pacs.infer.networks.lite_ensemble import LiteUNetEnsemble
from oncopixel_pacs.infer.networks.lite_unet import LiteUNet
from oncopixel_pacs.infer.networks.multitask import MultiTaskUNet
from oncopixel_pacs.infer.networks.patch_to_image import PatchToImage
from oncopixel_pacs.infer.networks.vgg import VGG16BN
from oncopixel_pacs.infer.networks.vision_transformer import VisionTransformer

OWN_NETWORKS: Mapping[str, type[torch.nn.Module]] = {
    network.__name__: network
    for network in (
        AttentionMIL,
        HybridTransformer,
        LiteClassifier,
        LiteUNet,
        LiteUNetEnsemble,
        MultiTaskUNet,
        PatchToImage,
        VGG16BN,
        VisionTransformer,
    )
}
"""By class name, as ``_target_`` names them after ``oncopixel_pacs.infer.networks.``."""

__all__ = [
    "OWN_NETWORKS",
    "AttentionMIL",
    "HybridTransformer",
    "LiteClassifier",
    "LiteUNet",
    "LiteUNetEnsemble",
    "MultiTaskUNet",
    "PatchToImage",
    "VGG16BN",
    "VisionTransformer",
]
