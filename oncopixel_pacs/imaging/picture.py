"""From a Part 10 file of any single picture, grey or in colour, to what a person sees."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from oncopixel_pacs.domain import ImageFacts, Reason
from oncopixel_pacs.errors import UnreadableImage
from oncopixel_pacs.imaging.grayscale import present
from oncopixel_pacs.imaging.mammogram import Decoder, decode_here, quiet, read_stored


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture as it is meant to be looked at.

    Attributes
    ----------
    pixels
        float32 ``(1 or 3, rows, columns)`` in ``[0, 1]``: grey, or RGB.
    """

    pixels: NDArray[np.float32]
    facts: ImageFacts


def read_picture(path: Path, decoder: Decoder = decode_here) -> Picture:
    """Decode a picture and apply its own grayscale transformations or palette.

    Training and serving read DICOM pictures by this function.

    Raises
    ------
    UnreadableImage, OSError, MemoryError
        As `read_mammogram`, but colour is read.
    """
    stored, dataset, facts = read_stored(path, decoder, colour=True)
    with quiet():
        return Picture(_presented(stored, dataset), facts)


def _presented(stored: NDArray[Any], dataset: Dataset) -> NDArray[np.float32]:
    if str(dataset.PhotometricInterpretation) == "PALETTE COLOR":
        try:
            stored = apply_color_lut(stored, dataset)
        except (ValueError, AttributeError, KeyError, IndexError) as exc:
            raise UnreadableImage(
                Reason.UNREADABLE_PIXELS, f"Its palette is damaged ({type(exc).__name__})."
            ) from exc
        most = np.iinfo(stored.dtype).max
    elif stored.ndim == 3:
        most = (1 << int(dataset.BitsStored)) - 1
    else:
        return np.ascontiguousarray(present(stored, dataset)[None])
    channels = stored[..., :3].transpose(2, 0, 1).astype(np.float32) / np.float32(most)
    return np.ascontiguousarray(np.clip(channels, 0.0, 1.0))
