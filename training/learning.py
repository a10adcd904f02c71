"""Running a recipe: stage after stage, fold after fold, taken up where it was interrupted."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import (
    Callback,
    EarlyStopping,
    ModelCheckpoint,
    Timer,
    TQDMProgressBar,
)
from pytorch_lightning.loggers import CSVLogger, Logger
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities import rank_zero_only

from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.infer.networks import VisionTransformer
from training.averaging import WarmWeightAveraging
from training.data_module import Batches
from training.datasets.readers import read_examples
from training.inputs import Preparer
from training.learner import Learner
from training.network_names import describe_network
from training.protocol import Parts, split_by_patient
from training.recipe import Recipe, Stage
from training.run_log import join_log, set_log_aside
from training.run_record import require_same_parts, write_run, write_whole
from training.vit_weights import load_vit

_PREFIX = "network."
_LOGS = "logs"
_HARMLESS = (
    ".*does not have many workers.*",
    ".*srun.*",
    ".*smaller than the logging interval.*",
    ".*isinstance.treespec, LeafSpec.*",
    ".*Checkpoint directory .* exists.*",
    ".*Detected call of `lr_scheduler.step.*",
    ".*dirpath has changed.*",
    ".*Experiment logs directory .* exists.*",
    ".*anonymous setting has no effect.*",
)
LOGGERS = ("tensorboard", "mlflow", "wandb")


@dataclass(frozen=True, slots=True)
class Options:
    """How a recipe is run on this machine.

    Attributes
    ----------
    data
        Folder with one folder per set.
    cache
        Folder for prepared mammograms.
    start_from
        Folder of a Hugging Face ViT checkpoint, or a checkpoint of a run of the same network.
    workers
        Processes that load batches.
    loggers
        Of `LOGGERS`, beside the CSV file that is always written.
    """

    data: Path | None
    cache: Path
    start_from: Path | None = None
    workers: int = 0
    loggers: tuple[str, ...] = ()
    progress: bool = True


class _LateStopping(EarlyStopping):
    """Counts from the middle of a stage on: before, the rate is high and the loss wanders."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if 2 * (trainer.current_epoch + 1) >= (trainer.max_epochs or 0):
            super().on_train_epoch_end(trainer, pl_module)


class _WholeFiles(TorchCheckpointIO):
    """Checkpoints appear whole or not at all: a kill while one is written costs nothing."""

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        partial = Path(path).with_suffix(".part")
        super().save_checkpoint(checkpoint, partial, storage_options)
        partial.replace(path)


def fit_recipe(recipe: Recipe, out: Path, options: Options) -> list[Path]:
    """Train every fold of a recipe, or take up a run that was interrupted.

    Leaves ``recipe.json`` and, per fold, ``fold-K/final.ckpt`` (averaged weights of the epoch
    with the least loss on validation patients), ``run.json`` and the logs.

    Returns
    -------
    list of Path
        Folder of each fold.

    Raises
    ------
    DataSetFault
        When a set cannot be read.
    ConfigurationError
        When `out` holds a run of another recipe or of other images, or the recipe cannot be built.
    """
    _claim(out, recipe)
    network = describe_network(recipe)
    examples = read_examples(recipe.data.sets, options.data, recipe.data.phantoms)
    preparer = Preparer(recipe.data, options.cache)
    readable, left_out = preparer.readable(examples)
    folders = []
    for fold in range(recipe.data.folds):
        folder = out / f"fold-{fold}"
        folders.append(folder)
        parts = split_by_patient(readable, recipe.data, fold=fold, seed=recipe.seed)
        require_same_parts(folder, parts, recipe.data)
        if (folder / "final.ckpt").is_file():
            continue
        if _leads():
            write_run(folder, recipe, readable, parts, left_out)
        with quiet():
            pl.seed_everything(recipe.seed + fold, workers=True, verbose=False)
            module = network.make()
            _start(module, recipe, options)
            _run_stages(recipe, parts, module, folder, preparer, options)
    return folders


