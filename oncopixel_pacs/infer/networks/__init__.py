"""Networks that MONAI lacks, for training and for serving what was trained.

Each is loaded when it is asked for: some are made of parts of MONAI, and to load MONAI takes longer
than everything else that a process with models loads besides torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oncopixel_pacs.infer.networks.attention_mil import AttentionMIL
    from oncopixel_pacs.infer.networks.hybrid import HybridTransformer
    from oncopixel_pacs.infer.networks.lite_classifier import LiteClassifier
    from oncopixel_pacs.infer.networks.lite_ensemble import LiteUNetEnsemble
    from oncopixel_pacs.infer.networks.lite_unet import LiteUNet
    from oncopixel_pacs.infer.networks.multitask import MultiTaskUNet
    from oncopixel_pacs.infer.networks.patch_to_image import PatchToImage
    from oncopixel_pacs.infer.networks.vgg import VGG16BN
    from oncopixel_pacs.infer.networks.vision_transformer import VisionTransformer

_MODULES = {
    "AttentionMIL": "attention_mil",
    "HybridTransformer": "hybrid",
    "LiteClassifier": "lite_classifier",
    "LiteUNet": "lite_unet",
    "LiteUNetEnsemble": "lite_ensemble",
    "MultiTaskUNet": "multitask",
    "PatchToImage": "patch_to_image",
    "VGG16BN": "vgg",
    "VisionTransformer": "vision_transformer",
}

# By class name, as ``_target_`` names them after ``oncopixel_pacs.infer.networks.``.
__all__ = [
    "VGG16BN",
    "AttentionMIL",
    "HybridTransformer",
    "LiteClassifier",
    "LiteUNet",
    "LiteUNetEnsemble",
    "MultiTaskUNet",
    "PatchToImage",
    "VisionTransformer",
]


def __getattr__(name: str) -> object:
    """Load the network of this name (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    network: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return network
