"""A frame as a person sees it: 8-bit grey or RGB, scaled to fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from oncopixel_pacs.imaging.frames import FrameDecoder, StoredObject
from oncopixel_pacs.imaging.grayscale import present

#: Functional groups that hold what the grayscale transformations read (PS3.3 C.7.6.16).
_GROUPS = ("FrameVOILUTSequence", "PixelValueTransformationSequence")


@dataclass(frozen=True, slots=True)
class Window:
    """A window that is asked for instead of the image's own (PS3.3 C.11.2.1.2)."""

    centre: float
    width: float
    function: str = "LINEAR"


def render(
    stored: StoredObject,
    index: int,
    decoder: FrameDecoder,
    *,
    window: Window | None = None,
    size: tuple[int, int] | None = None,
) -> Image.Image:
    """Draw one frame.

    Parameters
    ----------
    index
        Zero-based frame.
    decoder
        Where a compressed one is decoded.
    size
        ``(width, height)`` that it must fit in, kept in proportion and never enlarged.

    Raises
    ------
    UnreadableImage
        When there is no such frame, or it cannot be decoded.
    """
    pixels = stored.pixels(index, decoder)
    header = _frame_header(stored.header, index, window)
    if pixels.ndim == 3:
        shift = max(int(stored.header.get("BitsStored") or 8) - 8, 0)
        drawn = (pixels >> shift).astype(np.uint8)
    elif str(header.get("PhotometricInterpretation")) == "PALETTE COLOR":
        coloured = apply_color_lut(pixels, header)
        drawn = (coloured >> (8 * (coloured.dtype.itemsize - 1))).astype(np.uint8)
    else:
        drawn = np.rint(present(pixels, header) * 255).astype(np.uint8)
    image = Image.fromarray(drawn)
    if size is not None:
        image.thumbnail(size, Image.Resampling.LANCZOS)
    return image


def _frame_header(header: Dataset, index: int, window: Window | None) -> Dataset:
    """Header with the frame's own transformations on its first level."""
    found = Dataset()
    found.update(header)
    for keyword, number in (
        ("SharedFunctionalGroupsSequence", 0),
        ("PerFrameFunctionalGroupsSequence", index),
    ):
        groups = header.get(keyword) or []
        for name in _GROUPS if number < len(groups) else ():
            for item in groups[number].get(name) or []:
                found.update(item)
    if window is not None:
        found.pop("VOILUTSequence", None)
        found.WindowCenter, found.WindowWidth = window.centre, window.width
        found.VOILUTFunction = window.function
    return found
