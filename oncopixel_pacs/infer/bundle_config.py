"""Reading ``configs/inference.json`` (or ``.yaml``) of a bundle without running any of it.

MONAI's own reader evaluates strings that begin with ``$`` and calls whatever ``_target_``
names. Here the file is data. ``@id`` references (``::`` and ``#`` both separate levels) are
replaced by the literals they point to, and the file is refused when it holds

- an expression (``$…``) or a file macro (``%…``) outside `IGNORED_EXPRESSIONS`, anywhere;
- a ``_target_`` outside `NETWORKS` and `INFERERS`, anywhere;
- an argument that is not listed for its target, or whose value is out of bounds: whole numbers
  up to 2048 (up to 64 where they count layers), words of `WORDS` only (so no paths), lists of
  at most 16 entries, three levels deep.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from oncopixel_pacs.errors import ModelRefused
from oncopixel_pacs.settings import ModelSettings

IGNORED_EXPRESSIONS = frozenset(
    {
        "$torch.device('cpu')",
        "$torch.device('cuda')",
        "$torch.device('cuda:0')",
        "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "$@network_def.to(@device)",
    }
)
"""Expressions that a bundle needs to run in MONAI itself. They are not evaluated: the server
chooses the device."""

_CONV = "spatial_dims in_channels out_channels channels strides kernel_size "
NETWORKS: Mapping[str, frozenset[str]] = {
    name: frozenset(arguments.split())
    for name, arguments in {
        "UNet": _CONV + "up_kernel_size num_res_units act norm dropout bias adn_ordering",
        "AttentionUnet": _CONV + "up_kernel_size dropout",
        "BasicUNet": "spatial_dims in_channels out_channels features act norm bias dropout "
        "upsample",
        "SegResNet": "spatial_dims init_filters in_channels out_channels dropout_prob act norm "
        "use_conv_final blocks_down blocks_up upsample_mode",
        "DynUNet": "spatial_dims in_channels out_channels kernel_size strides filters dropout "
        "upsample_kernel_size norm_name act_name res_block trans_bias",
        "FlexibleUNet": "spatial_dims in_channels out_channels backbone pretrained norm act "
        "dropout decoder_channels decoder_bias upsample interp_mode is_pad",
        "DenseNet": "spatial_dims in_channels out_channels init_features growth_rate block_config "
        "bn_size act norm dropout_prob",
        "DenseNet121": "spatial_dims in_channels out_channels init_features growth_rate "
        "block_config pretrained bn_size act norm dropout_prob",
        "ResNet": "spatial_dims n_input_channels num_classes block layers block_inplanes act norm "
        "conv1_t_size conv1_t_stride no_max_pool shortcut_type widen_factor bias_downsample",
        "SEResNet50": "spatial_dims in_channels num_classes layers groups reduction dropout_prob "
        "inplanes downsample_kernel_size input_3x3 pretrained",
        "EfficientNetBN": "spatial_dims in_channels num_classes model_name pretrained norm",
        "UNETR": "spatial_dims in_channels out_channels img_size feature_size hidden_size mlp_dim "
        "num_heads norm_name conv_block res_block dropout_rate qkv_bias",
        "SwinUNETR": "spatial_dims in_channels out_channels feature_size depths num_heads "
        "window_size norm_name drop_rate attn_drop_rate use_v2",
        "Classifier": "in_shape classes channels strides kernel_size num_res_units act norm "
        "dropout bias",
    }.items()
}
"""Networks of ``monai.networks.nets`` that may be built, with the arguments they may have."""

OWN_NETWORKS: Mapping[str, frozenset[str]] = {
    name: frozenset(arguments.split())
    for name, arguments in {
        "LiteClassifier": "num_classes depth features both_ways variant",
        "LiteUNet": "out_channels depth features both_ways variant",
        "LiteUNetEnsemble": "members asked out_channels depth features both_ways variant",
        "AttentionMIL": "in_channels num_classes channels layers hidden",
        "HybridTransformer": "in_channels num_classes channels layers num_heads",
        "MultiTaskUNet": "in_channels out_channels num_classes features norm answers",
        "PatchToImage": "in_channels num_classes channels layers",
        "VGG16BN": "in_channels num_classes channels hidden dropout_prob",
        "VisionTransformer": "in_channels num_classes img_size patch_size hidden_size mlp_dim "
        "num_layers num_heads dropout_rate",
    }.items()
}
"""The same for ``oncopixel_pacs.infer.networks``."""

INFERERS: Mapping[str, frozenset[str]] = {
    name: frozenset(arguments.split())
    for name, arguments in {
        "SimpleInferer": "",
        "SlidingWindowInferer": "roi_size sw_batch_size overlap mode sigma_scale padding_mode cval",
    }.items()
}
"""Inferers of ``monai.inferers`` that may be built, with the arguments they may have."""

_WORDS_BY_MEANING = {
    "activation": "relu leakyrelu prelu elu relu6 selu celu gelu sigmoid tanh silu swish memswish "
    "mish softplus",
    "normalisation": "batch instance group layer localresponse",
    "order of the layers": "nda nad dna dan and adn an na n a",
    "upsampling": "deconv nontrainable pixelshuffle default nearest linear bilinear bicubic",
    "residual block": "basic bottleneck a b",
    "sliding window": "constant gaussian reflect replicate circular",
    "head": "both segment classify",
}
WORDS = frozenset(word for words in _WORDS_BY_MEANING.values() for word in words.split())
"""Words that may stand as an argument, in any case; beside these, ``efficientnet-b0`` to
``-b7``. An unknown word is refused: it might be a path or name something to import."""

_BACKBONE = re.compile(r"efficientnet-b[0-7]")
_LAYER_OPTIONS = frozenset(
    {"inplace", "affine", "eps", "momentum", "num_groups", "num_parameters", "init"}
    | {"negative_slope", "alpha", "track_running_stats"}
)
_COUNTS_LAYERS = frozenset(
    {"num_res_units", "layers", "block_config", "blocks_down", "blocks_up", "depths", "num_layers"}
)
_COUNTS_FEATURES = frozenset({"feature_size"})
_COUNTS_PIXELS = frozenset({"in_shape", "roi_size", "img_size", "mlp_dim"})
_MAX_WHOLE, _MAX_LAYERS, _MAX_FEATURES, _MAX_INPUT_SIDE = 2048, 64, 96, 8192
_MAX_ITEMS, _MAX_LEVELS = 16, 3
_MAX_BYTES, _MAX_NODES, _MAX_REFERENCES = 1_000_000, 20_000, 20
_COMPONENT_KEYS = frozenset({"_target_", "_desc_"})


@dataclass(frozen=True, slots=True)
class Component:
    """A class of MONAI, by its bare name, and checked literal arguments."""

    target: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BundleConfig:
    """What a bundle's inference configuration asks to be built."""

    network: Component
    inferer: Component


