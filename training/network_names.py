"""Networks by the names that recipes use, as a class and literal arguments of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from monai.networks import nets

from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.infer import networks
from oncopixel_pacs.infer.bundle_config import OWN_NETWORKS
from training.recipe import Recipe

_2D = {"spatial_dims": 2}


@dataclass(frozen=True, slots=True)
class _Named:
    """How a name becomes a class: where channels and classes go, and what is set by default."""

    target: str
    inputs: str = "in_channels"
    outputs: str = "out_channels"
    defaults: Mapping[str, Any] | None = None
    size: str | None = None
    segments: bool = False


_RESNET50 = {
    **_2D,
    "block": "bottleneck",
    "layers": [3, 4, 6, 3],
    "block_inplanes": [64, 128, 256, 512],
    "conv1_t_stride": 2,
}
_UNET = {**_2D, "channels": [32, 64, 128, 256, 512], "strides": [2, 2, 2, 2]}
NAMED: Mapping[str, _Named] = {
    "AttentionMIL": _Named("AttentionMIL", outputs="num_classes"),
    "AttentionUnet": _Named("AttentionUnet", defaults=_UNET, segments=True),
    "BasicUNet": _Named("BasicUNet", defaults=_2D, segments=True),
    "DenseNet121": _Named("DenseNet121", defaults=_2D),
    "EfficientNet": _Named(
        "EfficientNetBN",
        outputs="num_classes",
        defaults={**_2D, "model_name": "efficientnet-b0", "pretrained": False},
    ),
    "HybridTransformer": _Named("HybridTransformer", outputs="num_classes"),
    "MultiTaskUNet": _Named("MultiTaskUNet"),
    "PatchToImage": _Named("PatchToImage", outputs="num_classes"),
    "ResNet": _Named("ResNet", "n_input_channels", "num_classes", _2D),
    "ResNet50": _Named("ResNet", "n_input_channels", "num_classes", _RESNET50),
    "SENet": _Named("SEResNet50", outputs="num_classes", defaults=_2D),
    "SegResNet": _Named("SegResNet", defaults=_2D, segments=True),
    "SwinUNETR": _Named("SwinUNETR", defaults=_2D, segments=True),
    "UNETR": _Named("UNETR", defaults={**_2D, "qkv_bias": True}, size="img_size", segments=True),
    "UNet": _Named(
        "UNet", defaults={**_UNET, "num_res_units": 2, "norm": "instance"}, segments=True
    ),
    "VGG16BN": _Named("VGG16BN", outputs="num_classes"),
    "ViT": _Named("VisionTransformer", outputs="num_classes", size="img_size"),
}
"""Names of the networks, all two-dimensional."""

#: A transformer with a position embedding reads one size only.
FIXED_SIZE = frozenset(name for name, named in NAMED.items() if named.size)


@dataclass(frozen=True, slots=True)
class Built:
    """A class of ``monai.networks.nets`` or of ours, with literal arguments."""

    target: str
    arguments: Mapping[str, Any]

    @property
    def path(self) -> str:
        """Where the class lies, as ``_target_`` of a bundle names it."""
        own = self.target in OWN_NETWORKS
        package = "oncopixel_pacs.infer.networks" if own else "monai.networks.nets"
        return f"{package}.{self.target}"

    def make(self) -> torch.nn.Module:
        """Build it with fresh weights; it answers logits.

        Raises
        ------
        ConfigurationError
            When the class does not take the arguments.
        """
        kind = getattr(networks if self.target in OWN_NETWORKS else nets, self.target)
        try:
            network: torch.nn.Module = kind(**self.arguments)
        except (TypeError, ValueError, AssertionError, RuntimeError, LookupError) as exc:
            raise ConfigurationError(
                f"{self.target} cannot be built with {dict(self.arguments)}: {exc}"
            ) from exc
        return network


def describe_network(recipe: Recipe) -> Built:
    """Resolve the network of a recipe.

    Raises
    ------
    ConfigurationError
        When the name is unknown or does not fit the task.
    """
    named = NAMED.get(recipe.network.name)
    if named is None:
        raise ConfigurationError(
            f"There is no network {recipe.network.name}; choose among {', '.join(NAMED)}."
        )
    if (recipe.kind == "multitask") != (recipe.network.name == "MultiTaskUNet"):
        raise ConfigurationError("MultiTaskUNet and kind multitask go together; change one.")
    if recipe.kind != "multitask" and named.segments != (recipe.kind == "segment"):
        raise ConfigurationError(
            f"{recipe.network.name} does not {recipe.kind}; choose another network."
        )
    channels = 3 if recipe.data.reading == "colour" else 1
    arguments: dict[str, Any] = {**(named.defaults or {}), named.inputs: channels}
    arguments[named.outputs] = 1 if recipe.kind == "multitask" else recipe.logits
    if recipe.kind == "multitask":
        arguments["num_classes"] = recipe.logits
    if named.size is not None:
        arguments[named.size] = list(recipe.data.size)
    return Built(named.target, {**arguments, **recipe.network.arguments})
