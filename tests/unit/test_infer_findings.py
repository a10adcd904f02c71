"""Regions of a probability map become findings in the stored pixels of the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.draw import disk, ellipse, polygon2mask

from oncopixel_pacs.domain import Finding
from oncopixel_pacs.infer.findings import (
    MAX_FINDINGS,
    MAX_OUTLINE_POINTS,
    MIN_AREA_MM2,
    Naming,
    find_lesions,
)

GRID = (120, 80)


@dataclass(frozen=True)
class Enlarged:
    """Stored pixels are `factor` times finer than the model's grid and begin at `offset`."""

    factor: int = 4
    offset: int = 0

    def labels_to_stored(self, labels: np.ndarray) -> np.ndarray:
        return labels.repeat(self.factor, 0).repeat(self.factor, 1)[self.offset :]


def find(
    probability: np.ndarray,
    *,
    breast: np.ndarray | None = None,
    geometry: Enlarged | None = None,
    threshold: float = 0.5,
    outline_threshold: float | None = None,
) -> tuple[tuple[Finding, ...], np.ndarray]:
    geometry = geometry or Enlarged()
    return find_lesions(
        probability.astype(np.float32),
        np.ones(probability.shape, dtype=bool) if breast is None else breast,
        geometry,
        threshold=threshold,
        outline_threshold=outline_threshold,
        pixel_size_mm=0.5,
        spacing_mm=(0.5 / geometry.factor, 0.5 / geometry.factor),
        naming=Naming("R MLO", lambda number: f"2.25.{number}"),
    )


def spots(*places: tuple[tuple[int, int], int, float]) -> np.ndarray:
    """Probability map with discs of (centre, radius, probability)."""
    probability = np.full(GRID, 0.1)
    for centre, radius, value in places:
        probability[disk(centre, radius, shape=GRID)] = value
    return probability


def test_findings_are_numbered_by_falling_probability() -> None:
    findings, labels = find(spots(((20, 20), 6, 0.6), ((60, 40), 8, 0.9), ((100, 20), 6, 0.6)))
    assert [round(finding.probability, 6) for finding in findings] == [0.9, 0.6, 0.6]
    assert [finding.tracking_id for finding in findings] == ["R MLO 1", "R MLO 2", "R MLO 3"]
    assert [finding.tracking_uid for finding in findings] == ["2.25.1", "2.25.2", "2.25.3"]
    assert findings[1].centre[0] < findings[2].centre[0], "ties go from top to bottom"
    assert labels.shape == (480, 320)
    assert [labels[4 * r, 4 * c] for r, c in ((60, 40), (20, 20), (100, 20))] == [1, 2, 3]


def test_a_disc_is_measured_in_millimetres() -> None:
    (finding,), _ = find(spots(((60, 40), 10, 0.8)))  # 5 mm of radius
    assert finding.area_mm2 == pytest.approx(np.pi * 25, rel=0.05)
    assert finding.long_axis_mm == pytest.approx(10, rel=0.05)
    assert finding.short_axis_mm == pytest.approx(10, rel=0.05)
    assert finding.centre == pytest.approx((241.5, 161.5), abs=1)


def test_the_axes_are_those_of_the_ellipse() -> None:
    probability = np.zeros(GRID)
    probability[ellipse(60, 40, 8, 20, rotation=0.6, shape=GRID)] = 0.8
    (finding,), _ = find(probability)
    assert (finding.long_axis_mm, finding.short_axis_mm) == pytest.approx((20, 8), rel=0.05)


def test_pixels_that_are_not_square_are_measured_as_they_are() -> None:
    probability = spots(((60, 40), 10, 0.8))
    naming = Naming("L CC", str)
    (finding,), _ = find_lesions(
        probability.astype(np.float32),
        np.ones(GRID, dtype=bool),
        Enlarged(1),
        threshold=0.5,
        pixel_size_mm=0.5,
        spacing_mm=(0.2, 0.1),
        naming=naming,
    )
    assert (finding.long_axis_mm, finding.short_axis_mm) == pytest.approx((4, 2), rel=0.05)
    assert finding.area_mm2 == pytest.approx(np.pi * 2 * 1, rel=0.05)