def training_seconds(out: Path) -> float:
    """Seconds that the stages of every fold of a run took, over all its interruptions."""
    return sum(
        float(json.loads(path.read_text(encoding="utf-8")).get("seconds", 0.0))
        for path in out.glob("fold-*/stage-*/done.json")
    )


def fitted_network(recipe: Recipe, folder: Path) -> torch.nn.Module:
    """Rebuild the trained network of a fold, in evaluation mode.

    Raises
    ------
    ConfigurationError
        When the fold is not trained or holds another network.
    """
    network = describe_network(recipe).make()
    load_checkpoint(network, folder / "final.ckpt")
    return network.eval().requires_grad_(False)


def load_checkpoint(network: torch.nn.Module, path: Path) -> None:
    """Fill a network from a checkpoint of a run, strictly.

    Raises
    ------
    ConfigurationError
        When the file is missing or does not fit.
    """
    if not path.is_file():
        raise ConfigurationError(f"There is no checkpoint {path}; run fit first.")
    content = torch.load(path, map_location="cpu", weights_only=True)
    weights = {
        key.removeprefix(_PREFIX): value
        for key, value in content.get("state_dict", {}).items()
        if key.startswith(_PREFIX)
    }
    try:
        network.load_state_dict(weights, strict=True)
    except RuntimeError as exc:
        raise ConfigurationError(f"{path} holds another network; fit it anew.") from exc


def read_run(out: Path) -> Recipe:
    """Read the recipe that a folder was trained with.

    Raises
    ------
    ConfigurationError
        When there is none.
    """
    path = out / "recipe.json"
    if not path.is_file():
        raise ConfigurationError(f"There is no {path}; run fit first.")
    return Recipe.model_validate_json(path.read_text(encoding="utf-8"))


def _claim(out: Path, recipe: Recipe) -> None:
    path = out / "recipe.json"
    content = recipe.model_dump_json(indent=2) + "\n"
    if path.is_file() and path.read_text(encoding="utf-8") != content:
        raise ConfigurationError(f"{out} holds a run of another recipe; choose another --out.")
    if not _leads():
        return
    out.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)


def _leads() -> bool:
    """Tell whether this process writes; of the processes of several devices, one does."""
    return getattr(rank_zero_only, "rank", 0) == 0


def _start(module: torch.nn.Module, recipe: Recipe, options: Options) -> None:
    folder = options.start_from
    if folder is None and recipe.network.checkpoint:
        folder = Path(recipe.network.checkpoint)
    if folder is None:
        return
    if folder.is_file():
        load_checkpoint(module, folder)
    elif isinstance(module, VisionTransformer):
        load_vit(folder, module)
    else:
        raise ConfigurationError(
            f"{folder} is a folder, which only ViT can start from; give a .ckpt file."
        )


def _run_stages(
    recipe: Recipe,
    parts: Parts,
    network: torch.nn.Module,
    folder: Path,
    preparer: Preparer,
    options: Options,
) -> None:
    for number, stage in enumerate(recipe.training.stages, start=1):
        place = folder / f"stage-{number}"
        done = place / "done.json"
        if done.is_file():
            best = place / json.loads(done.read_text(encoding="utf-8"))["best"]
        else:
            batches = Batches(recipe, parts, stage, preparer, options.workers)
            best, seconds = _run_stage(recipe, stage, network, batches, place, options)
            if _leads():
                content = {"best": best.name, "seconds": seconds}
                write_whole(done, json.dumps(content) + "\n")
        load_checkpoint(network, best)
    if not _leads():
        return
    weights = {f"{_PREFIX}{key}": value for key, value in network.state_dict().items()}
    partial = folder / "final.part"
    torch.save({"state_dict": weights}, partial)
    partial.replace(folder / "final.ckpt")


