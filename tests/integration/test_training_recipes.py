"""Every recipe that ships runs on generated images, is scored, exported, and served strictly."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import training
from oncopixel_pacs.domain import Subject
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.infer.bundle import load_network
from oncopixel_pacs.infer.cards import read_card
from oncopixel_pacs.infer.loaded_models import load_models
from oncopixel_pacs.settings import InferenceSettings
from training.bundle_files import Bundle, prove_golden
from training.cli import app
from training.learning import LOGGERS, Options, fit_recipe, fitted_network
from training.network_names import describe_network
from training.recipe import Recipe, load_recipe, recipe_names
from training.smoke_sets import write_smoke_sets

SERVED = ("mammo-classifier", "mammo-multitask")
TWINS = ("brain-mri-resnet50", "bcss-basicunet")
COMPARED = {name: load_recipe(name).twin for name in TWINS}
ALONE = sorted(set(recipe_names()) - {*COMPARED, *COMPARED.values()})
SCORED = ("bcss-unetr", "breakhis-vit", *SERVED)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small networks are fastest so, and sums come out the same in every process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def train(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def fitted(name: str, runs: Path, cache: Path) -> Path:
    out = runs / name
    if not (out / "fold-0" / "final.ckpt").exists():
        train("fit", "--task", name, "--smoke", "--out", str(out), "--cache", str(cache))
    return out


def exported(name: str, runs: Path, cache: Path) -> list[Bundle]:
    out, folder = fitted(name, runs, cache), runs / f"{name}-bundle"
    common = ["--task", name, "--out", str(out), "--cache", str(cache)]
    if not folder.exists():
        train("evaluate", *common, "--draws", "20")
        pins = train("export", *common, "--bundle", str(folder))
        (runs / f"{name}.toml").write_text(pins, encoding="utf-8")
    bundles = []
    for block in (runs / f"{name}.toml").read_text("utf-8").split("[[models]]")[1:]:
        pin = dict(line.split(" = ", 1) for line in block.strip().splitlines())
        bundles.append(
            Bundle(
                json.loads(pin["name"]),
                json.loads(pin["task"]),
                Path(json.loads(pin["bundle"])),
                json.loads(pin["sha256"]),
                float(pin["threshold"]),
            )
        )
    return bundles


@pytest.mark.parametrize("name", ALONE)
def test_every_task_runs_in_seconds(name: str, runs: Path, cache: Path) -> None:
    out = fitted(name, runs, cache)

    run = json.loads((out / "fold-0" / "run.json").read_text("utf-8"))
    assert len(run["code_sha256"]) == 64
    files = {path: digest for path, digest in run["inputs_sha256"].items()}
    assert all(len(digest) == 64 for digest in files.values())
    assert all(run["patients"][part] > 0 for part in ("train", "val", "test"))
    with (out / "fold-0" / "stage-1" / "logs" / "metrics.csv").open() as stream:
        assert {"train_loss", "val_loss"} <= set(next(csv.reader(stream)))


@pytest.mark.parametrize("name", SCORED)
def test_a_scored_task_has_floors_plots_and_a_golden_answer(
    name: str, runs: Path, cache: Path
) -> None:
    bundles = exported(name, runs, cache)

    table = (runs / name / "table.md").read_text("utf-8")
    plots = {path.name for path in (runs / name / "plots").glob("*.png")}
    wanted = {
        "bcss-unetr": {"dice.png", "segmentation_cases.png"},
        "mammo-multitask": {"dice.png", "froc.png", "roc.png", "confusion.png"},
    }.get(name, {"roc.png", "calibration.png", "confusion.png", "cases.png"})
    assert "classical floor" in table and "| all |" in table
    assert wanted | {"learning_curves.png"} <= plots
    for bundle in bundles:
        assert prove_golden(bundle) < 1e-4
        weights = torch.load(bundle.folder / "models" / "model.pt", weights_only=True)
        plain = load_file(bundle.folder / "models" / "model.safetensors")
        assert weights.keys() == plain.keys()
        assert all(torch.equal(weights[key], plain[key]) for key in weights)
        metadata = json.loads((bundle.folder / "configs" / "metadata.json").read_text("utf-8"))
        assert metadata["operating_points"]["default"] == pytest.approx(bundle.threshold)
        assert len(metadata["preprocessing"]["sha256"]) == 64 and metadata["measured"]
        assert metadata["oncopixel"]["manufacturer"] == metadata["authors"] == "not stated"
        assert metadata["data_licence"] in (bundle.folder / "docs" / "license.txt").read_text()


@pytest.mark.parametrize("name", sorted(set(SCORED) - set(SERVED)))
def test_the_server_reads_picture_bundles_and_answers_as_in_training(
    name: str, runs: Path, cache: Path
) -> None:
    for bundle in exported(name, runs, cache):
        model = bundle.settings()
        golden = load_file(bundle.folder / "golden" / "golden.safetensors")
        (loaded,) = load_models([model], InferenceSettings(device="cpu")).models

        served = loaded.class_probabilities(golden["image"].numpy())

        logits = golden["logits"]
        second = logits.sigmoid()
        two = logits.shape[1] == 1
        wanted = torch.cat([1 - second, second], dim=1) if two else logits.softmax(dim=1)
        assert loaded.card.subject is Subject.PICTURE and loaded.card.task == bundle.task
        metadata = json.loads((bundle.folder / "configs" / "metadata.json").read_text("utf-8"))
        assert [item.name for item in loaded.card.classes] == metadata["classes"]
        assert loaded.card.calibrator.as_dict() == {
            "slope": 1.0,
            "shift": 0.0,
            **metadata["calibration"],
        }
        assert float(np.abs(served - wanted.numpy()).max()) < 1e-4


@pytest.mark.parametrize("name", SERVED)
def test_the_server_reads_mammography_bundles_and_answers_as_in_training(
    name: str, runs: Path, cache: Path
) -> None:
    for bundle in exported(name, runs, cache):
        model = bundle.settings()
        golden = load_file(bundle.folder / "golden" / "golden.safetensors")
        with torch.inference_mode():
            served = load_network(model, torch.device("cpu"))(golden["image"])

        assert read_card(model).task == bundle.task
        assert float((served - golden["logits"]).abs().max()) < 1e-4


def test_changed_weights_fail_the_golden_answer(runs: Path, cache: Path, tmp_path: Path) -> None:
    (bundle,) = exported("mammo-classifier", runs, cache)
    folder = Path(shutil.copytree(bundle.folder, tmp_path / "bundle"))
    path = folder / "models" / "model.pt"
    weights = torch.load(path, weights_only=True)
    torch.save({key: value * 1.01 for key, value in weights.items()}, path)
    from training.run_record import digest_file

    changed = Bundle(bundle.name, bundle.task, folder, digest_file(path), bundle.threshold)

    with pytest.raises(ConfigurationError, match="golden input with a difference"):
        prove_golden(changed)


@pytest.mark.parametrize("name", TWINS)
def test_twins_are_compared_on_equal_budgets_in_one_table(
    name: str, tmp_path: Path, cache: Path
) -> None:
    output = train(
        "compare", "--task", name, "--smoke", "--out", str(tmp_path), "--draws", "20",
        "--cache", str(cache),
    )  # fmt: skip

    recipe = load_recipe(name)
    assert recipe.twin is not None
    first, second = (
        Recipe.model_validate_json((tmp_path / one / "recipe.json").read_text("utf-8"))
        for one in (name, recipe.twin)
    )
    assert (first.data, first.seed) == (second.data, second.seed)
    assert [(s.epochs, s.steps, s.batch) for s in first.training.stages] == [
        (s.epochs, s.steps, s.batch) for s in second.training.stages
    ]
    table = (tmp_path / "comparison.md").read_text("utf-8")
    assert f"{recipe.twin} minus {name}" in table and "parameters" in table
    assert "minus" in output
    curve = "dice.png" if name.startswith("bcss") else "roc.png"
    assert {curve, "learning_curves.png"} <= {p.name for p in (tmp_path / "plots").iterdir()}


RUN_UNTIL_KILLED = """
import os, sys, threading, time, torch
torch.set_num_threads(1)
from pathlib import Path
from training.learning import Options, fit_recipe
from training.recipe import Recipe
out, data, recipe = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
def die():
    while not (out / "fold-0" / "stage-1" / "last.ckpt").exists():
        time.sleep(0.001)
    os.kill(os.getpid(), 9)
