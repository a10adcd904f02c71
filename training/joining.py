"""Several trainings of one task, joined to a network that answers with their mean."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from oncopixel_pacs.errors import ConfigurationError
from training.fit import PREFIX, load_weights
from training.modules import build_network
from training.run_record import write_whole
from training.task import Task

_MEMBERS = "members.json"


def join(task: Task, runs: Sequence[Path], out: Path) -> Path:
    """Write ``final.ckpt`` of several trainings that answer together.

    Kernels are rounded to the 11 binary digits of half precision before anything is measured:
    half as large a file is then without loss (`bundle_files.write_weights`).

    Parameters
    ----------
    task
        Task that each was trained for, perhaps with another seed.
    runs
        Their folders; the first is asked first.
    out
        Folder of the joined run, for ``evaluate`` and ``export``.

    Raises
    ------
    ConfigurationError
        When a run is not done or of another network, or only one is given.
    """
    if len(runs) < 2:
        raise ConfigurationError("Give the folders of at least two runs to join.")
    network = build_network(task.joined(len(runs)).network)
    weights = {
        f"members.{number}.{key}": _rounded(value)
        for number, run in enumerate(runs)
        for key, value in load_weights(run / "final.ckpt").items()
    }
    _require_same_shapes(network.state_dict(), weights)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "final.ckpt"
    partial = checkpoint.with_suffix(".part")
    torch.save({"state_dict": {PREFIX + key: value for key, value in weights.items()}}, partial)
    partial.replace(checkpoint)
    write_whole(out / _MEMBERS, json.dumps([str(run) for run in runs]) + "\n")
    return checkpoint


def task_of(task: Task, out: Path) -> Task:
    """Give the task of a run: as it is, or joined where `join` wrote the run."""
    path = out / _MEMBERS
    if not path.is_file():
        return task
    return task.joined(len(json.loads(path.read_text(encoding="utf-8"))))


def _rounded(value: Tensor) -> Tensor:
    return value.half().to(value.dtype) if value.ndim > 1 else value


def _require_same_shapes(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    if wanted.keys() != given.keys() or any(
        wanted[key].shape != given[key].shape for key in wanted
    ):
        raise ConfigurationError(
            "The runs are not all of the network that the task names; join trainings of one task."
        )
