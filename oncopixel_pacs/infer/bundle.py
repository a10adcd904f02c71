"""From a bundle's files to a network that may be run, without running anything of the bundle.

The order is what makes it safe: the configuration is read as data (`bundle_config`), the weights
are read once into memory, hashed there and parsed from those very bytes with
``weights_only=True``; the network is first built without memory to compare names and shapes, and
only then for real; a probe shows that its output is what ``metadata.json`` states.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from oncopixel_pacs.child_process import loading
from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.errors import ModelRefused
from oncopixel_pacs.infer.bundle_config import OWN_NETWORKS, BundleConfig, Component, read_config
from oncopixel_pacs.infer.card import Card
from oncopixel_pacs.infer.cards import read_card, require_pinned, weights_path
from oncopixel_pacs.settings import ModelSettings

Network = Callable[[Tensor], Tensor]
"""From images ``(n, channels, height, width)`` to logits ``(n, channels[, height, width])``."""

# Their constructors read values of a tensor, which one without memory does not have.
_NEED_MEMORY = frozenset({"SwinUNETR"})
_MAX_WEIGHTS_BYTES = 1_000_000_000
# What MONAI and torch raise for arguments or files that make no sense; there is no common base.
_MALFORMED = (
    pickle.UnpicklingError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


def load_network(model: ModelSettings, device: torch.device) -> Network:
    """Build the network of a bundle, with its weights, ready for inference.

    Parameters
    ----------
    model
        Bundle, its pin and its task.
    device
        Where the network shall run.

    Returns
    -------
    callable
        The network behind the bundle's inferer, in evaluation mode, giving logits.

    Raises
    ------
    ModelRefused
        When the configuration asks for more than a listed network, the weights are not the
        pinned ones or do not fit, or the output is not what the metadata states.
    """
    card = read_card(model)
    run = load_unprobed(model, device)
    _probe(model, card, run, device)
    return run


def load_unprobed(model: ModelSettings, device: torch.device) -> Network:
    """Build the network of a bundle as strictly, without asking what its output means.

    For those who check the output themselves, such as the exporter of models that read other
    images than mammograms.

    Raises
    ------
    ModelRefused
        As `load_network`, but for the probe.
    """
    config = read_config(model)
    weights = _read_weights(model)
    module = _build_network(model, config, weights).to(device).eval().requires_grad_(False)
    infer = _build_inferer(model, config.inferer)

    def run(images: Tensor) -> Tensor:
        output: Tensor = infer(images, module)
        return output

    return run


def _read_weights(model: ModelSettings) -> Mapping[str, Tensor]:
    path = weights_path(model)
    try:
        if path.stat().st_size > _MAX_WEIGHTS_BYTES:
            raise ModelRefused(f"Model {model.name}: {path} is over a gigabyte; use a smaller one.")
        content = path.read_bytes()
    except OSError as exc:
        raise ModelRefused(
            f"Model {model.name}: {path} cannot be read ({exc.strerror}); restore the file."
        ) from exc
    # Hash and parse the same bytes: the file may change between two reads.
    require_pinned(model, hashlib.sha256(content).hexdigest())
    try:
        weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except _MALFORMED as exc:
        raise ModelRefused(
            f"Model {model.name}: models/model.pt is not a plain file of tensors "
            f"({type(exc).__name__}); save the network's state_dict() with torch.save."
        ) from exc
    _require_tensors(model, weights)
    plain: Mapping[str, Tensor] = weights
    return plain


def _require_tensors(model: ModelSettings, weights: Any) -> None:
    if not isinstance(weights, Mapping) or not weights:
        raise ModelRefused(
            f"Model {model.name}: models/model.pt holds no state dict; "
            "save the network's state_dict() with torch.save."
        )
    for key, value in weights.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ModelRefused(
                f"Model {model.name}: models/model.pt holds more than named tensors; "
                "save the network's state_dict() alone, not the whole checkpoint."
            )
        if value.layout != torch.strided or value.is_quantized:
            raise ModelRefused(
                f"Model {model.name}: the weight {key!r} is not a dense tensor; save it as one."
            )
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ModelRefused(
                f"Model {model.name}: the weight {key!r} holds NaN or infinity; train it again."
            )


def _build_network(
    model: ModelSettings, config: BundleConfig, weights: Mapping[str, Tensor]
) -> torch.nn.Module:
    own = config.network.target in OWN_NETWORKS
    kind = _load("oncopixel_pacs.infer.networks" if own else "monai.networks.nets", config.network)
    with torch.device("cpu" if config.network.target in _NEED_MEMORY else "meta"):
        outline = _construct(model, config.network, kind)
    _require_same_layout(model, outline, weights)
    network: torch.nn.Module = _construct(model, config.network, kind)
    network.load_state_dict(weights, strict=True)
    return network


def _load(package: str, component: Component) -> Any:
    """Load a class only now: to load MONAI takes longer than all else but torch."""
    with loading():
        return getattr(import_module(package), component.target)


def _construct(model: ModelSettings, component: Component, kind: Any) -> Any:
    try:
        return kind(**component.arguments)
    except _MALFORMED as exc:
        raise ModelRefused(
            f"Model {model.name}: {component.target} cannot be built with the arguments of its "
            f"inference configuration ({type(exc).__name__}); correct them."
        ) from exc


def _require_same_layout(
    model: ModelSettings, outline: torch.nn.Module, weights: Mapping[str, Tensor]
) -> None:
    wanted = {key: tuple(value.shape) for key, value in outline.state_dict().items()}
    missing, extra = sorted(wanted.keys() - weights.keys()), sorted(weights.keys() - wanted.keys())
    if missing or extra:
        raise ModelRefused(
            f"Model {model.name}: the names of its weights do not fit its network "
            f"({len(missing)} missing such as {missing[:1]}, {len(extra)} unknown such as "
            f"{extra[:1]}); export the network's own state_dict(), "
            "without the prefix of a training module."
        )
    for key, shape in wanted.items():
        if tuple(weights[key].shape) != shape:
            raise ModelRefused(
                f"Model {model.name}: the weight {key!r} has shape {tuple(weights[key].shape)}, "
                f"its network needs {shape}; export configuration and weights together."
            )


def _build_inferer(
    model: ModelSettings, component: Component
) -> Callable[[Tensor, Network], Tensor]:
    if component.target == "SimpleInferer":  # MONAI's does no more
        return lambda images, network: network(images)
    kind = _load("monai.inferers", component)
    inferer: Callable[[Tensor, Network], Tensor] = _construct(model, component, kind)
    return inferer


def _probe(model: ModelSettings, card: Card, run: Network, device: torch.device) -> None:
    height, width = card.input_shape
    # A ramp rather than zeros: normalisation layers divide by the spread of what they see.
    ramp = torch.linspace(0.0, 1.0, height * width, device=device)
    try:
        with torch.inference_mode():
            image = ramp.reshape(1, 1, height, width).expand(1, card.channels[0], height, width)
            output = run(image.contiguous())
    except _MALFORMED as exc:
        raise ModelRefused(
            f"Model {model.name}: its network does not run on the {height} x {width} image that "
            f"metadata.json states ({type(exc).__name__}); correct network or metadata."
        ) from exc
    wanted = output_shape(card, 1, (height, width))
    found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if found != wanted:
        raise ModelRefused(
            f"Model {model.name}: its network answers {found} where task {card.task} and "
            f"metadata.json need {wanted}; correct network or metadata."
        )
    if not torch.isfinite(output).all():
        raise ModelRefused(
            f"Model {model.name}: its network answers NaN or infinity; train it again."
        )


def output_shape(card: Card, count: int, image_shape: tuple[int, int]) -> tuple[int, ...]:
    """Shape of the logits for `count` images of `image_shape`, ``(height, width)``."""
    return (count, card.channels[1]) + (image_shape if card.task is ModelTask.SEGMENT else ())
