"""Augmentation of prepared breasts, and of pictures that may lie any way up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from monai.transforms.compose import Compose
from monai.transforms.croppad.dictionary import RandSpatialCropd, SpatialPadd
from monai.transforms.intensity.dictionary import RandScaleIntensityd, RandShiftIntensityd
from monai.transforms.spatial.dictionary import RandFlipd, RandRotate90d

from training.transforms import image_augmentation

_BOTH = ("image", "label")
Flips = Literal["all", "mirror", "upside_down", "none"]


def breast_augmentation(size: Sequence[int]) -> Any:
    """Augment prepared mammograms, padded or cut to one size.

    Padding is at the bottom and right, since the chest wall lies at column 0.

    Parameters
    ----------
    size
        ``(height, width)`` of the result.

    Returns
    -------
    callable
        From ``{"image", "label"}`` to the same; arrays ``(1, height, width)``.
    """
    return Compose(
        [
            image_augmentation(),
            SpatialPadd(_BOTH, size, method="end"),
            RandSpatialCropd(_BOTH, size, random_size=False),
        ]
    )


def picture_augmentation(flips: Flips) -> Any:
    """Flips, quarter turns and a little of brightness and contrast.

    Parameters
    ----------
    flips
        ``all``: both axes and quarter turns; ``mirror``: left to right; ``upside_down``: top to
        bottom.

    Returns
    -------
    callable
        From ``{"image", "label"}`` to the same; arrays ``(channels, height, width)``.
    """
    moves: list[Any] = []
    if flips in ("all", "upside_down"):
        moves.append(RandFlipd(_BOTH, prob=0.5, spatial_axis=0))
    if flips in ("all", "mirror"):
        moves.append(RandFlipd(_BOTH, prob=0.5, spatial_axis=1))
    if flips == "all":
        moves.append(RandRotate90d(_BOTH, prob=0.5, max_k=3))
    return Compose(
        [
            *moves,
            RandScaleIntensityd(("image",), factors=0.1, prob=0.3, channel_wise=True),
            RandShiftIntensityd(("image",), offsets=0.1, prob=0.3, channel_wise=True),
        ]
    )
