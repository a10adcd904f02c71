"""The tasks of the examples fit the product as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.contest import equal_budget
from training.modules import build_network
from training.recipe import load_recipe
from training.task import load_task

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "training"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_small_task_asks_what_the_whole_one_asks(path: Path) -> None:
    small, whole = load_recipe(str(path)), load_recipe(path.stem.removesuffix("-cpu"))

    assert small.name == path.stem
    assert (small.kind, small.network.name) == (whole.kind, whole.network.name)
    assert (small.data.sets, small.data.classes) == (whole.data.sets, whole.data.classes)
    if small.twin is not None:
        equal_budget(small, load_recipe(str(ROOT / small.twin)))


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("*-minutes.toml")), ids=lambda path: path.stem
)
def test_a_task_of_minutes_trains_the_network_that_ships(path: Path) -> None:
    short, whole = load_task(str(path)), load_task(path.stem.removesuffix("-minutes"))

    assert short.network == whole.network
    assert [one.kind for one in short.phases] == [one.kind for one in whole.phases]


def test_the_task_with_a_larger_encoder_differs_from_what_ships_in_that_and_in_its_training() -> (
    None
):
    larger = load_task(str(EXAMPLES / "lesion-segmenter-lite2.toml"))
    shipped = load_task("lesion-segmenter")
    network = build_network(larger.network)

    assert (larger.task, larger.data.shares) == (shipped.task, shipped.data.shares)
    assert larger.network.target == shipped.network.target
    assert sum(value.numel() for value in network.parameters()) > 1.5 * sum(
        value.numel() for value in build_network(shipped.network).parameters()
    )
