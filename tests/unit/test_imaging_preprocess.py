"""The preparation that training and serving share."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oncopixel_pacs.domain import Laterality, Reason, View
from oncopixel_pacs.errors import UnreadableImage
from oncopixel_pacs.imaging.preprocess import Preprocessing, prepare
from sample_dicom.phantom import make_phantom


def phantom(laterality=Laterality.LEFT, view=View.MLO, rows=512, columns=416):
    made = make_phantom(3, laterality, view, rows=rows, columns=columns, lesion=True)
    return made, made.pixels.astype(np.float32) / 4095


def test_the_grid_has_the_stated_pixel_size_and_a_multiple_of_32() -> None:
    made, pixels = phantom()
    prepared = prepare(pixels, made.spacing_mm)
    assert prepared.image.dtype == np.float32
    assert prepared.image.shape == (1, *prepared.breast.shape)
    assert all(length % 32 == 0 for length in prepared.breast.shape)
    millimetres = np.array(prepared.geometry.scale) * made.spacing_mm
    assert millimetres == pytest.approx([0.5, 0.5], abs=0.005)
    assert 0 <= prepared.image.min() <= prepared.image.max() <= 1
    assert (prepared.image[0][~prepared.breast] == 0).all()


@pytest.mark.parametrize("laterality", list(Laterality))
@pytest.mark.parametrize("view", [View.CC, View.MLO])
def test_the_chest_wall_is_at_column_0(laterality, view) -> None:
    made, pixels = phantom(laterality, view)
    prepared = prepare(pixels, made.spacing_mm)
    columns = prepared.breast.sum(axis=0)
    assert columns[:10].mean() > columns[-40:].mean()
    assert prepared.geometry.mirrored is (laterality is Laterality.RIGHT)


def test_a_mirrored_picture_is_prepared_to_the_same_array() -> None:
    made, pixels = phantom()
    here = prepare(pixels, made.spacing_mm)
    there = prepare(np.ascontiguousarray(pixels[:, ::-1]), made.spacing_mm)
    assert there.geometry.mirrored is not here.geometry.mirrored
    shape = [min(a, b) for a, b in zip(here.image.shape, there.image.shape, strict=True)]
    cut = tuple(slice(0, length) for length in shape)
    assert np.abs(here.image[cut] - there.image[cut]).mean() < 0.02


def test_the_lesion_stays_inside_the_breast() -> None:
    for seed in range(8):
        for view in (View.CC, View.MLO):
            for side in Laterality:
                made = make_phantom(seed, side, view, rows=512, columns=416, lesion=True)
                if not made.lesion.any():
                    continue
                prepared = prepare(made.pixels.astype(np.float32) / 4095, made.spacing_mm)
                kept = prepared.geometry.mask_to_stored(prepared.breast)
                assert (kept & made.lesion).sum() > 0.95 * made.lesion.sum()


def test_fat_hardly_brighter_than_a_detectors_air_stays_in_the_breast() -> None:
    made, pixels = phantom(Laterality.LEFT, View.CC)
    inside = prepare(pixels, made.spacing_mm)
    tissue = inside.geometry.mask_to_stored(inside.breast) & (pixels > 0.1)
    # As some units present it: air exactly black, fat next to it.
    dark = np.where(pixels > 0.06, np.clip(2.5 * (pixels - 0.28), 0, 1) + 0.2 * pixels, 0)
    found = prepare(dark.astype(np.float32), made.spacing_mm)
    kept = found.geometry.mask_to_stored(found.breast)
    assert (kept & tissue).sum() > 0.97 * tissue.sum()


def test_glowing_film_around_the_breast_stays_out_of_it() -> None:
    made, pixels = phantom(Laterality.LEFT, View.CC)
    clean = prepare(pixels, made.spacing_mm).breast.sum()
    row, column = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    glow = 0.07 * np.exp(-(((row - 256) / 220) ** 2 + (column / 300) ** 2))
    film = np.where(glow > 0.02, np.maximum(pixels, glow), 0).astype(np.float32)
    assert prepare(film, made.spacing_mm).breast.sum() == pytest.approx(clean, rel=0.1)


def test_film_labels_and_white_borders_are_no_breast() -> None:
    made, pixels = phantom(Laterality.LEFT, View.CC)
    clean = prepare(pixels, made.spacing_mm).breast.sum()
    film = pixels.copy()
    film[:6], film[-6:] = 1.0, 1.0
    film[30:60, 300:390] = 1.0
    assert prepare(film, made.spacing_mm).breast.sum() == pytest.approx(clean, rel=0.05)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, np.nan])
def test_a_blank_picture_has_no_breast(value) -> None:
    with pytest.raises(UnreadableImage) as caught:
        prepare(np.full((400, 300), value, np.float32), (0.5, 0.5))
    assert caught.value.reason is Reason.BLANK


def test_a_small_bright_spot_is_no_breast() -> None:
    pixels = np.zeros((400, 300), np.float32)
    pixels[100:120, 100:120] = 1
    with pytest.raises(UnreadableImage, match="no breast|No breast"):
        prepare(pixels, (0.5, 0.5))


def test_the_digest_changes_with_every_parameter() -> None:
    digests = {
        Preprocessing().digest(),
        Preprocessing(pixel_size_mm=0.4).digest(),
        Preprocessing(upper_percentile=99.0).digest(),
        Preprocessing(margin_mm=6.0).digest(),
    }
    assert len(digests) == 4
    assert Preprocessing().digest() == Preprocessing().digest()


@pytest.mark.skipif("ONCOPIXEL_DATA" not in os.environ, reason="the real sets are not here")
def test_real_films_keep_their_lesions() -> None:
    """At most 2 % of the circles of mini-MIAS lose more than a twentieth of their area."""
    folder = Path(os.environ["ONCOPIXEL_DATA"]) / "mias"
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["x"]]
    # Its own README knows of circles that lie off the breast.
    rows = [row for row in rows if "do not use" not in row["note"]]
    y, x = np.mgrid[:1024, :1024]
    lost = 0
    for row in rows:
        film = np.asarray(Image.open(folder / "images" / row["image"]).convert("L"), np.float32)
        prepared = prepare(film / 255, (0.2, 0.2))
        kept = prepared.geometry.mask_to_stored(prepared.breast)
        circle = np.hypot(y - float(row["y"]), x - float(row["x"])) <= float(row["radius"])
        lost += (circle & kept).sum() < 0.95 * circle.sum()
    assert lost <= 0.02 * len(rows), f"{lost} of {len(rows)}"
