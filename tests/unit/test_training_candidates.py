"""Marks and findings mean the same in training as in the server."""

from __future__ import annotations

import numpy as np
import pytest

from training.candidates import blobness, components, judge, peaks
from training.metrics import Marks


def bump(shape: tuple[int, int], row: int, column: int, height: float) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    distance = (rows - row) ** 2 + (columns - column) ** 2
    return (height * np.exp(-distance / 30.0)).astype(np.float32)


def test_a_component_is_large_enough_and_scored_by_its_highest_pixel() -> None:
    probability = np.zeros((60, 60), dtype=np.float32)
    probability[10:20, 10:20] = 0.6
    probability[15, 15] = 0.9
    probability[40, 40] = 0.99

    (component,) = components(probability, 0.5, pixel_size_mm=0.5, min_area_mm2=7.0)

    assert component.mask.sum() == 100
    assert component.score == pytest.approx(0.9)


def test_regions_that_touch_at_a_corner_are_one() -> None:
    probability = np.zeros((30, 30), dtype=np.float32)
    probability[5:10, 5:10] = probability[10:15, 10:15] = 0.8

    assert len(components(probability, 0.5, pixel_size_mm=0.5)) == 1


def test_peaks_lie_inside_keep_their_distance_and_come_strongest_first() -> None:
    shape = (120, 120)
    score = bump(shape, 30, 30, 0.5) + bump(shape, 36, 30, 0.4) + bump(shape, 90, 90, 0.9)
    score += bump(shape, 30, 100, 1.0)
    inside = np.ones(shape, dtype=bool)
    inside[:60, 60:] = False

    found = peaks(score, inside, pixel_size_mm=0.5)

    assert [(row, column) for row, column, _ in found[:1]] == [(90, 90)]
    near = [item for item in found if abs(item[0] - 32) < 8 and abs(item[1] - 30) < 3]
    assert len(near) == 1
    assert all(inside[row, column] for row, column, _ in found)


def test_a_mark_hits_the_lesion_it_lies_in_and_the_rest_is_false() -> None:
    lesions = np.zeros((50, 50), dtype=bool)
    lesions[10:15, 10:15] = True
    lesions[30:40, 30:40] = True

    marks = judge([(12, 12, 0.4), (13, 13, 0.7), (20, 20, 0.6)], lesions, pixel_size_mm=0.5)

    assert marks == Marks(hits=(0.7, -np.inf), false=(0.6,))


def test_a_margin_lets_a_near_mark_hit() -> None:
    lesions = np.zeros((50, 50), dtype=bool)
    lesions[10:15, 10:15] = True

    near = judge([(17, 12, 0.4)], lesions, pixel_size_mm=0.5, margin_mm=2.0)
    far = judge([(25, 12, 0.4)], lesions, pixel_size_mm=0.5, margin_mm=2.0)

    assert near.hits == (0.4,) and far.false == (0.4,)


def test_the_trivial_detector_answers_to_a_spot_and_to_nothing_outside_the_breast() -> None:
    shape = (160, 120)
    inside = np.zeros(shape, dtype=bool)
    inside[20:140, :90] = True
    image = np.where(inside, 0.3, 0.0).astype(np.float32) + bump(shape, 80, 45, 0.4)

    answer = blobness(image, inside, pixel_size_mm=0.5)

    assert np.unravel_index(answer.argmax(), shape) == (80, 45)
    assert not answer[~inside].any()
