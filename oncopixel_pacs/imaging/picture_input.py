"""Pictures other than mammograms as models read them; training and serving share it.

Histopathology and MRI pictures have no breast to find: they are brought to one size by area
average and centred around 0.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from oncopixel_pacs.imaging.geometry import area_resample

#: Raised with every change that may alter a value; part of the digest that models carry.
PICTURE_INPUT_VERSION = 1

_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


@dataclass(frozen=True, slots=True)
class PictureInput:
    """How a picture becomes the input of a network.

    Attributes
    ----------
    channels
        3 for RGB, 1 for grey.
    height, width
        Size of the input in pixels, whatever the shape of the picture.
    """

    channels: int
    height: int
    width: int

    def digest(self) -> str:
        """SHA-256 of the version and the parameters."""
        text = json.dumps({"version": PICTURE_INPUT_VERSION, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def prepare(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """Bring a picture to the network's size and values.

        Parameters
        ----------
        picture
            float32 ``(1 or 3, rows, columns)`` in [0, 1].

        Returns
        -------
        ndarray
            float32 ``(channels, height, width)`` in [-1, 1].

        Raises
        ------
        ValueError
            When the picture has another number of channels than 1 or 3.
        """
        picture = _with_channels(picture, self.channels)
        shape = (self.height, self.width)
        resized = np.stack([area_resample(channel, shape) for channel in picture])
        return np.ascontiguousarray((resized - 0.5) / 0.5, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class AsShown:
    """A picture as people see it, whole, for a bundle that prepares it by itself."""

    channels: int

    def prepare(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give float32 ``(channels, rows, columns)`` in [0, 1]; see `PictureInput.prepare`."""
        return np.ascontiguousarray(_with_channels(picture, self.channels), dtype=np.float32)


def _with_channels(picture: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    if picture.ndim != 3 or picture.shape[0] not in (1, 3):
        raise ValueError(f"A picture of shape {picture.shape} is neither grey nor RGB.")
    if channels == 1 and picture.shape[0] == 3:
        return np.asarray(np.tensordot(_GREY, picture, axes=1)[None], dtype=np.float32)
    if channels == 3 and picture.shape[0] == 1:
        return np.repeat(picture, 3, axis=0)
    return picture