def test_the_centre_of_a_crescent_lies_inside_it() -> None:
    probability = spots(((60, 40), 20, 0.8), ((60, 44), 17, 0.1))
    (finding,), labels = find(probability)
    row, column = map(int, finding.centre)
    assert labels[row, column] == 1
    centroid = tuple(map(int, np.argwhere(labels).mean(axis=0)))
    assert labels[centroid] == 0, "the centroid itself lies outside"


def test_a_ring_is_outlined_on_its_outside() -> None:
    (finding,), _ = find(spots(((60, 40), 20, 0.8), ((60, 40), 14, 0.1)))
    filled = polygon2mask((480, 320), finding.outline)
    assert filled.sum() / 64 * 0.5**2 * 4 == pytest.approx(np.pi * 100, rel=0.1)


def test_only_what_lies_in_the_breast_counts() -> None:
    breast = np.zeros(GRID, dtype=bool)
    breast[:, :40] = True
    findings, labels = find(spots(((30, 60), 6, 0.9), ((60, 40), 12, 0.7)), breast=breast)
    assert len(findings) == 1
    assert not labels[:, 160:].any()


def test_regions_below_the_smallest_area_are_dropped() -> None:
    probability = np.zeros(GRID)
    side = round((MIN_AREA_MM2 / 0.25) ** 0.5)
    probability[10 : 10 + side, 10 : 10 + side] = 0.7
    probability[50 : 50 + side, 10 : 10 + side] = 0.9
    probability[50, 10] = 0
    findings, _ = find(probability)
    assert [finding.probability for finding in findings] == [pytest.approx(0.7)]


def test_a_line_of_pixels_is_as_wide_as_a_pixel() -> None:
    probability = np.zeros(GRID)
    probability[2 : GRID[0] - 2, 10] = 0.7
    assert GRID[0] - 4 >= MIN_AREA_MM2 / 0.25
    (finding,), _ = find(probability, geometry=Enlarged(1))
    assert finding.short_axis_mm == 0.5
    assert finding.long_axis_mm > 20


def test_pixels_that_touch_at_a_corner_belong_together() -> None:
    probability = np.zeros(GRID)
    probability[10:20, 10:20] = probability[20:30, 20:30] = 0.7
    findings, _ = find(probability)
    assert len(findings) == 1


def test_the_threshold_itself_is_a_finding() -> None:
    assert len(find(spots(((60, 40), 8, 0.5)), threshold=0.5)[0]) == 1


def test_nothing_above_the_threshold_is_no_finding() -> None:
    for probability in (spots(), np.zeros(GRID)):
        findings, labels = find(probability)
        assert findings == ()
        assert not labels.any()
    assert find(np.zeros(GRID), threshold=0.0)[0] == ()


def test_at_most_twenty_of_many_are_reported() -> None:
    places = [
        ((8 + 15 * r, 8 + 15 * c), 6, 0.5 + 0.01 * (5 * r + c)) for r in range(7) for c in range(5)
    ]
    findings, labels = find(spots(*places))
    assert len(findings) == MAX_FINDINGS == labels.max()
    assert findings[0].probability == pytest.approx(0.5 + 0.01 * 34)
    assert findings[-1].probability == pytest.approx(0.5 + 0.01 * 15)


def test_a_region_outside_the_stored_image_leaves_no_gap_in_the_numbers() -> None:
    probability = spots(((10, 40), 6, 0.9), ((60, 40), 8, 0.7))
    findings, labels = find(probability, geometry=Enlarged(4, offset=100))
    assert [finding.tracking_id for finding in findings] == ["R MLO 1"]
    assert findings[0].probability == pytest.approx(0.7)
    assert set(np.unique(labels)) == {0, 1}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), grain=st.floats(0.5, 6), factor=st.integers(1, 5))