threading.Thread(target=die, daemon=True).start()
fit_recipe(Recipe.model_validate_json(recipe.read_text()), out, Options(data, out, progress=False))
"""


def test_a_killed_run_ends_with_the_weights_that_it_would_have_had(tmp_path: Path) -> None:
    short = load_recipe("breakhis-vit").smoked()
    (stage,) = short.training.stages
    # Dropout is among what has to come back as it was.
    network = short.network.model_copy(
        update={"arguments": {**short.network.arguments, "dropout_rate": 0.2}}
    )
    stages = (stage.model_copy(update={"epochs": 4, "steps": 3}),)
    training_part = short.training.model_copy(update={"stages": stages})
    recipe = short.model_copy(update={"training": training_part, "network": network})
    data = write_smoke_sets(recipe.data.sets, tmp_path / "data")
    path = tmp_path / "recipe.json"
    path.write_text(recipe.model_dump_json(), encoding="utf-8")
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    child = subprocess.run(
        [sys.executable, "-c", RUN_UNTIL_KILLED, str(killed), str(data), str(path)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(training.__file__).parents[1],
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert not (killed / "fold-0" / "final.ckpt").exists()

    for out in (killed, whole):
        fit_recipe(recipe, out, Options(data, out, progress=False))

    resumed, straight = (
        fitted_network(recipe, out / "fold-0").state_dict() for out in (killed, whole)
    )
    assert all(torch.equal(resumed[key], straight[key]) for key in straight)
    assert logged(killed) == logged(whole)


def test_a_run_of_another_recipe_is_not_taken_up(runs: Path, cache: Path) -> None:
    out = fitted("pcam-vgg", runs, cache)

    result = CliRunner().invoke(
        app, ["fit", "--task", "breakhis-vit", "--smoke", "--out", str(out)]
    )

    assert result.exit_code == 1 and "choose another --out" in str(result.exception)


def test_a_tracker_that_is_not_installed_is_one_sentence(tmp_path: Path) -> None:
    recipe = load_recipe("pcam-vgg").smoked()
    data = write_smoke_sets(recipe.data.sets, tmp_path / "data")
    options = Options(data, tmp_path, loggers=("nothing",), progress=False)

    with pytest.raises(ConfigurationError, match="There is no logger nothing; choose tensorboard"):
        fit_recipe(recipe, tmp_path / "run", options)


@pytest.mark.parametrize("logger", LOGGERS)
def test_a_tracker_holds_the_figures_of_the_run_or_says_how_to_install_it(
    logger: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    recipe = load_recipe("pcam-vgg").smoked()
    data = write_smoke_sets(recipe.data.sets, tmp_path / "data")
    options = Options(data, tmp_path, loggers=(logger,), progress=False)
    run = tmp_path / "run"
    if find_spec(logger) is None:
        with pytest.raises(ConfigurationError, match=rf"logger {logger} is not installed; run pip"):
            fit_recipe(recipe, run, options)
        return

    fit_recipe(recipe, run, options)

    files = {
        "tensorboard": "tensorboard/events.*",
        "mlflow": "mlflow/mlflow.db",
        "wandb": "wandb/offline-run-*/*.wandb",
    }
    (kept,) = (run / "fold-0" / "stage-1").glob(files[logger])
    assert b"val_loss" in kept.read_bytes()


SPREAD = """
import sys, torch
from pathlib import Path
from training.learning import Options, fit_recipe
from training.recipe import Recipe
if __name__ == "__main__":
    torch.set_num_threads(1)
    out, data, recipe = (Path(one) for one in sys.argv[1:])
    text = recipe.read_text()
    fit_recipe(Recipe.model_validate_json(text), out, Options(data, out, progress=False))