def read_config(model: ModelSettings) -> BundleConfig:
    """Read the inference configuration of a bundle; nothing of it is executed or imported.

    Raises
    ------
    ModelRefused
        When the file is missing, cannot be parsed or asks for anything outside the lists above.
    """
    content = _parse(model)
    try:
        _scan(content)
        if "network_def" not in content:
            raise _Refusal("it holds no network_def")
        resolve = _References(content).resolve
        allowed = {**NETWORKS, **OWN_NETWORKS}
        network = _component(resolve(content["network_def"]), allowed, "network")
        simple = {"_target_": "SimpleInferer"}
        inferer = _component(resolve(content.get("inferer", simple)), INFERERS, "inferer")
    except _Refusal as exc:
        raise ModelRefused(
            f"Model {model.name}: its inference configuration is refused: {exc}; "
            "export the bundle without it."
        ) from exc
    return BundleConfig(network=_without_download(network), inferer=inferer)


class _Refusal(Exception):
    """Half a sentence: what is wrong with the configuration."""


def _parse(model: ModelSettings) -> dict[str, Any]:
    names = ("inference.json", "inference.yaml", "inference.yml")
    candidates = [model.bundle / "configs" / name for name in names]
    found = [candidate for candidate in candidates if candidate.is_file()]
    if len(found) != 1:
        raise ModelRefused(
            f"Model {model.name}: {model.bundle} must hold exactly one of configs/inference.json "
            "and configs/inference.yaml; check the model's bundle setting."
        )
    path = found[0]
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("the file is too large")
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        if not isinstance(content, dict):
            raise ValueError("it is not a table")
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as exc:
        raise ModelRefused(
            f"Model {model.name}: configs/{path.name} cannot be parsed "
            f"({type(exc).__name__}); export the bundle again."
        ) from exc
    return content


def _scan(content: Mapping[str, Any]) -> None:
    """Refuse what could run code anywhere in the file, also where nobody would look at it."""
    waiting: list[Any] = [content]
    seen = 0
    while waiting:
        seen += 1
        if seen > _MAX_NODES:
            raise _Refusal("it is too large")
        value = waiting.pop()
        if isinstance(value, Mapping):
            _scan_keys(value)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, str):
            _require_no_expression(value)


