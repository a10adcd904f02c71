"""The pictures of best and worst cases show what the model answered beside the truth."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from training.charts import Answers, cases
from training.inputs import Prepared
from training.pixel_scores import AnsweredClasses

YELLOW, CYAN = (255, 255, 0), (0, 255, 255)


def block(top: int) -> NDArray[np.uint8]:
    found = np.zeros((64, 48), np.uint8)
    found[top : top + 16, 10:30] = 1
    return found


def drawn(path: Path, truth: NDArray[np.uint8], answers: Answers | None) -> NDArray[np.uint8]:
    prepared = Prepared(np.zeros((1, 64, 48), np.float32), truth, np.ones((64, 48), bool))
    examples: list[Any] = [SimpleNamespace(key="image")]
    preparer: Any = lambda _example: prepared  # noqa: E731
    cases(path, ["image"], np.array([0.4]), ["Dice 0.40"], examples, preparer, answers)
    return np.asarray(Image.open(path).convert("RGB"))


def has(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> bool:
    return bool((np.abs(picture.astype(int) - colour).max(axis=2) < 60).any())


def told(lesion: NDArray[np.uint8], names: tuple[str, ...] = ("lesion",)) -> Answers:
    inside = np.ones(lesion.shape, bool)
    maps = np.stack([lesion == k for k in range(len(names))]) if len(names) > 1 else lesion[None]
    return Answers([AnsweredClasses.of(maps.astype(np.float32), inside, 0.5)], names)


def test_a_lesion_and_the_answer_are_outlined(tmp_path: Path) -> None:
    path = tmp_path / "cases.png"
    assert has(both := drawn(path, block(10), told(block(40))), YELLOW)
    assert has(both, CYAN)
    assert not has(drawn(path, block(10), told(block(40) * 0)), CYAN)
    assert not has(drawn(path, block(10), None), CYAN)


def test_tissue_stands_beside_the_answer(tmp_path: Path) -> None:
    names = ("tumour", "stroma")
    picture = drawn(tmp_path / "cases.png", block(10), told(block(40), names))
    # Of the left half, the truth, the stroma lies higher than of the right half, the answer.
    orange = (np.abs(picture.astype(int) - np.array([127, 63, 7])).max(axis=2) < 30).nonzero()
    left, right = (orange[0][side] for side in (orange[1] < 208, orange[1] >= 208))
    assert left.size and right.size
    assert left.mean() < right.mean()


@given(
    arrays(np.float32, (7, 5), elements=st.floats(0, 1, width=32)),
    st.floats(0.1, 0.9),
)
def test_the_answer_comes_back_as_it_was(map_: NDArray[np.float32], threshold: float) -> None:
    inside = np.ones((7, 5), bool)
    inside[:, 0] = False
    answer = AnsweredClasses.of(map_[None], inside, threshold).classes()
    assert np.array_equal(answer, (map_ >= threshold) & inside)


@pytest.mark.parametrize("classes", [2, 5])
def test_each_pixel_has_its_likeliest_class(classes: int) -> None:
    maps = np.random.default_rng(1).random((classes, 6, 4)).astype(np.float32)
    answer = AnsweredClasses.of(maps, np.ones((6, 4), bool), 0.5).classes()
    assert np.array_equal(answer, maps.argmax(axis=0))
