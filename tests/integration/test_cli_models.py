"""Bundles of strangers are checked and added from the shell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from bundle_builder import tiny_config, tiny_metadata, write_bundle
from click.testing import Result
from mammogram_builder import SCREENING, write_mammogram
from pydicom import dcmread
from typer.testing import CliRunner

from oncopixel_pacs.cli import app
from oncopixel_pacs.errors import ModelRefused
from oncopixel_pacs.settings import load_settings


def models(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["models", *map(str, arguments)])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "oncopixel.toml"
    path.write_text('ae_title = "HERE"\n[inference]\ndevice = "cpu"\n')
    return path


def test_a_bundle_that_fits_is_added_pinned(tmp_path: Path, config: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    done = models("add", tmp_path / "bundle", "--name", "ours", "--config", config)
    assert done.exit_code == 0, done.exception
    added, _ = load_settings(config).models
    assert (added.name, added.task, added.sha256) == ("ours", "segment", bundle.sha256)
    assert "ours: loads and runs." in models("check", "--config", config).stdout
    second = models("add", tmp_path / "bundle", "--name", "second", "--config", config)
    assert "ours stands before it and reads every study that second could" in second.stdout
    again = models("add", tmp_path / "bundle", "--name", "ours", "--config", config)
    assert "There is a model ours already" in str(again.exception)


def test_a_model_is_added_to_read_along_and_those_that_read_go_on(
    tmp_path: Path, config: Path
) -> None:
    before = load_settings(config).active_models
    write_bundle(tmp_path / "bundle")
    along = ("--name", "along", "--shadow", "--config", config)
    added = models("add", tmp_path / "bundle", *along)
    settings = load_settings(config)
    assert [item.name for item in settings.shadow_models] == ["along"]
    assert settings.active_models == before
    assert "reads beside the active models" in added.stdout
    assert "takes the place" not in added.stdout
    in_place = models("add", tmp_path / "bundle", "--name", "ours", "--config", config)
    assert "takes the place of the shipped lesion-segmenter" in in_place.stdout
    assert "Listed behind it, for what it leaves to them: malignancy-classifier." in in_place.stdout
    active = load_settings(config).active_models
    assert [(item.name, item.task) for item in active] == [
        ("ours", "segment"),
        ("malignancy-classifier", "classify"),
    ]
    assert "malignancy-classifier: loads and runs." in models("check", "--config", config).stdout


def test_a_model_that_reads_along_is_run_by_its_name(tmp_path: Path, config: Path) -> None:
    """It was unknown there: what a new model says could be looked at only once it was active."""
    write_bundle(tmp_path / "bundle")
    models("add", tmp_path / "bundle", "--name", "along", "--shadow", "--config", config)
    study = tmp_path / "study"
    study.mkdir()
    write_mammogram(study, SCREENING[0])
    asked = ("run", study, "--out", tmp_path / "out", "--config", config, "--model", "along")
    done = CliRunner().invoke(app, [*map(str, asked)])
    assert done.exit_code == 0, done.exception or done.stderr
    (report,) = [
        dataset
        for path in (tmp_path / "out").rglob("*.dcm")
        if (dataset := dcmread(path)).Modality == "SR"
    ]
    assert "along" in str(report)
    assert "malignancy-classifier" not in str(report)


def test_one_that_does_not_fit_is_not_added_and_says_why(tmp_path: Path, config: Path) -> None:
    before = config.read_text()
    evil = {**tiny_config(), "run": "$import os"}
    stranger = {key: value for key, value in tiny_metadata().items() if key != "oncopixel"}
    write_bundle(tmp_path / "evil", config=evil)
    write_bundle(tmp_path / "stranger", metadata=stranger)
    for name, words in (("evil", "expression '$import os'"), ("stranger", "oncopixel: Field")):
        done = models("add", tmp_path / name, "--name", name, "--config", config)
        assert done.exit_code == 1
        assert words in str(done.exception)
    assert config.read_text() == before


def test_check_names_each_model_that_does_not_fit(tmp_path: Path, config: Path) -> None:
    good = write_bundle(tmp_path / "good")
    bad = write_bundle(tmp_path / "bad", weights={"no": torch.zeros(1)})
    for name, model in (("good", good), ("bad", bad)):
        with config.open("a") as file:
            file.write(
                f'[[models]]\nname = "{name}"\ntask = "segment"\nbundle = "{name}"\n'
                f'sha256 = "{model.sha256}"\nthreshold = 0.5\n'
            )
    done = models("check", "--config", config, "--json")
    assert done.exit_code == 1
    said = json.loads(done.stdout)
    assert said["good"] == ""
    assert "the names of its weights do not fit" in said["bad"]


def test_the_operating_point_is_the_one_that_the_bundle_was_measured_with(
    tmp_path: Path, config: Path
) -> None:
    measured = {**tiny_metadata(), "operating_points": {"default": 0.6988}}
    write_bundle(tmp_path / "measured", metadata=measured)
    write_bundle(tmp_path / "plain")
    models("add", tmp_path / "measured", "--name", "measured", "--config", config)
    asked = ("--name", "asked", "--threshold", "0.9", "--config", config)
    models("add", tmp_path / "measured", *asked)
    said = models("add", tmp_path / "plain", "--name", "plain", "--config", config).stderr
    ours = [item for item in load_settings(config).models if not item.shipped]
    assert [item.threshold for item in ours] == [0.6988, 0.9, 0.5]
    assert "plain states no operating point" in said


@pytest.mark.parametrize("stated", [48.8, "high", [0.5]])
def test_an_operating_point_that_is_none_is_not_taken_for_unstated(
    tmp_path: Path, config: Path, stated: object
) -> None:
    """0.5 stood in its place, whatever the bundle was measured with."""
    before = config.read_text(encoding="utf-8")
    bundle = tmp_path / "percent"
    write_bundle(bundle, metadata={**tiny_metadata(), "operating_points": {"default": stated}})
    added = models("add", bundle, "--name", "percent", "--config", config)
    assert isinstance(added.exception, ModelRefused)
    assert "lies between 0 and 1" in str(added.exception)
    assert config.read_text(encoding="utf-8") == before
    models("add", bundle, "--name", "percent", "--threshold", "0.488", "--config", config)
    ours = [item for item in load_settings(config).models if not item.shipped]
    assert [item.threshold for item in ours] == [0.488]
