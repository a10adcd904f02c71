"""Training a task: its phases one after the other, averaged weights kept."""

from __future__ import annotations

import csv
import json
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import monai
import numpy as np
import pytorch_lightning as pl
import torch
from monai.utils.misc import set_determinism
from pytorch_lightning.callbacks import Callback, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger

from oncopixel_pacs.errors import ConfigurationError
from training.averaging import WarmWeightAveraging
from training.batches import training_batches, validation_batches
from training.datasets import Split
from training.depthwise import speed_up
from training.gather import gather
from training.modules import build_network, module_for
from training.plots import line_plot, smooth
from training.prepared import Sample
from training.published_weights import load_published, start_with
from training.run_record import write_whole
from training.task import Phase, Task

PREFIX = "network."
_VALIDATIONS_PER_PHASE = 2
_SMOOTHED_ENTRIES = 10
# A handful of samples per step needs no worker processes, and the averaged weights are complete.
_HARMLESS = (
    ".*does not have many workers.*",
    ".*Detected call of `lr_scheduler.step.*",
    ".*srun.*",
    ".*smaller than the logging interval.*",
    ".*isinstance.treespec, LeafSpec.*",
    ".*Checkpoint directory .* exists.*",
    ".*Experiment logs directory .* exists.*",
)


@dataclass(frozen=True, slots=True)
class Fitted:
    """Where a finished training lies.

    Attributes
    ----------
    checkpoint
        Lightning checkpoint of the last phase; its weights are the averaged ones.
    seconds
        Wall time of all phases.
    """

    checkpoint: Path
    seconds: float


def fit(
    task: Task,
    data: Path | None,
    out: Path,
    *,
    cache: Path | None = None,
    start_from: Path | None = None,
    workers: int = 0,
    progress: bool = True,
) -> Fitted:
    """Train a task, or take up a run that was interrupted, after the last phase that was done.

    Only ``train`` images change weights; ``val`` images give the curve ``val_loss`` and nothing
    is selected by it. Everything random follows the seed of the task.

    Parameters
    ----------
    data
        Folder that holds the real sets, where the task names any.
    out
        Folder for checkpoint, logs and ``run.json``.
    cache
        Folder for prepared images; ``out/cache`` when absent.
    start_from
        Checkpoint whose weights to start from; fresh weights when absent.
    workers
        Processes that load batches.

    Raises
    ------
    DataSetFault
        When a set cannot be read.
    """
    with _quiet():
        pl.seed_everything(task.seed, workers=True, verbose=False)
        set_determinism(task.seed)
        samples = gather(
            task.data, data, cache or out / "cache", (Split.TRAIN, Split.VAL), workers=workers or 1
        )
        network = build_network(task.network)
        if task.network.pretrained is not None:
            load_published(network, task.network.pretrained, task.network.frozen_blocks)
        if start_from is not None:
            start_with(network, load_weights(start_from))
        if torch.cuda.is_available():
            # Not on a CPU: there PyTorch 2.13 writes beyond its buffers in the backward pass of
            # convolutions of one channel laid out so.
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        elif task.network.pretrained is not None and task.precision == "bf16-mixed":
            speed_up(network)
        _forget_another_run(out, f"{task.model_dump_json()}\n{start_from}\n")
        start = time.monotonic()
        for number, phase in enumerate(task.phases, start=1):
            done = out / f"phase-{number}.ckpt"
            if done.is_file():
                network.load_state_dict(load_weights(done), strict=True)
                continue
            # By phase, so that a run taken up again draws what it would have drawn.
            set_determinism(task.seed + number)
            trainer = _trainer(task, phase, number, out, progress)
            _run_phase(task, phase, number, trainer, network, samples, workers)
            _keep(trainer, done)
        seconds = time.monotonic() - start
        checkpoint = out / "final.ckpt"
        shutil.copyfile(done, checkpoint)
        _forget_another_run(out, "")
    _write_run(task, samples, seconds, out)
    plot_loss(out)
    return Fitted(checkpoint, seconds)


