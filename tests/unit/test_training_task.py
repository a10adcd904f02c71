"""Tasks are complete, and a wrong one is refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.errors import ConfigurationError
from training.modules import build_network
from training.task import load_task, task_names


def test_both_shipped_tasks_are_there_and_small() -> None:
    tasks = {load_task(name).task: load_task(name) for name in task_names()}

    assert set(tasks) == set(ModelTask)
    for task in tasks.values():
        parameters = sum(value.numel() for value in build_network(task.network).parameters())
        assert parameters < 2_500_000


@pytest.mark.parametrize("name", task_names())
def test_demonstration_seeds_are_never_trained_on_and_parts_do_not_overlap(name: str) -> None:
    data = load_task(name).data
    parts = [
        set(range(seeds.first, seeds.first + seeds.count))
        for seeds in (data.phantom_train, data.phantom_val, data.phantom_test)
    ]

    assert min(min(part) for part in parts) >= 10_000
    assert sum(len(part) for part in parts) == len(set.union(*parts))


@pytest.mark.parametrize("name", task_names())
def test_the_shares_of_the_sets_add_up(name: str) -> None:
    assert sum(load_task(name).data.shares.values()) == pytest.approx(1.0)


def test_an_unknown_task_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="choose among lesion-segmenter, malignancy"):
        load_task("density")


def test_a_task_with_a_misspelt_key_is_refused(tmp_path: Path) -> None:
    source = (Path(__file__).parents[2] / "training/tasks/lesion-segmenter.toml").read_text("utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(source.replace("learning_rate", "learningrate"), encoding="utf-8")

    with pytest.raises(ConfigurationError, match="learningrate"):
        load_task(str(path))


def test_a_task_that_would_train_on_demonstration_seeds_is_refused(tmp_path: Path) -> None:
    source = (Path(__file__).parents[2] / "training/tasks/lesion-segmenter.toml").read_text("utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(source.replace("first = 10000", "first = 7"), encoding="utf-8")

    with pytest.raises(ConfigurationError, match="greater than or equal to 10000"):
        load_task(str(path))


def test_only_trainings_of_a_segmenter_of_ours_are_joined() -> None:
    with pytest.raises(ConfigurationError, match="only trainings of a LiteUNet are joined"):
        load_task("malignancy-classifier").joined(2)
