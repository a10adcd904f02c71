"""Choosing thresholds and calibration, on images that changed no weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oncopixel_pacs.infer.calibration import Calibrator
from oncopixel_pacs.infer.findings import MIN_AREA_MM2
from training.batches import lesions_of
from training.calibration import calibrate
from training.candidates import components
from training.figures import PIXEL_SIZE_MM, lesion_centres
from training.predict import Classified, Segmented

_STEP = 0.02
_LEAST_SHARE = 0.97
_FURTHEST = 0.3
_Grid = Sequence[float]


@dataclass(frozen=True, slots=True)
class _Regions:
    """Regions of one image at one outline threshold, each with what decides about it.

    Attributes
    ----------
    scores
        Highest probability of each.
    areas, overlaps
        Pixels of each, and how many of them lie in a lesion.
    centres
        Region that holds the centre of each lesion; -1 where none does.
    lesion_px
        Pixels of all lesions.
    """

    scores: NDArray[np.float64]
    areas: NDArray[np.intp]
    overlaps: NDArray[np.intp]
    centres: tuple[int, ...]
    lesion_px: int

    def found(self, threshold: float) -> bool:
        """Whether the centre of every lesion lies in a finding."""
        return all(one >= 0 and self.scores[one] >= threshold for one in self.centres)

    def clean(self, threshold: float) -> bool:
        """Whether there is no finding."""
        return not (self.scores >= threshold).any()

    def dice(self, threshold: float) -> float:
        """Dice of all findings with all lesions, of which there is one at least."""
        kept = self.scores >= threshold
        return 2.0 * int(self.overlaps[kept].sum()) / (self.lesion_px + int(self.areas[kept].sum()))


def segmenter_thresholds(
    phantoms: Sequence[Segmented], real: Mapping[str, Sequence[Segmented]]
) -> tuple[float, float | None]:
    """Thresholds with the best mean Dice on the real sets among those safe on phantoms.

    One finds a region, the other, at most 0.3 lower, says how far it reaches. Safe: the centre of
    at least 97 % of the inserted lesions lies inside the predicted mask, and at least 97 % of the
    patients have no finding on any of their lesion-free images. Where no thresholds are safe, those
    that are nearest to it are taken; without real sets, the middle of the safe ones, with outlines
    at the same.

    Returns
    -------
    threshold : float
        In (0, 1), rounded to two digits.
    outline_threshold : float or None
        Lower than that, in (0, 1); ``None`` where a single threshold is best.
    """
    grid = [round(float(value), 2) for value in np.arange(0.1, 0.96, _STEP)]
    furthest = round(_FURTHEST / _STEP) if real else 0
    pairs = [
        (threshold, grid[number - steps])
        for steps in range(furthest + 1)
        for number, threshold in enumerate(grid)
        if number >= steps
    ]
    safety = _phantom_safety(phantoms, pairs, grid)
    least = min(_LEAST_SHARE, max(safety))
    safe = [pair for pair, share in zip(pairs, safety, strict=True) if share >= least]
    if not real:
        return safe[len(safe) // 2][0], None
    known = dict(zip(safe, _mean_dice(real, safe, grid), strict=True))
    threshold, outline = max(safe, key=known.__getitem__)
    return threshold, outline if outline < threshold else None


def classifier_threshold(scored: Mapping[str, Sequence[Classified]]) -> float:
    """Threshold with the best Youden index, averaged over the sets.

    Returns
    -------
    float
        In (0, 1), rounded to two digits.
    """
    grid = [round(float(value), 2) for value in np.arange(0.02, 0.99, 0.01)]

    def youden(items: Sequence[Classified], threshold: float) -> float:
        positive = np.array([item.sample.malignant is True for item in items])
        called = np.array([item.probability >= threshold for item in items])
        if positive.all() or not positive.any():
            return 0.0
        return float(called[positive].mean() - called[~positive].mean())

    indices = [
        float(np.mean([youden(items, threshold) for items in scored.values()]))
        for threshold in grid
    ]
    best = [cut for cut, index in zip(grid, indices, strict=True) if index >= max(indices) - 1e-9]
    return best[len(best) // 2]


def learn_calibration(scored: Sequence[Classified]) -> Calibrator:
    """Platt scaling of real images, all sets together.

    What comes out is a probability among women as in those images, of whom far more are ill than
    where women are screened.
    """
    probability = np.array([item.probability for item in scored], dtype=np.float64)
    labels = np.array([item.sample.malignant is True for item in scored], dtype=np.intp)
    return calibrate(np.stack([1.0 - probability, probability], axis=1), labels)


def _regions_of(item: Segmented, grid: _Grid) -> dict[float, _Regions]:
    """Regions of one image at every outline threshold of the grid."""
    lesions = lesions_of(item.sample)
    centres = lesion_centres(lesions)
    by_outline = {}
    for outline in grid:
        found = components(item.probability, outline, PIXEL_SIZE_MM, MIN_AREA_MM2)
        by_outline[outline] = _Regions(
            scores=np.array([one.score for one in found]),
            areas=np.array([one.mask.sum() for one in found], dtype=np.intp),
            overlaps=np.array([(one.mask & lesions).sum() for one in found], dtype=np.intp),
            centres=tuple(
                next((number for number, one in enumerate(found) if one.mask[centre]), -1)
                for centre in centres
            ),
            lesion_px=int(lesions.sum()),
        )
    return by_outline


def _phantom_safety(
    phantoms: Sequence[Segmented], pairs: Sequence[tuple[float, float]], grid: _Grid
) -> list[float]:
    found: list[list[bool]] = []
    clean_patients: dict[str, NDArray[np.bool_]] = {}
    for item in phantoms:
        regions = _regions_of(item, grid)
        if lesions_of(item.sample).any():
            found.append([regions[outline].found(cut) for cut, outline in pairs])
        else:
            clean = np.array([regions[outline].clean(cut) for cut, outline in pairs])
            before = clean_patients.get(item.sample.patient, np.ones(len(pairs), dtype=bool))
            clean_patients[item.sample.patient] = before & clean
    every = np.ones(len(pairs))
    shares = (
        np.mean(found, axis=0) if found else every,
        np.mean(list(clean_patients.values()), axis=0) if clean_patients else every,
    )
    return [float(share) for share in np.minimum(*shares)]


def _mean_dice(
    real: Mapping[str, Sequence[Segmented]], pairs: Sequence[tuple[float, float]], grid: _Grid
) -> list[float]:
    per_set = []
    for items in real.values():
        regions = [_regions_of(item, grid) for item in items if lesions_of(item.sample).any()]
        if regions:
            dices = [[one[outline].dice(cut) for cut, outline in pairs] for one in regions]
            per_set.append(np.mean(dices, axis=0))
    return [float(value) for value in np.mean(per_set, axis=0)] if per_set else [0.0] * len(pairs)
