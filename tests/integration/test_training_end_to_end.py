"""A task is trained, scored, exported and loaded by the server's own strict loader."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import training.fit
from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.errors import ConfigurationError, ModelRefused
from oncopixel_pacs.infer.bundle import load_network
from oncopixel_pacs.infer.calibration import Calibrator
from oncopixel_pacs.infer.cards import read_algorithms
from oncopixel_pacs.settings import ModelSettings
from tests.exported_bundle import read_whole_bundle
from training.bundle_files import Bundle, prove_golden
from training.cli import app
from training.evaluate import Choice, compare, evaluate, read_report, write_report
from training.export import export
from training.fit import fit, load_fitted, load_weights
from training.task import Task, load_task

TINY = {
    ModelTask.SEGMENT: """
name = "tiny-segmenter"
task = "segment"
[network]
target = "UNet"
[network.arguments]
spatial_dims = 2
in_channels = 1
out_channels = 1
channels = [4, 8]
strides = [2]
norm = "batch"
[[phases]]
kind = "crops"
size = [64, 64]
steps = 2
batch = 2
learning_rate = 1e-3
""",
    ModelTask.CLASSIFY: """
name = "tiny-classifier"
task = "classify"
[network]
target = "LiteClassifier"
[network.arguments]
depth = 12
features = [8, 8, 8, 8]
[[phases]]
kind = "crops"
size = [64, 64]
steps = 1
batch = 2
learning_rate = 1e-3
[[phases]]
kind = "images"
size = [96, 64]
steps = 1
batch = 2
learning_rate = 1e-3
""",
}
COMMON = """
version = "0.0.1"
description = "A test."
manufacturer = "Department of tests"
seed = 5
precision = "32-true"
"""
DATA = """
[data]
shares = { phantoms = 1.0 }
phantom_train = { first = 10000, count = 2 }
phantom_val = { first = 20000, count = 2 }
phantom_test = { first = 30000, count = 2 }
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module", params=list(ModelTask))
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, cache: Path
) -> Iterator[tuple[Task, Path, ModelSettings]]:
    tmp_path = tmp_path_factory.mktemp(request.param)
    path = tmp_path / "tiny.toml"
    path.write_text(COMMON + TINY[request.param] + DATA, encoding="utf-8")
    out, bundle = tmp_path / "run", tmp_path / "bundle"
    common = ["--task", str(path), "--out", str(out)]
    images = ["--cache", str(cache), "--workers", "0"]
    for arguments in (
        ["fit", *common, *images],
        ["evaluate", *common, *images, "--draws", "20"],
        ["export", *common, "--bundle", str(bundle)],
    ):
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    pin = dict(
        line.split(" = ", 1) for line in result.output.splitlines() if line.count(" = ") == 1
    )
    yield (
        load_task(str(path)),
        out,
        ModelSettings(
            name=json.loads(pin["name"]),
            task=json.loads(pin["task"]),
            bundle=bundle,
            sha256=json.loads(pin["sha256"]),
            threshold=float(pin["threshold"]),
        ),
    )


def test_the_servers_loader_takes_the_export_and_answers_the_same(
    trained: tuple[Task, Path, ModelSettings],
) -> None:
    task, out, model = trained
    ours = load_fitted(task, out / "final.ckpt")
    theirs = load_network(model, torch.device("cpu"))
    image = torch.rand(1, 1, 96, 64, generator=torch.Generator().manual_seed(0))

    with torch.inference_mode():
        assert torch.equal(ours(image), theirs(image))
    (algorithm,) = read_algorithms([model])
    assert (algorithm.name, algorithm.version) == (task.name, "0.0.1")


def test_the_bundle_holds_literals_a_plain_state_dict_a_card_and_a_licence(
    trained: tuple[Task, Path, ModelSettings],
) -> None:
    _, _, model = trained
    configs = [path.read_text("utf-8") for path in (model.bundle / "configs").iterdir()]
    weights = torch.load(model.bundle / "models" / "model.pt", weights_only=True)
    card = (model.bundle / "docs" / "README.md").read_text("utf-8")

    assert len(configs) == 2 and not any('"$' in text for text in configs)
    assert not any(key.startswith(("net.", "network.")) for key in weights)
    assert model.sha256 in card
    assert "not for diagnosis" in card and "Film to digital" in card
    assert "phantoms test" in card
    assert (model.bundle / "docs" / "license.txt").stat().st_size > 0


