"""From a Part 10 file to what a radiologist sees on the monitor, as an array.

The grayscale transformations follow PS3.4 N.2: modality LUT, VOI LUT, presentation LUT. The
array is float, so nothing is lost to a display's 8 bits.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from oncopixel_pacs.domain import ImageFacts, Reason
from oncopixel_pacs.errors import UnreadableImage
from oncopixel_pacs.imaging import codecs
from oncopixel_pacs.imaging.header import read_image_facts

#: Larger images than any mammography detector makes are not decoded.
MAX_PIXELS = 8192 * 8192


@dataclass(frozen=True, slots=True)
class Mammogram:
    """One image as it is meant to be looked at.

    Attributes
    ----------
    pixels
        float32 ``(rows, columns)`` in ``[0, 1]``; air is dark, whatever the file's polarity.
    """

    pixels: NDArray[np.float32]
    facts: ImageFacts


def read_mammogram(path: Path) -> Mammogram:
    """Decode an image and apply its own grayscale transformations.

    Raises
    ------
    UnreadableImage
        With the reason: no pixel data, more than one frame, colour, or pixel data that cannot
        be decoded, be it damaged, cut short or of another size than the header says.
    OSError, MemoryError
        Passing trouble of this machine, which says nothing about the image.
    """
    with warnings.catch_warnings():
        # Warnings of the parser quote values of the header.
        warnings.simplefilter("ignore")
        try:
            dataset = dcmread(path)
            facts = read_image_facts(dataset)
        except (InvalidDicomError, ValueError, EOFError, RecursionError) as exc:
            raise UnreadableImage(
                Reason.UNREADABLE_PIXELS, f"The file cannot be parsed ({type(exc).__name__})."
            ) from exc
        _require_plain(facts)
        if not dataset.get("PixelData"):
            raise UnreadableImage(Reason.NO_PIXEL_DATA, "The element is empty.")
        stored = _decode(dataset, facts)
        return Mammogram(_present(stored, dataset), facts)


def _require_plain(facts: ImageFacts) -> None:
    if not facts.has_pixel_data:
        raise UnreadableImage(Reason.NO_PIXEL_DATA, "")
    if facts.frames != 1:
        raise UnreadableImage(Reason.MULTI_FRAME, f"It has {facts.frames}.")
    if facts.samples_per_pixel != 1 or not facts.photometric.startswith("MONOCHROME"):
        raise UnreadableImage(Reason.NOT_MONOCHROME, "")
    if not 0 < facts.rows * facts.columns <= MAX_PIXELS:
        raise UnreadableImage(
            Reason.UNREADABLE_PIXELS,
            f"Rows and Columns are {facts.rows} x {facts.columns}.",
        )


def _decode(dataset: Dataset, facts: ImageFacts) -> NDArray[Any]:
    codecs.register()
    try:
        stored = dataset.pixel_array
    except (
        AttributeError,
        RuntimeError,
        ValueError,
        TypeError,
        NotImplementedError,
        KeyError,
        EOFError,
    ) as exc:
        raise UnreadableImage(Reason.UNREADABLE_PIXELS, _first_line(exc)) from exc
    if stored.shape != (facts.rows, facts.columns):
        raise UnreadableImage(
            Reason.UNREADABLE_PIXELS, "The decoded pixels have another shape than the header says."
        )
    array: NDArray[Any] = stored
    return array


def _present(stored: NDArray[Any], dataset: Dataset) -> NDArray[np.float32]:
    values = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float32)
    padding = _padding(stored, dataset)
    # Units that write both mean the LUT: it is their own processing, the windows approximate it.
    if "VOILUTSequence" in dataset and (shaped := _by_lut(stored, dataset)) is not None:
        shown = shaped
    else:
        shown = _by_window(values, dataset, ~padding)
    if _inverted(dataset):
        shown = 1 - shown
    shown[padding] = 0
    return shown


def _by_lut(stored: NDArray[Any], dataset: Dataset) -> NDArray[np.float32] | None:
    """Apply the first VOI LUT (PS3.3 C.11.2.1.1); ``None`` when it is unusable."""
    try:
        item = dataset.VOILUTSequence[0]
        bits = int(item.LUTDescriptor[2])
        shaped = apply_voi_lut(stored, dataset, index=0, prefer_lut=True)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, NotImplementedError):
        return None
    if not 8 <= bits <= 16:
        return None
    return np.asarray(np.clip(shaped / np.float32(2**bits - 1), 0, 1), dtype=np.float32)


def _by_window(
    values: NDArray[np.float32], dataset: Dataset, inside: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Apply the first window (PS3.3 C.11.2.1.2 and C.11.2.1.3), or the range of the values."""
    centre, width = _first(dataset, "WindowCenter"), _first(dataset, "WindowWidth")
    function = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
    if centre is None or width is None or not np.isfinite([centre, width]).all() or width < 1:
        known = values[inside] if inside.any() else values
        low, high = float(known.min()), float(known.max())
        centre, width, function = (low + high) / 2, max(high - low, 1e-6), "LINEAR_EXACT"
    if function == "SIGMOID":
        shown = 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -60, 60)))
    elif function == "LINEAR_EXACT" or width == 1:
        shown = (values - centre) / width + 0.5
    else:
        shown = (values - (centre - 0.5)) / (width - 1) + 0.5
    return np.asarray(np.clip(shown, 0, 1), dtype=np.float32)


def _inverted(dataset: Dataset) -> bool:
    """Whether low values are shown bright: one inversion, though two attributes may say it.

    MONOCHROME1 and Presentation LUT Shape INVERSE say the same thing (PS3.3 C.8.11.7.1.2), so
    INVERSE counts only where the photometric interpretation is missing or contradicts it.
    """
    shape = str(dataset.get("PresentationLUTShape") or "").upper()
    if shape in ("INVERSE", "IDENTITY"):
        return shape == "INVERSE"
    return str(dataset.get("PhotometricInterpretation") or "").upper() == "MONOCHROME1"


def _padding(stored: NDArray[Any], dataset: Dataset) -> NDArray[np.bool_]:
    """Find the pixels that Pixel Padding Value and Range Limit mark (PS3.3 C.7.5.1.1.2)."""
    value = _first(dataset, "PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = _first(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    marked: NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return marked


def _first(dataset: Dataset, keyword: str) -> float | None:
    try:
        value = dataset.get(keyword)
        if isinstance(value, MultiValue | list | tuple):
            value = value[0]
        return None if value is None else float(value)
    except (TypeError, ValueError, IndexError):
        return None


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    said = text[-1].strip() if text else type(error).__name__
    return f"{said[:1].upper()}{said[1:].rstrip('.')}."
