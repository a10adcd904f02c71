"""From a probability map to marks and findings, on the model's grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.metrics import Marks

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]

MARK_DISTANCE_MM = 10.0
MARK_SMOOTHING_MM = 1.0
MIN_AREA_MM2 = 9.0
MAX_MARKS = 12


@dataclass(frozen=True, slots=True)
class Component:
    """A connected region at or above the threshold.

    Attributes
    ----------
    mask
        ``(height, width)`` on the model's grid.
    score
        Highest probability inside.
    """

    mask: Mask
    score: float


def components(
    probability: Map,
    threshold: float,
    pixel_size_mm: float,
    min_area_mm2: float = MIN_AREA_MM2,
    outline_threshold: float | None = None,
) -> list[Component]:
    """Regions of at least `min_area_mm2`, 8-connected, that reach the threshold somewhere.

    Parameters
    ----------
    probability
        ``(height, width)``, in [0, 1].
    outline_threshold
        Every pixel of a region is at or above it; `threshold` where it is absent.
    """
    lowest = threshold if outline_threshold is None else outline_threshold
    labels, count = ndimage.label(probability >= lowest, structure=np.ones((3, 3)))
    least_px = min_area_mm2 / pixel_size_mm**2
    found = []
    for label in range(1, count + 1):
        mask = labels == label
        score = float(probability[mask].max())
        if mask.sum() >= least_px and score >= threshold:
            found.append(Component(mask, score))
    return found


def peaks(score: Map, inside: Mask, pixel_size_mm: float) -> list[tuple[int, int, float]]:
    """Strongest local maxima of a smoothed map, at least `MARK_DISTANCE_MM` apart.

    Parameters
    ----------
    score
        ``(height, width)``.
    inside
        Where a mark may lie, such as the breast.

    Returns
    -------
    list of (row, column, score)
        Strongest first, at most `MAX_MARKS`.
    """
    smooth = ndimage.gaussian_filter(score, MARK_SMOOTHING_MM / pixel_size_mm)
    smooth = np.where(inside, smooth, -np.inf)
    size = 2 * int(MARK_DISTANCE_MM / pixel_size_mm) + 1
    highest = (smooth == ndimage.maximum_filter(smooth, size=size)) & np.isfinite(smooth)
    rows, columns = np.nonzero(highest)
    order = np.argsort(-smooth[rows, columns], kind="stable")[:MAX_MARKS]
    return [(int(rows[i]), int(columns[i]), float(smooth[rows[i], columns[i]])) for i in order]


def judge(
    marked: list[tuple[int, int, float]], lesions: Mask, pixel_size_mm: float, margin_mm: float = 0
) -> Marks:
    """Sort marks into hits and false ones.

    Parameters
    ----------
    lesions
        ``(height, width)``; each connected region is one lesion.
    margin_mm
        A mark so near a lesion still hits it.
    """
    labels, count = ndimage.label(lesions, structure=np.ones((3, 3)))
    if margin_mm > 0 and count:
        distance, nearest = ndimage.distance_transform_edt(labels == 0, return_indices=True)
        reach = distance * pixel_size_mm <= margin_mm
        labels = np.where(reach, labels[tuple(nearest)], 0)
    hits = [-np.inf] * count
    false = []
    for row, column, score in marked:
        label = int(labels[row, column])
        if label:
            hits[label - 1] = max(hits[label - 1], score)
        else:
            false.append(score)
    return Marks(tuple(hits), tuple(false))


def blobness(image: Map, inside: Mask, pixel_size_mm: float) -> Map:
    """Trivial detector to compare with: how much a spot outshines its surroundings.

    Difference of the means over Gaussian windows of 4 mm and 12 mm, inside the breast only.

    Returns
    -------
    ndarray
        ``(height, width)``; 0 outside.
    """
    weight = inside.astype(np.float32)

    def mean(sigma_mm: float) -> Map:
        sigma = sigma_mm / pixel_size_mm
        total = ndimage.gaussian_filter(image * weight, sigma)
        share = ndimage.gaussian_filter(weight, sigma)
        average: Map = total / np.maximum(share, 1e-3)
        return average

    difference: Map = np.where(inside, mean(4.0) - mean(12.0), 0.0).astype(np.float32)
    return difference
