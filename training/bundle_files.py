"""Files that every exported bundle has, and the proof that the server answers as training did."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.infer.bundle import load_unprobed
from oncopixel_pacs.settings import ModelSettings
from training.run_record import digest_file

GOLDEN_TOLERANCE = 1e-4
_GOLDEN = "golden/golden.safetensors"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A written bundle and what pins it.

    Attributes
    ----------
    sha256
        Of ``models/model.pt``.
    """

    name: str
    task: ModelTask
    folder: Path
    sha256: str
    threshold: float

    def settings(self) -> ModelSettings:
        """Give the settings that make the server load it."""
        return ModelSettings(
            name=self.name,
            task=self.task,
            bundle=self.folder,
            sha256=self.sha256,
            threshold=self.threshold,
        )

    def pin(self, bundle: str) -> str:
        """Write the ``[[models]]`` table of ``oncopixel.toml``.

        Parameters
        ----------
        bundle
            Folder of the bundle, relative to the configuration file.
        """
        return (
            "[[models]]\n"
            f'name = "{self.name}"\n'
            f'task = "{self.task}"\n'
            f'bundle = "{bundle}"\n'
            f'sha256 = "{self.sha256}"\n'
            f"threshold = {self.threshold}\n"
        )


@contextmanager
def new_bundle(folder: Path) -> Iterator[Path]:
    """Write a bundle beside the place where it is to be; it gets there once it is proved.

    A server may be reading the bundle that lies there, and must find one or the other whole.

    Parameters
    ----------
    folder
        Where it is to be; a bundle that lies there is replaced.

    Yields
    ------
    Path
        Where to write it, with the folders that every bundle has.

    Raises
    ------
    ConfigurationError
        When something else than a bundle lies there.
    """
    if folder.exists() and not _is_bundle(folder):
        raise ConfigurationError(f"{folder} holds something else than a bundle; name another one.")
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as name:
        made = Path(name) / "new"
        for part in ("configs", "models", "docs", "golden"):
            (made / part).mkdir(parents=True)
        yield made
        if folder.exists():
            folder.rename(Path(name) / "old")
        made.rename(folder)


def _is_bundle(folder: Path) -> bool:
    return folder.is_dir() and (
        (folder / "configs" / "metadata.json").is_file() or not any(folder.iterdir())
    )


def write_weights(weights: Mapping[str, Tensor], folder: Path) -> str:
    """Write ``models/model.pt`` and ``models/model.safetensors``; the digest of the first.

    Kernels that half precision holds without loss are written so; the loader widens them again.

    Parameters
    ----------
    weights
        State dict of the network alone, without the prefix of a training module.
    """
    plain = {key: _smallest(value.detach().cpu()) for key, value in weights.items()}
    torch.save(plain, folder / "models" / "model.pt")
    save_file(plain, folder / "models" / "model.safetensors")
    return digest_file(folder / "models" / "model.pt")


def _smallest(value: Tensor) -> Tensor:
    if value.dtype == torch.float32 and value.ndim > 1 and torch.equal(value.half().float(), value):
        value = value.half()
    return value.contiguous().clone()


def write_golden(image: Tensor, logits: Tensor, folder: Path) -> dict[str, Any]:
    """Write the golden input and output; the table ``golden`` of ``metadata.json``.

    Parameters
    ----------
    image
        ``(1, channels, height, width)`` as the network reads it, or a bag of them.
    logits
        What the network of the training answers.
    """
    path = folder / _GOLDEN
    save_file({"image": image.contiguous().clone(), "logits": logits.contiguous().clone()}, path)
    return {"file": _GOLDEN, "sha256": digest_file(path), "tolerance": GOLDEN_TOLERANCE}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a configuration of a bundle."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def prove_golden(bundle: Bundle) -> float:
    """Ask the server's strict loader for the golden answer.

    Returns
    -------
    float
        Largest absolute difference of a logit.

    Raises
    ------
    ConfigurationError
        When it is not below `GOLDEN_TOLERANCE`, or a golden file is not the pinned one.
    ModelRefused
        When the server refuses the bundle.
    """
    metadata = json.loads((bundle.folder / "configs" / "metadata.json").read_text("utf-8"))
    path = bundle.folder / _GOLDEN
    if digest_file(path) != metadata["golden"]["sha256"]:
        raise ConfigurationError(f"{path} is not the file that metadata.json pins; export again.")
    golden = load_file(path)
    network = load_unprobed(bundle.settings(), torch.device("cpu"))
    with torch.inference_mode():
        answer = network(golden["image"])
    difference = float((answer - golden["logits"]).abs().max())
    if not difference < GOLDEN_TOLERANCE:
        raise ConfigurationError(
            f"The bundle {bundle.folder} answers its golden input with a difference of "
            f"{difference:g}; export it on this machine again."
        )
    return difference
