"""Does a picture show a breast? Real mammograms pass; heads, noise and slabs do not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dimse_builder import mammogram, write
from mammogram_builder import SCREENING, SPACING_MM, pixels_of
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from oncopixel_pacs.domain import Reason
from oncopixel_pacs.errors import UnreadableImage
from oncopixel_pacs.imaging.mammogram import read_mammogram
from oncopixel_pacs.imaging.plausibility import measure, require_breast
from oncopixel_pacs.imaging.preprocess import search
from sample_dicom.study import make_study

Picture = NDArray[np.float32]
REAL = os.environ.get("ONCOPIXEL_DATA")
ROWS, COLUMNS, PIXEL_MM = 600, 480, 0.4
ROW, COLUMN = np.mgrid[:ROWS, :COLUMNS]
RANDOM = np.random.default_rng(0)


def refused(picture: NDArray[np.floating], pixel_mm: float = PIXEL_MM) -> str:
    """Say why a picture is refused; empty when it is not."""
    try:
        require_breast(search(picture.astype(np.float32), (pixel_mm, pixel_mm)))
    except UnreadableImage as exc:
        return f"{exc.reason}: {exc.detail}"
    return ""


def slab(noise: float) -> Picture:
    """Draw an accreditation phantom at the chest wall: an even slab with masses and fibres."""
    picture = np.full((ROWS, COLUMNS), 0.02)
    picture[150:450, :300] = 0.6
    for number in range(6):
        top = 180 + 40 * number
        picture[top : top + 10, 60:70] += 0.1
        picture[(top - ROW) ** 2 + (COLUMN - 200) ** 2 < 100] += 0.08
    return np.clip(picture + RANDOM.normal(0, noise, picture.shape), 0, 1).astype(np.float32)


def disc() -> Picture:
    """Draw something round in the middle, with structure inside."""
    inside = ndimage.gaussian_filter(RANDOM.random((ROWS, COLUMNS)), 6) * 8 - 3.5
    round_about = (ROW - 300) ** 2 + (COLUMN - 240) ** 2 < 150**2
    return np.where(round_about, np.clip(inside, 0.2, 1), 0).astype(np.float32)


NOT_BREASTS = {
    "black": (np.zeros((ROWS, COLUMNS)), Reason.BLANK),
    "grey": (np.full((ROWS, COLUMNS), 0.5), Reason.BLANK),
    "white noise": (RANDOM.random((ROWS, COLUMNS)), Reason.NOT_A_BREAST),
    "normal noise": (
        np.clip(RANDOM.normal(0.5, 0.1, (ROWS, COLUMNS)), 0, 1),
        Reason.NOT_A_BREAST,
    ),
    "coarse noise": (ndimage.zoom(RANDOM.random((60, 48)), 10, order=1), Reason.NOT_A_BREAST),
    "a slab phantom": (slab(0.01), Reason.NOT_A_BREAST),
    "a slab phantom with noise": (slab(0.05), Reason.NOT_A_BREAST),
    "a disc": (disc(), Reason.NOT_A_BREAST),
    "squares": (((ROW // 40) + (COLUMN // 40)) % 2, Reason.NO_BREAST),
}


@pytest.mark.parametrize(("picture", "reason"), NOT_BREASTS.values(), ids=NOT_BREASTS)
def test_what_is_no_breast_is_refused_with_its_reason(picture: Picture, reason: Reason) -> None:
    said = refused(picture)
    assert said.startswith(f"{reason}:")
    assert said.endswith(".") or reason is Reason.BLANK


@pytest.mark.parametrize("turned", [0, 2])
def test_built_breasts_pass_from_either_side(turned: int) -> None:
    for view in SCREENING:
        picture = np.rot90(pixels_of(view) / 4095, turned)
        assert refused(picture, SPACING_MM) == ""


def test_sample_studies_pass(tmp_path: Path) -> None:
    for image in make_study(3, rows=512, columns=416):
        path = tmp_path / "image.dcm"
        image.dataset.save_as(path, enforce_file_format=True)
        mammogram = read_mammogram(path)
        assert mammogram.facts.spacing_mm is not None
        require_breast(search(mammogram.pixels, mammogram.facts.spacing_mm))


def test_a_breast_has_one_straight_side() -> None:
    picture = pixels_of(SCREENING[0]) / 4095
    shape = measure(search(picture.astype(np.float32), (SPACING_MM, SPACING_MM)))
    assert shape.straight > 0.9 > 0.5 > shape.other
    assert 0.7 < shape.filling < 0.85


# --- real ones --------------------------------------------------------------------------------

needs_real = pytest.mark.skipif(REAL is None, reason="the real sets are not here")


def pictures(folder: str, pixel_mm: float, step: int = 1) -> Iterator[tuple[str, Picture, float]]:
    """Pictures of a set; without a pixel size, the longer side counts as 250 mm."""
    for path in sorted(p for p in (Path(REAL or "") / folder).rglob("*.*g") if p.is_file())[::step]:
        picture = np.asarray(Image.open(path).convert("L"), dtype=np.float32) / 255
        yield path.name, picture, pixel_mm or 250 / max(picture.shape)


@needs_real
@pytest.mark.parametrize(
    ("folder", "pixel_mm"),
    [("mias/images", 0.2), ("cdd_cesm/images", 0.5), ("ddsm_mini/images", 0.0)],
)
def test_no_real_mammogram_is_refused(folder: str, pixel_mm: float) -> None:
    found = {name: refused(picture, size) for name, picture, size in pictures(folder, pixel_mm, 2)}
    assert len(found) > 30
    assert {name: why for name, why in found.items() if why} == {}


@needs_real
def test_the_real_digital_mammogram_passes() -> None:
    mammogram = read_mammogram(Path(REAL or "") / "dicom_mg" / "fo-dicom_GH133.dcm")
    assert mammogram.facts.spacing_mm is not None
    require_breast(search(mammogram.pixels, mammogram.facts.spacing_mm))


@needs_real
@pytest.mark.parametrize("pixel_mm", [0.5, 0.0])
def test_most_heads_are_refused(pixel_mm: float) -> None:
    found = [bool(refused(picture, size)) for _, picture, size in pictures("brain_mri", pixel_mm)]
    assert sum(found) > 0.8 * len(found) > 0


@needs_real
def test_heads_in_the_coat_of_a_mammogram_are_refused_all_the_same(tmp_path: Path) -> None:
    found = []
    for _, picture, _ in pictures("brain_mri", 0.5, 4):
        stored = (picture * 4095).astype("<u2")
        coat = mammogram(rows=stored.shape[0], columns=stored.shape[1])
        coat.ImagerPixelSpacing = [0.5, 0.5]
        coat.PixelData = stored.tobytes()
        read = read_mammogram(write(coat, tmp_path / "head.dcm"))
        assert read.facts.spacing_mm == (0.5, 0.5)
        found.append(bool(refused(read.pixels, 0.5)))
    assert sum(found) > 0.8 * len(found) > 0
