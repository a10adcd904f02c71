"""Runs a bundle as MONAI would, from one image to one vector of numbers. Only when shut in.

Of ``configs/inference.json`` the parts ``import``, ``preprocessing``, ``network_def`` (or
``network``), ``inferer`` and ``postprocessing`` are built, expressions and all. The image lies as
a PNG file of 8 bits in the scratch folder, so that the bundle's own loading transform reads it as
it read what it was trained with. Data sets, loaders, handlers and the evaluator are not built.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle.config_parser import ConfigParser
from monai.inferers.inferer import SimpleInferer
from monai.transforms.compose import Compose
from PIL import Image

Run = Callable[[Sequence[int], bytes], dict[str, Any]]
#: They write files, or make one word of the probabilities that are wanted.
_LEFT_OUT = ("Save", "AsDiscrete")
_NESTED = ("model", "network", "net", "state_dict")


def load(order: Mapping[str, Any]) -> Run:
    """Build the parts of a bundle and load its weights.

    Parameters
    ----------
    order
        ``bundle``, ``scratch``, ``threads``, ``input_key``, ``output_key`` and ``activation``.

    Returns
    -------
    callable
        From ``(channels, rows, columns)`` and the bytes of float32 pixels in [0, 1] to the shape
        and the values of the answer.
    """
    bundle = Path(order["bundle"])
    torch.set_num_threads(order["threads"])
    # As from a shell in its folder, which bundles expect; nothing can be written there.
    os.chdir(bundle)
    sys.path.insert(0, str(bundle))
    parser = _parser(bundle)
    if "import" in parser.get():
        parser.get_parsed_content("import")
    preprocessing = _transforms(parser, "preprocessing")
    postprocessing = _transforms(parser, "postprocessing")
    inferer = parser.get_parsed_content("inferer") if "inferer" in parser.get() else SimpleInferer()
    network = _network(parser)
    network.load_state_dict(_weights(bundle), strict=True)
    network.eval().requires_grad_(False)
    image_key, pred_key = order["input_key"], order["output_key"]
    path = Path(order["scratch"]) / "image.png"

    def run(shape: Sequence[int], pixels: bytes) -> dict[str, Any]:
        _write(path, shape, pixels)
        try:
            item = preprocessing({image_key: str(path)})
            with torch.inference_mode():
                item[pred_key] = inferer(torch.as_tensor(item[image_key])[None], network)[0]
            answer = postprocessing(item)[pred_key]
        finally:
            path.unlink()
        values = _activated(torch.as_tensor(answer).detach().float(), order["activation"])
        flat = values.reshape(-1)[:4096]
        return {"shape": list(values.shape), "values": [float(value) for value in flat]}

    return run


def _parser(bundle: Path) -> ConfigParser:
    names = ("inference.json", "inference.yaml", "inference.yml")
    paths = [bundle / "configs" / name for name in names]
    found = [path for path in paths if path.is_file()]
    if len(found) != 1:
        raise FileNotFoundError("it needs exactly one of configs/inference.json and .yaml")
    parser = ConfigParser()
    parser.read_config(str(found[0]))
    parser.read_meta(str(bundle / "configs" / "metadata.json"))
    parser["bundle_root"] = str(bundle)
    parser["device"] = "$torch.device('cpu')"
    definition = parser.get().get("network_def")
    if isinstance(definition, dict) and "pretrained" in definition:
        parser["network_def#pretrained"] = False  # all weights come from models/model.pt
    missing = [name for name in ("preprocessing",) if name not in parser.get()]
    if missing:
        raise KeyError(f"its inference configuration has no {missing[0]}")
    return parser


def _transforms(parser: ConfigParser, name: str) -> Callable[[Any], Any]:
    if name not in parser.get():
        return Compose([])
    built = parser.get_parsed_content(name)
    steps = list(built.transforms) if isinstance(built, Compose) else [built]
    return Compose([step for step in steps if not type(step).__name__.startswith(_LEFT_OUT)])


def _network(parser: ConfigParser) -> torch.nn.Module:
    for name in ("network_def", "network", "net"):
        if name in parser.get():
            network = parser.get_parsed_content(name)
            if isinstance(network, torch.nn.Module):
                return network
            raise TypeError(f"its {name} is a {type(network).__name__}, not a network")
    raise KeyError("its inference configuration has no network_def")


def _weights(bundle: Path) -> Mapping[str, Any]:
    path = bundle / "models" / "model.pt"
    content = torch.load(path, map_location="cpu", weights_only=True)
    for name in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping):
        raise TypeError("models/model.pt holds no state dict")
    return content


def _write(path: Path, shape: Sequence[int], pixels: bytes) -> None:
    picture = np.frombuffer(pixels, dtype=np.float32).reshape(shape)
    whole = np.rint(np.clip(picture, 0.0, 1.0) * 255.0).astype(np.uint8)
    image = whole[0] if shape[0] == 1 else np.ascontiguousarray(whole.transpose(1, 2, 0))
    Image.fromarray(image).save(path, "PNG", compress_level=1)


def _activated(values: torch.Tensor, activation: str) -> torch.Tensor:
    kept = [size for size in values.shape if size != 1]
    values = values.reshape(kept)
    if activation == "softmax":
        return values.softmax(dim=0)
    return values.sigmoid() if activation == "sigmoid" else values
