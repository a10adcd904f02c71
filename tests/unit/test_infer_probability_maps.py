"""Probability maps on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from oncopixel_pacs.errors import AnalysisFailed
from oncopixel_pacs.imaging.geometry import Geometry
from oncopixel_pacs.infer.probability_maps import (
    probability_map_path,
    read_probability_map,
    write_probability_map,
)

UID = "2.25.7"
GEOMETRY = Geometry((40, 30), (4, 2, 32, 24), True, (8, 6), (10, 6))


def keep(folder: Path, *, breast: bool = True) -> np.ndarray:
    probability = np.linspace(0, 1, 60, dtype=np.float32).reshape(10, 6)
    write_probability_map(folder, UID, probability, np.full((10, 6), breast), GEOMETRY)
    return probability


def test_each_stored_pixel_has_the_value_of_the_model_pixel_that_it_lies_in(
    tmp_path: Path,
) -> None:
    probability = keep(tmp_path)
    stored = read_probability_map(tmp_path, UID)
    assert stored is not None
    assert (stored.shape, stored.dtype) == ((40, 30), np.uint8)
    steps = np.rint(probability * 255).astype(np.uint8)
    # Four stored pixels to a model pixel; mirrored, so the crop's last column comes first.
    assert stored[4, 2] == steps[0, 5]
    assert stored[35, 25] == steps[7, 0]
    assert not stored[:4].any()
    assert set(np.unique(stored)) <= {0, *np.unique(steps)}


def test_outside_the_breast_nothing_is_kept(tmp_path: Path) -> None:
    keep(tmp_path, breast=False)
    stored = read_probability_map(tmp_path, UID)
    assert stored is not None
    assert not stored.any()


def test_it_is_small_whatever_the_image(tmp_path: Path) -> None:
    shape = (512, 416)
    noise = np.random.default_rng(1).random(shape, dtype=np.float32)
    geometry = Geometry((4096, 3328), (0, 0, 4096, 3328), False, shape, shape)
    path = write_probability_map(tmp_path, UID, noise, np.ones(shape, bool), geometry)
    assert path.stat().st_size < 250_000  # noise is the worst case


def test_an_image_without_map_has_none(tmp_path: Path) -> None:
    assert read_probability_map(tmp_path, UID) is None


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 half an archive"])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    probability_map_path(tmp_path, UID).write_bytes(content)
    with pytest.raises(AnalysisFailed, match="analyse the study again"):
        read_probability_map(tmp_path, UID)
