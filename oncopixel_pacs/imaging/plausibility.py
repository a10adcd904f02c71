"""Does the picture show a breast at all? Shape and structure of what was found, nothing learned.

A breast on a mammogram has a straight side, the chest wall, and a curved one, and tissue inside.
The limits were set on 258 mini-MIAS films, 527 CDD-CESM and 74 DDSM images so that none of them is
refused; of 291 heads in their place, at two sizes each, seven in eight are. A picture that passes
may still be no breast: this is a net below the header, not in its place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from oncopixel_pacs.domain import Reason
from oncopixel_pacs.errors import UnreadableImage
from oncopixel_pacs.imaging.preprocess import Search

_STRAIGHT_PX = 2  # 3 mm: how far a straight side may stray
_RIM_PX = 4  # 6 mm: the skin line and the fall-off beneath it say nothing of tissue


@dataclass(frozen=True, slots=True)
class Shape:
    """What was measured of the region that should be the breast.

    Attributes
    ----------
    share
        Of the picture that it fills.
    filling
        Of its bounding box: 1 for a rectangle, 0.79 for half an ellipse.
    straight, other
        Share of its rows that end on the left or right side of that box: the larger, the smaller.
    symmetry
        Overlap of the region with its own mirror image, 1 when they are the same.
    structure
        Correlation of neighbouring pixels: 0 for noise, near 1 for tissue.
    contrast
        Between bright and dark tissue inside, as a share of what the region rises above air.
    """

    share: float
    filling: float
    straight: float
    other: float
    symmetry: float
    structure: float
    contrast: float


def measure(searched: Search) -> Shape:
    """Measure the region that was found."""
    mask = searched.breast
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    mirrored = box[:, ::-1]
    sides = [float((half.argmax(axis=1) <= _STRAIGHT_PX).mean()) for half in (box, mirrored)]
    return Shape(
        share=float(mask.mean()),
        filling=float(box.mean()),
        straight=max(sides),
        other=min(sides),
        symmetry=float((box & mirrored).sum() / (box | mirrored).sum()),
        structure=_structure(searched.image, mask),
        contrast=_contrast(searched.image, mask),
    )


def require_breast(searched: Search) -> None:
    """Refuse a picture whose bright region is no breast.

    Raises
    ------
    UnreadableImage
        With `Reason.NOT_A_BREAST` and in words what speaks against it.
    """
    shape = measure(searched)
    against = next((words for words, holds in _AGAINST if holds(shape)), None)
    if against is not None:
        raise UnreadableImage(Reason.NOT_A_BREAST, against)


def _is_floating(shape: Shape) -> bool:
    one_sided = shape.straight - shape.other
    alike = shape.symmetry >= 0.85 and one_sided < 0.25 and shape.filling <= 0.97
    round_about = shape.symmetry >= 0.6 and one_sided < 0.15 and shape.straight < 0.6
    return alike or round_about


#: In this order: the first that holds is told.
_AGAINST = (
    ("It has no more structure than noise.", lambda s: s.structure < 0.45),
    ("It is as even as a test object or a field without one.", lambda s: s.contrast < 0.12),
    ("It fills the whole picture, without air anywhere.", lambda s: s.share > 0.95),
    ("It has no straight side where the chest wall would be.", _is_floating),
)


def _structure(image: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    inside = image[mask]
    varying = (image - inside.mean()) * mask
    pairs = mask[:, 1:] & mask[:, :-1]
    if not pairs.any():
        return 0.0
    together = float((varying[:, 1:] * varying[:, :-1])[pairs].mean())
    return together / max(float(inside.var()), 1e-9)


def _contrast(image: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    core = ndimage.binary_erosion(mask, iterations=_RIM_PX)
    inside = image[core] if core.any() else image[mask]
    dark, middle, bright = np.percentile(inside, (10, 50, 90))
    air = float(np.percentile(image, 1))
    return float(bright - dark) / max(float(middle) - air, 1e-6)
