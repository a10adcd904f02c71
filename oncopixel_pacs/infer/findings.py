"""From a probability map on the model's grid to findings in the stored pixels of the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure

from oncopixel_pacs.domain import Finding
from oncopixel_pacs.imaging.geometry import window_of
from oncopixel_pacs.infer.label_maps import Labels

MIN_AREA_MM2 = 25.0
"""Smaller regions are not reported: a disc of 5.6 mm across, 100 pixels of 0.5 mm."""
MAX_FINDINGS = 20
"""At most so many findings per image, the most probable ones."""
MAX_OUTLINE_POINTS = 100
"""At most so many points in an outline."""

_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)
_Points = NDArray[np.float64]


class ToStored(Protocol):
    """The part of `imaging.preprocess.Geometry` that findings need."""

    def labels_to_stored(self, labels: Labels) -> Labels:
        """From ``(height, width)`` on the model's grid to ``(rows, columns)`` as stored."""
        ...


@dataclass(frozen=True, slots=True)
class Naming:
    """How the findings of one image are called.

    Attributes
    ----------
    image_name
        Such as ``R MLO``; the first finding becomes ``R MLO 1``.
    tracking_uid
        From the number of a finding to its Tracking Unique Identifier (0062,0021).
    """

    image_name: str
    tracking_uid: Callable[[int], str]


def find_lesions(
    probability: NDArray[np.float32],
    breast: NDArray[np.bool_],
    geometry: ToStored,
    *,
    threshold: float,
    outline_threshold: float | None = None,
    pixel_size_mm: float,
    spacing_mm: tuple[float, float],
    naming: Naming,
) -> tuple[tuple[Finding, ...], Labels]:
    """Turn a probability map into findings.

    A region is a set of 8-connected pixels inside the breast at or above `outline_threshold`, of
    at least `MIN_AREA_MM2`, one of which is at or above `threshold`. The `MAX_FINDINGS` most
    probable become findings, numbered by falling probability, then from top to bottom and left to
    right.

    Parameters
    ----------
    probability
        ``(height, width)`` on the model's grid, in ``[0, 1]``.
    breast
        ``(height, width)``, true inside the breast.
    geometry
        Way back to the stored pixels.
    threshold
        Operating point of the segmenter.
    outline_threshold
        How far a region reaches; the operating point where it is absent or higher.
    pixel_size_mm
        Size of a pixel of the model's grid.
    spacing_mm
        ``(row, column)`` size of a stored pixel in the breast plane.
    naming
        How the findings are called.

    Returns
    -------
    findings : tuple of Finding
        Their probability is the highest of the region's pixels.
    labels : ndarray
        uint8 ``(rows, columns)``: 0 for background, ``k`` for finding ``k``.
    """
    lowest = threshold if outline_threshold is None else min(outline_threshold, threshold)
    regions, scores = _regions(probability, breast, (lowest, threshold), pixel_size_mm)
    stored = geometry.labels_to_stored(regions)
    # Findings are small: what is done to whole images takes longer than all the rest.
    window = window_of(stored)
    there = stored[window]
    labels = np.zeros(stored.shape, dtype=np.uint8)
    if not there.size:
        return (), labels
    findings: list[Finding] = []
    for region, box in enumerate(ndimage.find_objects(there, max_label=len(scores)), start=1):
        if box is None:  # wholly outside the stored image
            continue
        number = len(findings) + 1
        mask = there[box] == region
        labels[window][box][mask] = number
        origin = (window[0].start + box[0].start, window[1].start + box[1].start)
        score = scores[region - 1]
        findings.append(_finding(mask, origin, stored.shape, spacing_mm, number, score, naming))
    return tuple(findings), labels


def _regions(
    probability: NDArray[np.float32],
    breast: NDArray[np.bool_],
    thresholds: tuple[float, float],
    pixel_size_mm: float,
) -> tuple[Labels, list[float]]:
    """Label map of the regions to report, on the model's grid, and their probabilities."""
    lowest, threshold = thresholds
    # A threshold of zero must not make the whole background a finding.
    above = (probability >= lowest) & (probability > 0) & breast
    components, count = ndimage.label(above, structure=_EIGHT_NEIGHBOURS)
    numbers = np.arange(1, count + 1)
    areas = np.bincount(components.ravel(), minlength=count + 1)[1:] * pixel_size_mm**2
    peaks = np.asarray(ndimage.maximum(probability, components, numbers))
    large = numbers[(areas >= MIN_AREA_MM2) & (peaks >= threshold)]
    # scipy numbers components in reading order, so a stable sort breaks ties by position.
    kept = large[np.argsort(-peaks[large - 1], kind="stable")][:MAX_FINDINGS]
    relabel = np.zeros(count + 1, dtype=np.uint8)
    relabel[kept] = np.arange(1, len(kept) + 1)
    return relabel[components], [float(peaks[number - 1]) for number in kept]


def _finding(
    mask: NDArray[np.bool_],
    origin: tuple[int, int],
    image_shape: tuple[int, ...],
    spacing_mm: tuple[float, float],
    number: int,
    probability: float,
    naming: Naming,
) -> Finding:
    pixels = np.argwhere(mask)
    distances = (((pixels - pixels.mean(axis=0)) * spacing_mm) ** 2).sum(axis=1)
    row, column = pixels[distances.argmin()] + origin
    (shape,) = measure.regionprops(mask.astype(np.uint8), spacing=spacing_mm)
    # The ellipse of a line of pixels has no width, but the line is one pixel wide.
    short = max(float(shape.axis_minor_length), min(spacing_mm))
    return Finding(
        number=number,
        tracking_id=f"{naming.image_name} {number}",
        tracking_uid=naming.tracking_uid(number),
        probability=probability,
        centre=(float(row), float(column)),
        outline=_outline(mask, origin, image_shape),
        area_mm2=len(pixels) * spacing_mm[0] * spacing_mm[1],
        long_axis_mm=max(float(shape.axis_major_length), short),
        short_axis_mm=short,
    )


def _outline(
    mask: NDArray[np.bool_], origin: tuple[int, int], image_shape: tuple[int, ...]
) -> tuple[tuple[float, float], ...]:
    """Trace a closed polygon around the largest part of the mask, kept inside the image."""
    contours = measure.find_contours(np.pad(mask, 1).astype(float), 0.5, fully_connected="high")
    outer = max(contours, key=_enclosed_area)
    polygon = _simplify(outer) - 1 + origin
    polygon = np.clip(polygon, 0, np.asarray(image_shape) - 1)
    return tuple((float(row), float(column)) for row, column in polygon)


def _enclosed_area(polygon: _Points) -> float:
    """Area by the shoelace formula, in pixels."""
    rows, columns = polygon[:, 0], polygon[:, 1]
    return abs(float(rows[:-1] @ columns[1:] - rows[1:] @ columns[:-1])) / 2


def _simplify(polygon: _Points) -> _Points:
    """Drop points that change the line by less than a pixel; more where there are too many."""
    tolerance = 1.0
    simple = polygon
    while tolerance == 1.0 or len(simple) > MAX_OUTLINE_POINTS:
        shorter: _Points = measure.approximate_polygon(polygon, tolerance)
        if len(shorter) < 4:  # a closed line needs three corners
            return simple
        simple, tolerance = shorter, tolerance * 1.5
    return simple