def test_the_bundle_has_everything_that_a_reader_of_it_needs(
    trained: tuple[Task, Path, ModelSettings],
) -> None:
    task, _, model = trained
    metadata = read_whole_bundle(model)
    assert "research" in metadata["data_licence"]
    golden = Bundle(model.name, model.task, model.bundle, model.sha256, model.threshold)
    assert prove_golden(golden) < metadata["golden"]["tolerance"] == 1e-4
    assert metadata["golden"]["phantom"]["seed"] == task.data.phantom_test.first


def test_a_run_killed_between_phases_ends_with_the_weights_that_it_would_have_had(
    trained: tuple[Task, Path, ModelSettings],
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, whole, _ = trained
    if len(task.phases) == 1:
        pytest.skip("one phase alone")
    done = training.fit._run_phase

    def killed(*arguments: Any) -> None:
        if arguments[2] == 2:
            raise KeyboardInterrupt
        done(*arguments)

    monkeypatch.setattr(training.fit, "_run_phase", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(task, None, tmp_path, cache=cache, progress=False)
    first = load_weights(tmp_path / "phase-1.ckpt")
    monkeypatch.setattr(training.fit, "_run_phase", done)
    with monkeypatch.context() as patch:
        patch.setattr(training.fit, "_run_phase", lambda *a: numbers.append(a[2]) or done(*a))
        numbers: list[int] = []
        fit(task, None, tmp_path, cache=cache, progress=False)
    assert numbers == [2] and not list(tmp_path.glob("phase-*.ckpt"))

    resumed, straight = (
        load_fitted(task, out / "final.ckpt").state_dict() for out in (tmp_path, whole)
    )
    assert all(torch.equal(resumed[key], straight[key]) for key in straight)
    assert any(not torch.equal(first[key], straight[key]) for key in straight)


def test_a_choice_made_on_patients_set_apart_is_taken_over_by_another_training(
    trained: tuple[Task, Path, ModelSettings], cache: Path, tmp_path: Path
) -> None:
    task, out, _ = trained
    options = {"cache": cache, "draws": 10}
    with pytest.raises(ConfigurationError, match="with patients set apart; train one with fit"):
        evaluate(task, out / "final.ckpt", None, tmp_path, choice_of=out, **options)
    apart = task.with_set_apart(5)
    with pytest.raises(ConfigurationError, match="has learned from those who would choose"):
        evaluate(apart, out / "final.ckpt", None, tmp_path, **options)
    by_them = replace(
        read_report(out), choice=Choice(0.321, Calibrator("platt", 2.0, -1.0), "tune")
    )
    write_report(by_them, tmp_path / "apart")

    report = evaluate(
        apart, out / "final.ckpt", None, tmp_path, choice_of=tmp_path / "apart", **options
    )

    assert report.choice == replace(by_them.choice, made_on="out-of-fold")
    assert read_report(tmp_path) == report


def test_results_name_who_answers_for_the_model(
    trained: tuple[Task, Path, ModelSettings],
) -> None:
    (algorithm,) = read_algorithms([trained[2]])

    assert algorithm.manufacturer == "Department of tests"


def test_a_segmenter_says_in_its_bundle_how_far_its_findings_reach(
    trained: tuple[Task, Path, ModelSettings], tmp_path: Path
) -> None:
    task, out, _ = trained
    if task.task is not ModelTask.SEGMENT:
        pytest.skip("A classifier outlines nothing.")
    report = replace(read_report(out), choice=Choice(0.6, outline_threshold=0.38))
    write_report(report, tmp_path)

    bundle = export(task, out / "final.ckpt", read_report(tmp_path), tmp_path / "bundle")

    (algorithm,) = read_algorithms([bundle.settings()])
    assert (algorithm.threshold, algorithm.outline_threshold) == (0.6, 0.38)
    card = (bundle.folder / "docs" / "README.md").read_text("utf-8")
    assert "findings are outlined at 0.38" in card
    assert "regions at or above 0.38, of which the operating point is reached somewhere" in card


def test_a_changed_byte_in_the_weights_is_refused(
    trained: tuple[Task, Path, ModelSettings], tmp_path: Path
) -> None:
    _, _, model = trained
    bundle = Path(shutil.copytree(model.bundle, tmp_path / "bundle"))
    path = bundle / "models" / "model.pt"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    with pytest.raises(ModelRefused, match="restore the file"):
        load_network(model.model_copy(update={"bundle": bundle}), torch.device("cpu"))


def test_trainings_of_two_seeds_are_joined_to_one_bundle(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "lite.toml"
    network = TINY[ModelTask.SEGMENT].replace('"UNet"', '"LiteUNet"').partition("spatial_dims")
    phases = "[[phases]]" + network[2].partition("[[phases]]")[2]
    path.write_text(COMMON + network[0] + "features = [8, 8, 8, 8]\n" + phases + DATA, "utf-8")
    runs = [tmp_path / "a", tmp_path / "b"]
    out, bundle = tmp_path / "both", tmp_path / "bundle"
    task = ["--task", str(path)]
    images = ["--cache", str(cache), "--workers", "0"]

    def call(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    for seed, run in enumerate(runs):
        call("fit", *task, "--seed", str(seed), "--out", str(run), *images)
    call("join", *task, "--out", str(out), *map(str, runs))
    call("evaluate", *task, "--out", str(out), *images, "--draws", "10")
    pinned = call("export", *task, "--out", str(out), "--bundle", str(bundle))

    sha256 = pinned.partition('sha256 = "')[2][:64]
    model = ModelSettings(
        name="tiny-segmenter", task=ModelTask.SEGMENT, bundle=bundle, sha256=sha256, threshold=0.5
    )
    members = [load_fitted(load_task(str(path)), run / "final.ckpt") for run in runs]
    image = torch.rand(1, 1, 96, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        each = [member(image) for member in members]
        served = load_network(model, torch.device("cpu"))(image)
    assert not torch.allclose(each[0], each[1], atol=1e-3)
    assert torch.allclose(served, (each[0] + each[1]) / 2, atol=1e-2)  # kernels are rounded
    one = sum(value.nbytes for value in load_weights(runs[0] / "final.ckpt").values())
    assert (bundle / "models" / "model.safetensors").stat().st_size < 1.3 * one
    assert "2 trainings of the same" in (bundle / "docs" / "README.md").read_text("utf-8")


def test_the_command_that_follows_keeps_the_patients_set_apart(cache: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "tiny.toml", tmp_path / "run"
    path.write_text(COMMON + TINY[ModelTask.SEGMENT] + DATA, encoding="utf-8")

    given = ["--task", str(path), "--out", str(out), "--cache", str(cache), "--set-apart", "5"]
    runner = CliRunner(env={"ONCOPIXEL_DATA": ""})
    result = runner.invoke(app, ["fit", *given, "--workers", "0"], catch_exceptions=False)

    following = result.output.partition("Next: oncopixel-train ")[2].split()
    assert sorted(following) == sorted(["evaluate", *given])


def test_runs_that_are_not_of_the_task_are_not_joined(
    trained: tuple[Task, Path, ModelSettings], tmp_path: Path
) -> None:
    _, out, _ = trained
    task = ["--task", "lesion-segmenter", "--out", str(tmp_path)]

    for runs, sentence in (([out], "at least two runs"), ([out, out], "of the network that the")):
        result = CliRunner().invoke(app, ["join", *task, *map(str, runs)])
        assert result.exit_code == 1
        assert sentence in str(result.exception)


def test_a_run_compared_with_itself_differs_by_nothing(
    trained: tuple[Task, Path, ModelSettings],
) -> None:
    _, out, _ = trained
    report = read_report(out)

    (figure,) = compare(report, report, draws=50)

    assert (figure.estimate.value, figure.estimate.low, figure.estimate.high) == (0.0, 0.0, 0.0)


def test_an_evaluation_without_training_says_what_to_do(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(COMMON + TINY[ModelTask.SEGMENT] + DATA, encoding="utf-8")

    result = CliRunner().invoke(
        app, ["evaluate", "--task", str(path), "--out", str(tmp_path), "--cache", str(cache)]
    )

    assert result.exit_code == 1
    assert "run fit first" in str(result.exception)


def test_real_sets_without_a_data_folder_say_what_to_do(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app,
        ["fit", "--task", "lesion-segmenter", "--out", str(tmp_path)],
        env={"ONCOPIXEL_DATA": ""},
    )

    assert result.exit_code == 1
    assert "give --data" in str(result.exception)


def test_help_names_the_tasks() -> None:
    result = CliRunner().invoke(app, ["fit", "--help"], env={"COLUMNS": "200"})

    assert "lesion-segmenter" in result.output and "ONCOPIXEL_DATA" in result.output
