"""From a checkpoint to a MONAI bundle that the server's static loader accepts.

The bundle follows the MONAI Bundle Specification (docs.monai.io/en/stable/mb_specification.html)
and holds no expression: nothing of it has to be executed to build the network.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.imaging.preprocess import Preprocessing
from training.bundle_files import (
    Bundle,
    new_bundle,
    prove_golden,
    write_golden,
    write_json,
    write_weights,
)
from training.bundle_metadata import check_metadata, inference, origin
from training.card import model_card
from training.datasets import Split
from training.datasets.phantoms import phantom_records
from training.evaluate import Report
from training.fit import load_fitted
from training.prepared import prepare_record
from training.task import Task

DATA_SOURCE = (
    "mini-MIAS; a part of DDSM; a part of CDD-CESM (low-energy images); generated phantoms"
)
DATA_LICENCE = (
    "mini-MIAS: research purposes only. DDSM: none stated with the copy used. CDD-CESM: TCIA Data "
    "Usage Policy, companion repository CC BY-NC 4.0. Phantoms: none."
)
LICENCE = Path(__file__).parent / "weights_licence.txt"
_CLASSES = {
    ModelTask.SEGMENT: ("lesion",),
    ModelTask.CLASSIFY: ("not malignant", "malignancy"),
}


def export(task: Task, checkpoint: Path, report: Report, folder: Path) -> Bundle:
    """Write the bundle of a trained and evaluated network.

    The bundle is loaded again by the server's strict loader, and its answer to the golden input
    compared, before it is handed over.

    Parameters
    ----------
    task
        Task that the checkpoint was trained for.
    checkpoint
        Lightning checkpoint that `fit.fit` wrote.
    report
        Its evaluation: operating point, calibration and the figures of the model card.
    folder
        Bundle folder; a bundle that lies there is replaced once this one is proved.

    Raises
    ------
    ConfigurationError
        When there is no checkpoint, the bundle does not answer as it should, or something else
        than a bundle lies there.
    """
    network = load_fitted(task, checkpoint)
    with new_bundle(folder) as made:
        bundle = _write(task, network, report, made, _golden_image(task))
        prove_golden(bundle)
    return replace(bundle, folder=folder)


def _write(
    task: Task,
    network: torch.nn.Module,
    report: Report,
    folder: Path,
    shown: tuple[Tensor, dict[str, Any]],
) -> Bundle:
    image, phantom = shown
    with torch.inference_mode():
        logits: Tensor = network(image)
    weights = network.state_dict()
    sha256 = write_weights(weights, folder)
    content = metadata(task, report, {**write_golden(image, logits, folder), "phantom": phantom})
    check_metadata(content)
    write_json(folder / "configs" / "metadata.json", content)
    write_json(
        folder / "configs" / "inference.json",
        inference(task.network.path, task.network.arguments),
    )
    parameters = sum(value.numel() for value in weights.values())
    (folder / "docs" / "README.md").write_text(
        model_card(task, report, sha256, parameters), encoding="utf-8"
    )
    shutil.copy(LICENCE, folder / "docs" / "license.txt")
    return Bundle(task.name, task.task, folder, sha256, report.choice.threshold)


def metadata(task: Task, report: Report, golden: dict[str, Any]) -> dict[str, Any]:
    """Content of ``configs/metadata.json``."""
    height, width = task.phases[-1].size
    ours = Preprocessing()
    outline = report.choice.outline_threshold
    return {
        **origin(task.name, task.version, task.description, task.manufacturer),
        "data_source": DATA_SOURCE,
        "data_licence": DATA_LICENCE,
        "network_data_format": {
            "inputs": {"image": _input(height, width)},
            "outputs": {"pred": _output(task.task, height, width)},
        },
        "preprocessing": {
            "kind": "breast",
            "pixel_size_mm": ours.pixel_size_mm,
            "sha256": ours.digest(),
            "views": 1,
        },
        "classes": list(_CLASSES[task.task]),
        "calibration": dict(report.choice.calibrator.as_dict()),
        "operating_points": _operating_points(report),
        "measured": _measured(report),
        "golden": golden,
        "oncopixel": {
            "task": task.task.value,
            "activation": "sigmoid",
            "preprocessing_sha256": ours.digest(),
            "pixel_size_mm": ours.pixel_size_mm,
            "manufacturer": task.manufacturer,
            **({} if outline is None else {"outline_threshold": outline}),
        },
    }


def _golden_image(task: Task) -> tuple[Tensor, dict[str, Any]]:
    """Prepare the first phantom that is only ever scored, and say which one it is."""
    seed = task.data.phantom_test.first
    record = phantom_records([seed], Split.TEST)[0]
    image = torch.from_numpy(prepare_record(record, Preprocessing()).image[None, None])
    return image, {
        "seed": seed,
        "laterality": record.laterality.value,
        "view": record.view.value,
        "diseased": record.diseased,
    }


def _operating_points(report: Report) -> dict[str, float]:
    """Give the threshold on the network's own score, and what that is after calibration."""
    cut = report.choice.threshold
    if report.choice.calibrator.kind == "none":
        return {"default": cut}
    pair = report.choice.calibrator(np.array([[1.0 - cut, cut]]))
    return {"default": cut, "calibrated": round(float(pair[0, 1]), 4)}


def _measured(report: Report) -> Sequence[dict[str, Any]]:
    return [
        {
            "subset": figure.subset,
            "figure": figure.name,
            "value": figure.estimate.value,
            "low": figure.estimate.low,
            "high": figure.estimate.high,
            "images": figure.estimate.images,
        }
        for figure in report.figures
        if np.isfinite(figure.estimate.value)
    ]


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
        "channel_def": {"0": _CLASSES[task][-1]},
    }