def _run_stage(
    recipe: Recipe,
    stage: Stage,
    network: torch.nn.Module,
    batches: Batches,
    place: Path,
    options: Options,
) -> tuple[Path, float]:
    """Train one stage; where its best weights lie, and the seconds that it took in all."""
    keeper, callbacks = _callbacks(recipe, place, options)
    if _leads():
        set_log_aside(place / _LOGS)
    trainer = pl.Trainer(
        accelerator="auto",
        devices=recipe.training.devices,
        strategy=recipe.training.strategy,
        precision=_precision(recipe),
        max_epochs=stage.epochs,
        logger=_loggers(recipe, place, options.loggers),
        callbacks=callbacks,
        enable_model_summary=False,
        enable_progress_bar=options.progress,
        gradient_clip_val=5.0,
        log_every_n_steps=min(10, stage.steps),
        num_sanity_val_steps=0,
        default_root_dir=str(place),
        plugins=[_WholeFiles()],
    )
    last = place / "last.ckpt"
    resume = str(last) if last.is_file() else None
    trainer.fit(Learner(network, recipe, stage), batches, ckpt_path=resume, weights_only=False)
    if _leads():
        join_log(place / _LOGS)
    (timer,) = (one for one in callbacks if isinstance(one, Timer))
    return Path(keeper.best_model_path or place / "last.ckpt"), timer.time_elapsed("train")


def _callbacks(
    recipe: Recipe, place: Path, options: Options
) -> tuple[ModelCheckpoint, list[Callback]]:
    """Make the keeper of the best weights, and everything that watches a stage."""
    # At the end of every epoch, so that a run taken up again repeats whole epochs only.
    keeper = ModelCheckpoint(
        dirpath=place,
        filename="best",
        monitor="val_loss",
        mode="min",
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    latest = ModelCheckpoint(
        dirpath=place,
        filename="last",
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    callbacks: list[Callback] = [
        # Its state is in the checkpoint: time before an interruption counts.
        Timer(),
        WarmWeightAveraging(recipe.training.ema_decay),
        _LateStopping(
            "val_loss", patience=recipe.training.patience, mode="min", check_on_train_epoch_end=True
        ),
        keeper,
        latest,
    ]
    if options.progress:
        callbacks.append(TQDMProgressBar(refresh_rate=20))
    return keeper, callbacks


def _precision(recipe: Recipe) -> Any:
    if recipe.training.precision == "auto":
        return "bf16-mixed" if torch.cuda.is_available() else "32-true"
    return recipe.training.precision


def _loggers(recipe: Recipe, place: Path, names: Sequence[str]) -> list[Logger]:
    found: list[Logger] = [CSVLogger(str(place), name="", version=_LOGS)]
    for name in names:
        if name not in LOGGERS:
            raise ConfigurationError(f"There is no logger {name}; choose {' or '.join(LOGGERS)}.")
        try:
            found.append(_logger(name, recipe, place))
        except ModuleNotFoundError as exc:
            raise ConfigurationError(
                f"The logger {name} is not installed; run pip install 'oncopixel-pacs[tracking]'."
            ) from exc
    return found


def _logger(name: str, recipe: Recipe, place: Path) -> Logger:
    if name == "tensorboard":
        from pytorch_lightning.loggers import TensorBoardLogger

        return TensorBoardLogger(str(place), name="tensorboard", version="")
    if name == "mlflow":
        from pytorch_lightning.loggers import MLFlowLogger

        mlflow = import_module("mlflow")
        # Without a server of the user's own: a database in the folder, since MLflow 3 refuses
        # plain files.
        folder = (place / "mlflow").absolute()
        folder.mkdir(parents=True, exist_ok=True)
        own = mlflow.is_tracking_uri_set()
        address = mlflow.get_tracking_uri() if own else f"sqlite:///{folder}/mlflow.db"
        return MLFlowLogger(recipe.name, tracking_uri=address)
    from pytorch_lightning.loggers import WandbLogger

    # Nothing leaves the machine unasked: `wandb sync` sends what was written.
    return WandbLogger(project=recipe.name, save_dir=str(place), offline=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's hints about cluster, loaders and its own services to itself."""
    log = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    log.addFilter(_no_advertisement)
    try:
        with warnings.catch_warnings():
            for message in _HARMLESS:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        log.removeFilter(_no_advertisement)


def _no_advertisement(record: logging.LogRecord) -> bool:
    return "Tip:" not in record.getMessage()
