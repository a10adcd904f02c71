"""A published ViT checkpoint on disk into our ViT, key by key.

The folder is as ``huggingface_hub`` leaves it, such as google/vit-base-patch16-224:
``config.json`` and ``model.safetensors`` (or ``pytorch_model.bin``, read as tensors only).
"""

from __future__ import annotations

import json
import math
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.infer.networks import VisionTransformer

_Take = Callable[[str], Tensor]
_PER_BLOCK = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.output.dense": "attn.out_proj",
    "intermediate.dense": "mlp.linear1",
    "output.dense": "mlp.linear2",
}
_UNUSED = re.compile(r"^(pooler\.|classifier\.)")  # the answers to another question
_FRESH = re.compile(r"^(classification_head\.|blocks\.\d+\.norm_cross_attn\.)")
"""What a checkpoint cannot fill: the new head, and a layer of MONAI's block that is never run."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a checkpoint: keys of the network that it filled, and what it left."""

    filled: tuple[str, ...]
    unused: tuple[str, ...]
    fresh: tuple[str, ...]


def load_vit(folder: Path, network: VisionTransformer) -> Loaded:
    """Fill a ViT from a checkpoint; only its head stays fresh.

    Every key is accounted for. MONAI adds the class token after the position embedding, so the
    token's own position is added into it; positions are resampled for another image size, and
    a network of one channel takes the sum of the three.

    Raises
    ------
    ConfigurationError
        When a file is missing or unreadable, or a key or shape does not fit.
    """
    source = {key.removeprefix("vit."): value for key, value in _weights(folder).items()}
    wanted = network.state_dict()
    filled: dict[str, Tensor] = {}
    taken: set[str] = set()

    def take(key: str) -> Tensor:
        if key not in source:
            raise ConfigurationError(f"{folder} lacks the weight {key}; is it a ViT checkpoint?")
        taken.add(key)
        return source[key].float()

    _embeddings(take, network, wanted, filled)
    for number in range(_layers(folder)):
        _block(take, f"encoder.layer.{number}.", f"blocks.{number}.", filled)
    for end in ("weight", "bias"):
        filled[f"norm.{end}"] = take(f"layernorm.{end}")
    unused = sorted(source.keys() - taken)
    strangers = [key for key in unused if not _UNUSED.match(key)]
    fresh = sorted(wanted.keys() - filled.keys())
    missing = [key for key in fresh if not _FRESH.match(key)]
    _require_fit(folder, strangers, missing, filled, wanted)
    network.load_state_dict({**wanted, **filled}, strict=True)
    return Loaded(tuple(sorted(filled)), tuple(unused), tuple(fresh))


def _require_fit(
    folder: Path,
    strangers: list[str],
    missing: list[str],
    filled: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
) -> None:
    unknown = sorted(filled.keys() - wanted.keys())
    if strangers or missing or unknown:
        raise ConfigurationError(
            f"The checkpoint in {folder} does not fit the network: not understood "
            f"{strangers[:2]}, not filled {missing[:2]}, no place for {unknown[:2]}; take the "
            "number of layers from its config.json."
        )
    for key, value in filled.items():
        if value.shape != wanted[key].shape:
            raise ConfigurationError(
                f"The checkpoint in {folder} gives {key} the shape {tuple(value.shape)}, the "
                f"network needs {tuple(wanted[key].shape)}; take the sizes from its config.json."
            )


def _embeddings(
    take: _Take, network: VisionTransformer, wanted: Mapping[str, Tensor], filled: dict[str, Tensor]
) -> None:
    positions = take("embeddings.position_embeddings")
    filled["cls_token"] = take("embeddings.cls_token") + positions[:, :1]
    grid = tuple(
        size // patch for size, patch in zip(network.image_shape, network.patch_shape, strict=True)
    )
    filled["patch_embedding.position_embeddings"] = _resampled(positions[:, 1:], grid)
    kernel = take("embeddings.patch_embeddings.projection.weight")
    if wanted["patch_embedding.patch_embeddings.weight"].shape[1] == 1:
        kernel = kernel.sum(dim=1, keepdim=True)
    filled["patch_embedding.patch_embeddings.weight"] = kernel
    filled["patch_embedding.patch_embeddings.bias"] = take(
        "embeddings.patch_embeddings.projection.bias"
    )


def _resampled(positions: Tensor, grid: tuple[int, ...]) -> Tensor:
    count, width = positions.shape[1:]
    side = math.isqrt(count)
    if count == math.prod(grid) or side * side != count:
        return positions
    square = positions.reshape(1, side, side, width).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(square, grid, mode="bicubic", align_corners=False)
    return resized.flatten(2).transpose(1, 2)


def _block(take: _Take, theirs: str, ours: str, filled: dict[str, Tensor]) -> None:
    for end in ("weight", "bias"):
        for source, target in _PER_BLOCK.items():
            filled[f"{ours}{target}.{end}"] = take(f"{theirs}{source}.{end}")
        parts = [
            take(f"{theirs}attention.attention.{name}.{end}") for name in ("query", "key", "value")
        ]
        filled[f"{ours}attn.qkv.{end}"] = torch.cat(parts)


def _layers(folder: Path) -> int:
    path = folder / "config.json"
    if not path.is_file():
        raise ConfigurationError(f"There is no {path}; give the folder of a ViT checkpoint.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as exc:
        raise ConfigurationError(f"{path} is not JSON; download the checkpoint again.") from exc
    if config.get("model_type") != "vit" or "num_hidden_layers" not in config:
        raise ConfigurationError(f"{path} describes no ViT (model_type vit).")
    return int(config["num_hidden_layers"])


def _weights(folder: Path) -> Mapping[str, Tensor]:
    plain, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    try:
        if plain.is_file():
            return load_file(plain)
        if pickled.is_file():
            weights: Mapping[str, Tensor] = torch.load(
                pickled, map_location="cpu", weights_only=True
            )
            return weights
    except (SafetensorError, pickle.UnpicklingError, EOFError, RuntimeError) as exc:
        raise ConfigurationError(
            f"The weights in {folder} cannot be read ({type(exc).__name__}); download them again."
        ) from exc
    raise ConfigurationError(f"{folder} holds no model.safetensors and no pytorch_model.bin.")
