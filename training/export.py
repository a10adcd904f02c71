"""From a checkpoint to a MONAI bundle that the server's static loader accepts.

The bundle follows the MONAI Bundle Specification (docs.monai.io/en/stable/mb_specification.html)
and holds no expression: nothing of it has to be executed to build the network.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch

from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.imaging.preprocess import Preprocessing
from training.card import model_card
from training.evaluate import Report
from training.fit import load_fitted, load_weights
from training.task import Task

INTENDED_USE = (
    "Research use only. Not a medical device, not for diagnosis, not for any decision about a "
    "patient."
)
DATA_SOURCE = (
    "mini-MIAS; a part of DDSM; a part of CDD-CESM (low-energy images); generated phantoms"
)
LICENCE = Path(__file__).parent / "weights_licence.txt"


@dataclass(frozen=True, slots=True)
class Exported:
    """A written bundle and what pins it.

    Attributes
    ----------
    sha256
        Of ``models/model.pt``.
    """

    task: Task
    folder: Path
    sha256: str
    threshold: float

    def pin(self, bundle: str) -> str:
        """Write the ``[[models]]`` table that makes the server run this bundle.

        Parameters
        ----------
        bundle
            Folder of the bundle, relative to the configuration file.
        """
        return (
            "[[models]]\n"
            f'name = "{self.task.name}"\n'
            f'task = "{self.task.task}"\n'
            f'bundle = "{bundle}"\n'
            f'sha256 = "{self.sha256}"\n'
            f"threshold = {self.threshold}\n"
        )


def export(task: Task, checkpoint: Path, report: Report, folder: Path) -> Exported:
    """Write the bundle of a trained and evaluated network.

    Parameters
    ----------
    task
        Task that the checkpoint was trained for.
    checkpoint
        Lightning checkpoint that `fit.fit` wrote.
    report
        Its evaluation: the operating point and the figures of the model card.
    folder
        Bundle folder; what lies there is replaced.

    Raises
    ------
    ConfigurationError
        When there is no checkpoint.
    """
    weights = {key: value.contiguous() for key, value in load_weights(checkpoint).items()}
    load_fitted(task, checkpoint)  # a checkpoint of another task fails here, not at the server
    if folder.exists():
        shutil.rmtree(folder)
    for part in ("configs", "models", "docs"):
        (folder / part).mkdir(parents=True)
    torch.save(weights, folder / "models" / "model.pt")
    sha256 = hashlib.sha256((folder / "models" / "model.pt").read_bytes()).hexdigest()
    parameters = sum(value.numel() for value in weights.values())
    _write_json(folder / "configs" / "metadata.json", metadata(task))
    _write_json(folder / "configs" / "inference.json", inference(task))
    (folder / "docs" / "README.md").write_text(
        model_card(task, report, sha256, parameters), encoding="utf-8"
    )
    shutil.copy(LICENCE, folder / "docs" / "license.txt")
    return Exported(task, folder, sha256, report.threshold)


def inference(task: Task) -> dict[str, Any]:
    """Content of ``configs/inference.json``: literals only."""
    return {
        "device": "cpu",
        "network_def": {
            "_target_": task.network.path,
            **task.network.arguments,
        },
        "inferer": {"_target_": "monai.inferers.SimpleInferer"},
    }


def metadata(task: Task) -> dict[str, Any]:
    """Content of ``configs/metadata.json``."""
    height, width = task.phases[-1].size
    preprocessing = Preprocessing()
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/"
        "0.8.1/meta_schema_20240725.json",
        "version": task.version,
        "changelog": {task.version: "trained and exported"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {},
        "name": task.name,
        "task": task.description,
        "description": task.description,
        "authors": "OncoPixel",
        "copyright": "See docs/license.txt",
        "data_source": DATA_SOURCE,
        "intended_use": INTENDED_USE,
        "network_data_format": {
            "inputs": {"image": _input(height, width)},
            "outputs": {"pred": _output(task.task, height, width)},
        },
        "oncopixel": {
            "task": task.task.value,
            "activation": "sigmoid",
            "preprocessing_sha256": preprocessing.digest(),
            "pixel_size_mm": preprocessing.pixel_size_mm,
            "manufacturer": "OncoPixel",
        },
    }


def _input(height: int, width: int) -> dict[str, Any]:
    return {
        "type": "image",
        "format": "magnitude",
        "modality": "MG",
        "num_channels": 1,
        "spatial_shape": [height, width],
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {"0": "image"},
    }


def _output(task: ModelTask, height: int, width: int) -> dict[str, Any]:
    segments = task is ModelTask.SEGMENT
    return {
        "type": "image" if segments else "probabilities",
        "format": "segmentation" if segments else "classes",
        "num_channels": 1,
        "spatial_shape": [height, width] if segments else [],
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {"0": "lesion" if segments else "malignancy"},
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
