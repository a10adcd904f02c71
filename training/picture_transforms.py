"""Augmentation of pictures that may lie any way up; values in [-1, 1]."""

from __future__ import annotations

from typing import Any, Literal

from monai.transforms.compose import Compose
from monai.transforms.intensity.dictionary import RandScaleIntensityd, RandShiftIntensityd
from monai.transforms.spatial.dictionary import RandFlipd, RandRotate90d

Flips = Literal["all", "mirror", "upside_down", "none"]


def picture_augmentation(flips: Flips, *, with_label: bool) -> Any:
    """Flips, quarter turns and a little of brightness and contrast.

    Parameters
    ----------
    flips
        ``all``: both axes and quarter turns; ``mirror``: left to right; ``upside_down``: top to
        bottom.
    with_label
        Whether ``label``, a mask, goes along.

    Returns
    -------
    callable
        From ``{"image"[, "label"]}`` to the same; arrays ``(channels, height, width)``.
    """
    keys = ("image", "label") if with_label else ("image",)
    moves: list[Any] = []
    if flips in ("all", "upside_down"):
        moves.append(RandFlipd(keys, prob=0.5, spatial_axis=0))
    if flips in ("all", "mirror"):
        moves.append(RandFlipd(keys, prob=0.5, spatial_axis=1))
    if flips == "all":
        moves.append(RandRotate90d(keys, prob=0.5, max_k=3))
    return Compose(
        [
            *moves,
            RandScaleIntensityd(("image",), factors=0.1, prob=0.3, channel_wise=True),
            RandShiftIntensityd(("image",), offsets=0.1, prob=0.3, channel_wise=True),
        ]
    )
