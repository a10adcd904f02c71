"""Augmentation, MONAI dictionary transforms; images ``(1, height, width)`` in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai.transforms.compose import Compose, OneOf
from monai.transforms.croppad.dictionary import (
    CenterSpatialCropd,
    RandCropByPosNegLabeld,
    SpatialPadd,
)
from monai.transforms.intensity.dictionary import (
    RandAdjustContrastd,
    RandCoarseDropoutd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandHistogramShiftd,
    RandScaleIntensityd,
    RandShiftIntensityd,
)
from monai.transforms.spatial.dictionary import Rand2DElasticd, RandAffined, RandFlipd

_IMAGE = "image"
_BOTH = ("image", "label")


def crop_augmentation(
    crop: Sequence[int], positive_share: float | None, strong: bool = False
) -> Any:
    """Random crops around lesions and elsewhere in the breast, with augmentation.

    Parameters
    ----------
    crop
        ``(height, width)`` of a crop in pixels of the model's grid.
    positive_share
        Probability that a crop is centred on a lesion; ``None`` for images without one.
    strong
        Whether to change images further, for trainings that see each of them often.

    Returns
    -------
    callable
        From ``{"image", "label", "breast"}`` to a list of one ``{"image", "label", …}``; these
        two have the crop's size.
    """
    # Cropping wider than wanted keeps rotation and zoom from dragging in made-up borders.
    wide = [side * 5 // 4 for side in crop]
    return Compose(
        [
            SpatialPadd(("image", "label", "breast"), wide),
            _crop(wide, positive_share),
            (_warped if strong else _affine)(_BOTH, ("bilinear", "nearest")),
            CenterSpatialCropd(_BOTH, crop),
            *_flips(_BOTH),
            *(_further_tone() if strong else ()),
            *_tone(),
            *(_holes() if strong else ()),
        ]
    )


def image_augmentation() -> Any:
    """Whole images with augmentation, in their own size.

    Returns
    -------
    callable
        From ``{"image", "label"}`` to the same.
    """
    return Compose([_affine(_BOTH, ("bilinear", "nearest")), *_flips(_BOTH), *_tone()])


def _crop(size: Sequence[int], positive_share: float | None) -> Any:
    if positive_share is None:
        return RandCropByPosNegLabeld(
            _BOTH, label_key="breast", spatial_size=size, pos=1.0, neg=0.0, allow_smaller=False
        )
    return RandCropByPosNegLabeld(
        _BOTH,
        label_key="label",
        spatial_size=size,
        pos=positive_share,
        neg=1.0 - positive_share,
        image_key="breast",
        image_threshold=0.5,
        allow_smaller=False,
    )


def _affine(keys: Sequence[str], modes: Sequence[str]) -> Any:
    return RandAffined(
        keys,
        prob=0.8,
        rotate_range=(0.26,),
        scale_range=(0.2, 0.2),
        shear_range=(0.08, 0.08),
        mode=modes,
        padding_mode="zeros",
    )


def _warped(keys: Sequence[str], modes: Sequence[str]) -> Any:
    drawn: dict[str, Any] = {
        "rotate_range": (0.35,),
        "scale_range": (0.25, 0.25),
        "shear_range": (0.1, 0.1),
        "mode": modes,
        "padding_mode": "zeros",
    }
    return OneOf(
        [
            RandAffined(keys, prob=0.8, **drawn),
            Rand2DElasticd(keys, spacing=(48, 48), magnitude_range=(0.0, 5.0), prob=1.0, **drawn),
        ],
        weights=(0.75, 0.25),
    )


def _flips(keys: Sequence[str]) -> list[Any]:
    # Never left to right: the preprocessing puts the chest wall at column 0.
    return [RandFlipd(keys, prob=0.5, spatial_axis=0)]


def _tone() -> list[Any]:
    return [
        RandAdjustContrastd((_IMAGE,), prob=0.5, gamma=(0.6, 1.6)),
        RandScaleIntensityd((_IMAGE,), factors=0.15, prob=0.3),
        RandShiftIntensityd((_IMAGE,), offsets=0.06, prob=0.3),
        RandGaussianNoised((_IMAGE,), prob=0.25, std=0.03),
        RandGaussianSmoothd((_IMAGE,), prob=0.15, sigma_x=(0.4, 1.0), sigma_y=(0.4, 1.0)),
    ]


def _further_tone() -> list[Any]:
    return [RandHistogramShiftd((_IMAGE,), num_control_points=(4, 8), prob=0.25)]


def _holes() -> list[Any]:
    return [
        RandCoarseDropoutd(
            (_IMAGE,),
            holes=1,
            max_holes=4,
            spatial_size=16,
            max_spatial_size=48,
            fill_value=0.0,
            prob=0.25,
        )
    ]