def test_what_holds_for_every_probability_map(seed: int, grain: float, factor: int) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(GRID), grain)
    probability = (noise - noise.min()) / np.ptp(noise)
    findings, labels = find(probability, geometry=Enlarged(factor), threshold=0.6)
    assert labels.dtype == np.uint8
    assert sorted(set(np.unique(labels)) - {0}) == [finding.number for finding in findings]
    assert len(findings) <= MAX_FINDINGS
    probabilities = [finding.probability for finding in findings]
    assert probabilities == sorted(probabilities, reverse=True)
    for finding in findings:
        mask = labels == finding.number
        assert mask[tuple(map(int, finding.centre))]
        assert finding.area_mm2 == pytest.approx(mask.sum() * (0.5 / factor) ** 2)
        assert finding.area_mm2 >= MIN_AREA_MM2
        assert finding.long_axis_mm >= finding.short_axis_mm > 0
        outline = np.array(finding.outline)
        assert 4 <= len(outline) <= MAX_OUTLINE_POINTS
        assert tuple(outline[0]) == tuple(outline[-1])
        assert outline.min() >= 0
        assert (outline <= np.array(mask.shape) - 1).all()


def smooth_noise(seed: int, grain: float) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(GRID), grain)
    probability: np.ndarray = (noise - noise.min()) / np.ptp(noise)
    return probability


def test_a_finding_reaches_down_to_the_outline_threshold() -> None:
    faint, sure = ((30, 40), 15, 0.45), ((30, 40), 4, 0.8)
    (finding,), labels = find(spots(faint, sure), threshold=0.6, outline_threshold=0.4)
    assert finding.probability == pytest.approx(0.8)
    assert finding.area_mm2 == pytest.approx(np.pi * 7.5**2, rel=0.05)
    assert labels[4 * 30, 4 * 28] == 1


def test_a_region_that_nowhere_reaches_the_operating_point_is_no_finding() -> None:
    probability = spots(((30, 40), 15, 0.55), ((90, 40), 10, 0.7))
    findings, labels = find(probability, threshold=0.6, outline_threshold=0.4)
    assert [round(finding.probability, 6) for finding in findings] == [0.7]
    assert not labels[4 * 30, 4 * 40]


def test_a_small_spot_is_a_finding_when_its_surroundings_are_large_enough() -> None:
    probability = spots(((60, 40), 12, 0.45), ((60, 40), 2, 0.9))
    assert find(probability, threshold=0.6)[0] == ()
    assert len(find(probability, threshold=0.6, outline_threshold=0.4)[0]) == 1


def test_an_operating_point_below_the_outline_threshold_is_the_only_one() -> None:
    probability = spots(((60, 40), 12, 0.35), ((60, 40), 6, 0.9))
    (finding,), _ = find(probability, threshold=0.3, outline_threshold=0.5)
    assert finding.area_mm2 == pytest.approx(np.pi * 36, rel=0.05)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), grain=st.floats(0.5, 6), threshold=st.floats(0.2, 0.9))
def test_equal_thresholds_are_one(seed: int, grain: float, threshold: float) -> None:
    probability, grid = smooth_noise(seed, grain), Enlarged(1)
    alone, labels = find(probability, geometry=grid, threshold=threshold)
    both, twice = find(probability, geometry=grid, threshold=threshold, outline_threshold=threshold)
    assert alone == both
    assert np.array_equal(labels, twice)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    grain=st.floats(0.5, 6),
    threshold=st.floats(0.5, 0.95),
    below=st.floats(0, 0.3),
)
def test_every_finding_is_a_whole_region_that_is_sure_somewhere(
    seed: int, grain: float, threshold: float, below: float
) -> None:
    probability = smooth_noise(seed, grain).astype(np.float32)
    findings, labels = find(
        probability,
        geometry=Enlarged(1),
        threshold=threshold,
        outline_threshold=threshold - below,
    )
    regions, count = ndimage.label(probability >= threshold - below, structure=np.ones((3, 3)))
    reported = set()
    for finding in findings:
        mask = labels == finding.number
        (region,) = set(np.unique(regions[mask]))
        assert region and np.array_equal(mask, regions == region)
        assert finding.probability == pytest.approx(probability[mask].max())
        assert finding.probability >= threshold
        reported.add(region)
    if len(findings) < MAX_FINDINGS:
        for region in set(range(1, count + 1)) - reported:
            mask = regions == region
            assert probability[mask].max() < threshold or mask.sum() * 0.25 < MIN_AREA_MM2