"""
# Both processes of two runs at once, begun as torchrun begins them: the parent holds the store
# where they meet. They are forked, since importing all that trains takes far longer than training.
WHOLE_AND_KILLED = """
import json, multiprocessing, os, signal, sys, torch
from pathlib import Path
from pytorch_lightning.utilities import rank_zero_only
from training.learner import Learner
from training.learning import Options, fit_recipe
from training.recipe import Recipe

def train(rank, port, out, killed):
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), NODE_RANK="0", LOCAL_RANK=str(rank),
        WORLD_SIZE="2", TORCHELASTIC_USE_AGENT_STORE="True", TORCHELASTIC_RESTART_COUNT="0",
    )
    rank_zero_only.rank = rank
    whole = Learner.training_step
    def training_step(self, batch, number):
        if killed and rank == 1 and self.global_step == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(self, batch, number)
    Learner.training_step = training_step
    fit_recipe(Recipe.model_validate_json(text), out, Options(data, out, progress=False))

if __name__ == "__main__":
    torch.set_num_threads(1)
    whole, killed, data, recipe = (Path(one) for one in sys.argv[1:])
    text = recipe.read_text()
    context = multiprocessing.get_context("fork")
    stores = [
        torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        for _ in range(2)
    ]
    processes = [
        context.Process(target=train, args=(rank, store.port, out, out == killed))
        for store, out in zip(stores, (whole, killed))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print(json.dumps([process.exitcode for process in processes]))
"""


def test_two_devices_train_together_and_a_kill_of_one_changes_no_weight(tmp_path: Path) -> None:
    short = load_recipe("pcam-vgg").smoked()
    (stage,) = short.training.stages
    update = {
        "devices": 2,
        "strategy": "ddp",
        "precision": "bf16-mixed",
        "stages": (stage.model_copy(update={"epochs": 3, "steps": 3}),),
    }
    recipe = short.model_copy(update={"training": short.training.model_copy(update=update)})
    data = write_smoke_sets(recipe.data.sets, tmp_path / "data")
    path, whole, killed = (tmp_path / name for name in ("recipe.json", "whole", "killed"))
    path.write_text(recipe.model_dump_json(), encoding="utf-8")

    first = python(tmp_path / "both.py", WHOLE_AND_KILLED, whole, killed, data, path)
    codes = json.loads(first.stdout.splitlines()[-1])
    assert codes[:2] == [0, 0], first.stderr
    # What was not killed has nobody to train with, and says so rather than wait.
    assert codes[2] == 1 and codes[3] == -signal.SIGKILL, first.stderr
    assert (killed / "fold-0" / "stage-1" / "last.ckpt").exists()
    assert not (killed / "fold-0" / "final.ckpt").exists()
    taken_up = python(tmp_path / "spread.py", SPREAD, killed, data, path)

    assert taken_up.returncode == 0, taken_up.stderr
    assert "2 processes" in taken_up.stdout + taken_up.stderr
    assert "bfloat16" in taken_up.stdout + taken_up.stderr
    assert "Restored all states" in taken_up.stdout + taken_up.stderr
    resumed, straight = (
        fitted_network(recipe, out / "fold-0").state_dict() for out in (killed, whole)
    )
    fresh = describe_network(recipe).make().state_dict()
    assert all(torch.equal(resumed[key], straight[key]) for key in straight)
    assert any(not torch.equal(straight[key], fresh[key]) for key in fresh)
    assert all(torch.isfinite(value).all() for value in straight.values())
    assert logged(killed) == logged(whole)
    assert [row["step"] for row in logged(whole) if row["val_loss"]] == ["2", "5", "8"]


def python(path: Path, script: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    path.write_text(script, encoding="utf-8")
    return subprocess.run(
        [sys.executable, str(path), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, "PYTHONPATH": str(Path(training.__file__).parents[1])},
        check=False,
    )


def logged(run: Path) -> list[dict[str, str]]:
    with (run / "fold-0" / "stage-1" / "logs" / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_same_seed_gives_the_same_weights(tmp_path: Path, runs: Path, cache: Path) -> None:
    once = fitted("pcam-vgg", runs, cache)
    again = fitted("pcam-vgg", tmp_path, cache)
    recipe = load_recipe("pcam-vgg").smoked()

    first, second = (fitted_network(recipe, out / "fold-0").state_dict() for out in (once, again))

    assert all(torch.equal(first[key], second[key]) for key in first)
    fresh = describe_network(recipe).make().state_dict()
    assert any(not torch.equal(first[key], fresh[key]) for key in first)
