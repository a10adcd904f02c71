"""There and back: a point of the image is the same point after a visit to the model grid."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oncopixel_pacs.imaging.geometry import Geometry, area_resample, window_of


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    rows, columns = draw(st.integers(64, 4096)), draw(st.integers(64, 4096))
    height, width = draw(st.integers(32, rows)), draw(st.integers(32, columns))
    top, left = draw(st.integers(0, rows - height)), draw(st.integers(0, columns - width))
    content = (draw(st.integers(16, 700)), draw(st.integers(16, 700)))
    padded = (-(-content[0] // 32) * 32, -(-content[1] // 32) * 32)
    crop = (top, left, height, width)
    return Geometry((rows, columns), crop, draw(st.booleans()), content, padded)


@given(geometries(), st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1))
def test_points_return_within_half_a_pixel(geometry, fractions) -> None:
    top, left, height, width = geometry.crop
    stored = np.array([(top + r * (height - 1), left + c * (width - 1)) for r, c in fractions])
    back = geometry.to_stored(geometry.to_model(stored))
    assert np.abs(back - stored).max() < 0.5


@given(geometries())
def test_every_pixel_of_the_crop_lands_on_the_grid(geometry) -> None:
    top, left, height, width = geometry.crop
    corners = np.array([(r, c) for r in (top, top + height - 1) for c in (left, left + width - 1)])
    on_grid = geometry.to_model(corners.astype(float))
    assert on_grid.min() >= -0.5
    assert (on_grid <= np.array(geometry.content_shape) - 0.5).all()


@pytest.mark.parametrize("mirrored", [False, True])
@given(row=st.integers(60, 200), column=st.integers(60, 140))
def test_a_disc_visits_the_model_and_returns_to_its_place(row, column, mirrored) -> None:
    geometry = Geometry((300, 240), (20, 20, 240, 180), mirrored, (120, 90), (128, 96))
    y, x = np.mgrid[:300, :240]
    disc = (y - row) ** 2 + (x - column) ** 2 <= 15**2
    back = geometry.mask_to_stored(geometry.mask_to_model(disc))
    centre = np.argwhere(back).mean(axis=0)
    scale = max(geometry.scale)
    assert np.abs(centre - (row, column)).max() < scale / 2
    assert back.sum() == pytest.approx(disc.sum(), rel=0.08)


def test_labels_keep_their_numbers_and_their_side() -> None:
    geometry = Geometry((100, 80), (10, 20, 80, 40), True, (40, 20), (64, 32))
    labels = np.zeros(geometry.model_shape, np.uint8)
    labels[0, 0], labels[39, 19] = 3, 7
    stored = geometry.labels_to_stored(labels)
    assert set(np.unique(stored)) == {0, 3, 7}
    # Mirrored: the grid's first column is the crop's last.
    assert stored[10, 59] == 3
    assert stored[89, 20] == 7


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 90), st.integers(1, 90))
def test_resampling_by_area_keeps_the_mean_and_the_range(rows, columns, height, width) -> None:
    pixels = np.random.default_rng(rows * columns).random((rows, columns)).astype(np.float32)
    out = area_resample(pixels, (height, width))
    assert out.shape == (height, width)
    assert out.mean() == pytest.approx(pixels.mean(), abs=1e-4)
    assert out.min() >= pixels.min() - 1e-5
    assert out.max() <= pixels.max() + 1e-5


@given(st.integers(1, 3000), st.integers(1, 200), st.integers(1, 60))
def test_sums_are_added_up_row_by_row_whatever_the_blocks(width, rows, length) -> None:
    pixels = np.random.default_rng(rows * width).random((rows, width)).astype(np.float32)
    edges = np.linspace(0, rows, length + 1)
    whole = np.minimum(edges.astype(np.int64), rows - 1)
    above = np.zeros((rows, width))
    for row in range(1, rows):
        above[row] = above[row - 1] + pixels[row - 1]
    sums = above[whole] + (edges - whole)[:, None] * pixels[whole]
    expected = np.asarray(np.diff(sums, axis=0) * (length / rows), dtype=np.float32)
    np.testing.assert_array_equal(area_resample(pixels, (length, width)), expected)


@st.composite
def sparse_labels(draw: st.DrawFn) -> tuple[Geometry, np.ndarray]:
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    top, left = draw(st.integers(0, 5)), draw(st.integers(0, 5))
    content = (draw(st.integers(1, 30)), draw(st.integers(1, 30)))
    stored = (top + height + draw(st.integers(0, 5)), left + width + draw(st.integers(0, 5)))
    geometry = Geometry(stored, (top, left, height, width), draw(st.booleans()), content, (32, 32))
    labels = np.zeros(geometry.model_shape, np.uint8)
    for _ in range(draw(st.integers(0, 3))):
        row, column = draw(st.integers(0, content[0] - 1)), draw(st.integers(0, content[1] - 1))
        labels[row, column] = draw(st.integers(1, 255))
    return geometry, labels


@given(sparse_labels())
def test_every_stored_pixel_has_the_label_of_the_model_pixel_that_it_lies_in(drawn) -> None:
    geometry, labels = drawn
    top, left, height, width = geometry.crop
    expected = np.zeros(geometry.stored_shape, np.uint8)
    for row in range(top, top + height):
        for column in range(left, left + width):
            point = np.floor(geometry.to_model(np.array([(row, column)])) + 0.5)[0]
            inside = np.clip(point, 0, np.array(geometry.content_shape) - 1).astype(int)
            expected[row, column] = labels[inside[0], inside[1]]
    np.testing.assert_array_equal(geometry.labels_to_stored(labels), expected)


@given(sparse_labels())
def test_a_window_holds_every_label_and_no_smaller_one_does(drawn) -> None:
    labels = drawn[1]
    rows, columns = window_of(labels)
    inside = labels[rows, columns]
    assert np.count_nonzero(inside) == np.count_nonzero(labels)
    if inside.size:
        assert inside[0].any()
        assert inside[-1].any()
        assert inside[:, 0].any()
        assert inside[:, -1].any()