def plot_loss(out: Path) -> None:
    """Draw ``loss.svg`` from the logs of a run: one line per phase, running means."""
    lines = {}
    for path in sorted((out / "logs").glob("phase-*/metrics.csv")):
        with path.open(newline="", encoding="utf-8") as stream:
            rows = [row for row in csv.DictReader(stream) if row.get("train_loss")]
        steps = np.array([float(row["step"]) for row in rows])
        loss = np.array([float(row["train_loss"]) for row in rows])
        lines[path.parent.name] = (steps, smooth(loss, _SMOOTHED_ENTRIES))
    line_plot(out / "loss.svg", lines, x_label="step", y_label="training loss")


def load_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Read the network's own state dict out of a Lightning checkpoint.

    Raises
    ------
    ConfigurationError
        When the file is missing or holds no network of ours.
    """
    if not checkpoint.is_file():
        raise ConfigurationError(f"There is no checkpoint {checkpoint}; run fit first.")
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    weights = {
        key.removeprefix(PREFIX): value
        for key, value in content["state_dict"].items()
        if key.startswith(PREFIX)
    }
    if not weights:
        raise ConfigurationError(f"{checkpoint} holds no weights under {PREFIX}; fit it anew.")
    return weights


def load_fitted(task: Task, checkpoint: Path) -> torch.nn.Module:
    """Rebuild the trained network of a task, in evaluation mode, answering logits."""
    network = build_network(task.network)
    network.load_state_dict(load_weights(checkpoint), strict=True)
    return network.eval().requires_grad_(False)


def _forget_another_run(out: Path, this: str) -> None:
    """Remove the phases of a run that was of another task, or is done."""
    path = out / "under-way.json"
    if path.is_file() and path.read_text(encoding="utf-8") == this:
        return
    for phase in out.glob("phase-*.ckpt"):
        phase.unlink()
    out.mkdir(parents=True, exist_ok=True)
    write_whole(path, this)


def _keep(trainer: pl.Trainer, path: Path) -> None:
    partial = path.with_suffix(".part")
    trainer.save_checkpoint(partial, weights_only=True)
    partial.replace(path)


def _trainer(task: Task, phase: Phase, number: int, out: Path, progress: bool) -> pl.Trainer:
    callbacks: list[Callback] = [WarmWeightAveraging(phase.ema_decay)]
    if progress:
        callbacks.append(TQDMProgressBar(refresh_rate=20))
    return pl.Trainer(
        accelerator="auto",
        devices=1,
        precision=task.precision,
        max_epochs=1,
        logger=CSVLogger(str(out), name="logs", version=f"phase-{number}"),
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=progress,
        gradient_clip_val=5.0,
        log_every_n_steps=min(20, phase.steps),
        val_check_interval=max(1, phase.steps // _VALIDATIONS_PER_PHASE),
        num_sanity_val_steps=0,
    )


def _run_phase(
    task: Task,
    phase: Phase,
    number: int,
    trainer: pl.Trainer,
    network: torch.nn.Module,
    samples: Sequence[Sample],
    workers: int,
) -> None:
    train = [sample for sample in samples if sample.split is Split.TRAIN]
    val = [sample for sample in samples if sample.split is Split.VAL]
    batches = training_batches(
        train,
        phase.shares or task.data.shares,
        phase,
        task.task,
        workers=workers,
        seed=task.seed + number,
    )
    trainer.fit(module_for(task.task, network, phase), batches, validation_batches(val, task.task))


def _write_run(task: Task, samples: Sequence[Sample], seconds: float, out: Path) -> None:
    counts = Counter((sample.split.value, sample.source) for sample in samples)
    run = {
        "task": task.model_dump(mode="json"),
        "images": {f"{split}/{source}": count for (split, source), count in sorted(counts.items())},
        "seconds": round(seconds, 1),
        "versions": {
            "torch": torch.__version__,
            "monai": monai.__version__,
            "pytorch_lightning": version("pytorch-lightning"),
        },
    }
    write_whole(out / "run.json", json.dumps(run, indent=2) + "\n")


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        for message in _HARMLESS:
            warnings.filterwarnings("ignore", message)
        yield