def _scan_keys(table: Mapping[Any, Any]) -> None:
    for key in table:
        if not isinstance(key, str) or key.startswith(("$", "%")):
            raise _Refusal(f"{_shown(key)} is not a plain key")
        if key.startswith("_") and key not in _COMPONENT_KEYS:
            raise _Refusal(f"the key {_shown(key)} is not supported")
    if "_target_" in table:
        _bare_name(table["_target_"])


def _require_no_expression(value: str) -> None:
    text = value.strip()
    if text.startswith(("$", "%")) and text.replace('"', "'") not in IGNORED_EXPRESSIONS:
        raise _Refusal(f"it holds the expression {_shown(value)}, and expressions are never run")


def _bare_name(target: Any) -> str:
    for package, allowed in (
        ("monai.networks.nets.", NETWORKS),
        ("oncopixel_pacs.infer.networks.", OWN_NETWORKS),
        ("monai.inferers.", INFERERS),
    ):
        if isinstance(target, str) and (name := target.removeprefix(package)) in allowed:
            return name
    raise _Refusal(f"the _target_ {_shown(target)} is not among the allowed classes")


class _References:
    """Replaces references by literals, with a budget: a reference can name a table full of more."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._content = content
        self._nodes = 0

    def resolve(self, value: Any, depth: int = 0) -> Any:
        self._nodes += 1
        if depth > _MAX_REFERENCES or self._nodes > _MAX_NODES:
            raise _Refusal("its references go round in a circle or are nested too deeply")
        if isinstance(value, Mapping):
            return {key: self.resolve(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [self.resolve(item, depth + 1) for item in value]
        if isinstance(value, str) and value.startswith("@"):
            return self.resolve(self._follow(value), depth + 1)
        return value

    def _follow(self, reference: str) -> Any:
        here: Any = self._content
        for part in re.split(r"::|#", reference[1:]):
            if isinstance(here, Mapping) and part in here:
                here = here[part]
            elif isinstance(here, list) and part.isdecimal() and int(part) < len(here):
                here = here[int(part)]
            else:
                raise _Refusal(f"the reference {_shown(reference)} points to nothing")
        return here


def _component(value: Any, allowed: Mapping[str, frozenset[str]], kind: str) -> Component:
    if not isinstance(value, Mapping) or "_target_" not in value:
        raise _Refusal(f"its {kind} has no _target_")
    target = _bare_name(value["_target_"])
    if target not in allowed:
        raise _Refusal(f"{target} is not a {kind}")
    arguments = {key: item for key, item in value.items() if key not in _COMPONENT_KEYS}
    for key, item in arguments.items():
        if key not in allowed[target]:
            raise _Refusal(f"{target} may not have the argument {_shown(key)}")
        _require_bounded(key, item)
    return Component(target, arguments)


def _require_bounded(key: str, value: Any, level: int = 0) -> None:
    """Refuse values that are no plain, small description of a layer."""
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, int):
        _require_whole(key, value)
    elif isinstance(value, float):
        if not math.isfinite(value) or abs(value) > _MAX_WHOLE:
            raise _Refusal(f"{key} = {value} is out of bounds")
    elif isinstance(value, str):
        if value.lower() not in WORDS and not _BACKBONE.fullmatch(value):
            raise _Refusal(f"{key} = {_shown(value)} is not an allowed word")
    elif isinstance(value, (list, Mapping)):
        if level >= _MAX_LEVELS or len(value) > _MAX_ITEMS:
            raise _Refusal(f"{key} is too long or nested too deeply")
        if isinstance(value, Mapping) and not _LAYER_OPTIONS.issuperset(value):
            raise _Refusal(f"{key} holds an option that is not allowed")
        for item in value.values() if isinstance(value, Mapping) else value:
            _require_bounded(key, item, level + 1)
    else:
        raise _Refusal(f"{key} has a value of an unknown kind")


def _require_whole(key: str, value: int) -> None:
    if key in _COUNTS_LAYERS:
        limit = _MAX_LAYERS
    elif key in _COUNTS_FEATURES:
        limit = _MAX_FEATURES
    else:
        limit = _MAX_INPUT_SIDE if key in _COUNTS_PIXELS else _MAX_WHOLE
    if not 0 <= value <= limit:
        raise _Refusal(f"{key} = {value} is out of bounds (0 to {limit})")


def _without_download(network: Component) -> Component:
    # Some networks fetch weights from the net when built, EfficientNetBN even by default. All
    # weights come from model.pt, so the answer to `pretrained` is always no.
    if "pretrained" not in NETWORKS.get(network.target, frozenset()):
        return network
    return Component(network.target, {**network.arguments, "pretrained": False})


def _shown(value: object) -> str:
    """Foreign text, short and on one line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
