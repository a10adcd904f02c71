"""From stored values to what a monitor shows: the grayscale transformations of PS3.4 N.2.

Modality LUT, VOI LUT or window, presentation LUT; in float, so that nothing is lost to a
display's 8 bits. Headers are read with tolerance: a transformation that cannot be read is left
out, and where no usable one of the VOI remains, the range of the values is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from oncopixel_pacs.imaging.codecs import is_right_justified

_Values = NDArray[np.float32]
_Mask = NDArray[np.bool_]

#: Values that are transformed at a time: they stay in the cache of one core from one step to the
#: next, where an image of 27 MB would go to memory and back for each.
_PART_VALUES = 1 << 16
#: Less than that between the darkest and the brightest value shows nothing.
_LEAST_DIFFERENCE = 0.01


def present(stored: NDArray[Any], dataset: Dataset) -> _Values:
    """Apply an image's own grayscale transformations.

    Parameters
    ----------
    stored
        Integer ``(rows, columns)``, as decoded.
    dataset
        The image's header.

    Returns
    -------
    numpy.ndarray
        float32 ``(rows, columns)`` in ``[0, 1]``; air is dark, whatever the file's polarity,
        and so is padding.
    """
    stored = right_justified(stored, dataset)
    padding = _padding(stored, dataset)
    shown = _voi(stored, dataset, padding)
    if _inverted(shown, dataset):
        np.subtract(1, shown, out=shown)
    if padding is not None:
        shown[padding] = 0
    return shown


def right_justified(stored: NDArray[Any], dataset: Dataset) -> NDArray[Any]:
    """Move values to the low end of their words where High Bit says that they are at the high end.

    Units of old wrote them so. What has values in the bits below, too, is right-justified
    already, whatever its header says; of that the bits above Bits Stored are left out.
    """
    if is_right_justified(dataset) or stored.dtype.kind not in "iu":
        return stored
    allocated, bits = stored.dtype.itemsize * 8, int(dataset.BitsStored)
    low = int(dataset.HighBit) + 1 - bits
    if not (0 < bits <= allocated and 0 < low <= allocated - bits):
        return stored
    if (stored & ((1 << low) - 1)).any():
        low = 0
    moved: NDArray[Any] = stored << (allocated - bits - low) >> (allocated - bits)
    return moved


def own_window(dataset: Dataset) -> tuple[float, float]:
    """Centre and width of an image's first window, PS3.3 C.11.2.1.2; else of all its bits hold."""
    centre, width = _first(dataset, "WindowCenter"), _first(dataset, "WindowWidth")
    if centre is not None and width is not None and width >= 1:
        return centre, width
    values = 2.0 ** (_first(dataset, "BitsStored") or 12)
    slope = _first(dataset, "RescaleSlope") or 1.0
    return (_first(dataset, "RescaleIntercept") or 0.0) + slope * values / 2, abs(slope) * values


@dataclass(frozen=True, slots=True)
class Lut:
    """A LUT of PS3.3 C.11.1.1 or C.11.2.1.1: `first` is the value that the first entry is for."""

    first: int
    bits: int
    entries: NDArray[np.float32]

    def __call__(self, values: NDArray[Any]) -> _Values:
        """Map values; those before the first entry or after the last get that one's."""
        index = np.rint(values).astype(np.int32) - self.first
        mapped: _Values = self.entries[np.clip(index, 0, len(self.entries) - 1)]
        return mapped


def _modality(dataset: Dataset) -> Callable[[NDArray[Any]], _Values]:
    """Give what turns some stored values into a new array of those that they stand for."""
    lut = read_lut(dataset, "ModalityLUTSequence")
    if lut is not None:
        return lut
    slope, intercept = _first(dataset, "RescaleSlope"), _first(dataset, "RescaleIntercept")

    def rescaled(stored: NDArray[Any]) -> _Values:
        values = stored.astype(np.float32)
        if slope not in (None, 0.0, 1.0):
            values *= np.float32(slope)
        if intercept:
            values += np.float32(intercept)
        return values

    return rescaled


def _by_parts(stored: NDArray[Any], transformed: Callable[[NDArray[Any]], _Values]) -> _Values:
    """Transform an image, some rows at a time."""
    values = np.empty(stored.shape, dtype=np.float32)
    rows = max(_PART_VALUES // max(stored.shape[1], 1), 1)
    for begin in range(0, len(stored), rows):
        values[begin : begin + rows] = transformed(stored[begin : begin + rows])
    return values


def _voi(stored: NDArray[Any], dataset: Dataset, padding: _Mask | None) -> _Values:
    """Apply the first VOI LUT, else the first window, else the range of the values.

    Units that write both a LUT and windows mean the LUT: it holds their own tone curve, which
    a window only approximates. What shows hardly any difference is not what was meant.
    """
    modality = _modality(dataset)
    lut = read_lut(dataset, "VOILUTSequence")
    if lut is not None:
        brightest = np.float32(2**lut.bits - 1)
        shown = _by_parts(stored, lambda part: np.clip(lut(modality(part)) / brightest, 0, 1))
        if _differs(shown):
            return shown
    window = read_window(dataset)
    if window is not None:
        shown = _by_parts(stored, lambda part: _windowed(modality(part), *window))
        if _differs(shown):
            return shown
    values = _by_parts(stored, modality)
    known = values if padding is None or padding.all() else values[~padding]
    low, high = float(known.min()), float(known.max())
    return _windowed(values, (low + high) / 2, max(high - low, 1e-6), "LINEAR_EXACT")


def _differs(shown: _Values) -> bool:
    # A few rows tell it of nearly every image.
    return bool(np.ptp(shown[::64]) > _LEAST_DIFFERENCE or np.ptp(shown) > _LEAST_DIFFERENCE)


def read_window(dataset: Dataset) -> tuple[float, float, str] | None:
    """Read ``(centre, width, function)`` of the first window; ``None`` when it is unusable."""
    centre, width = _first(dataset, "WindowCenter"), _first(dataset, "WindowWidth")
    function = _word(dataset, "VOILUTFunction")
    if function not in ("LINEAR_EXACT", "SIGMOID"):
        function = "LINEAR"
    if centre is None or width is None or width <= 0 or (function == "LINEAR" and width < 1):
        return None
    return centre, width, function


def _windowed(values: _Values, centre: float, width: float, function: str) -> _Values:
    """Map values to ``[0, 1]`` in place, as PS3.3 C.11.2.1.2.1 and C.11.2.1.3 say."""
    if function == "SIGMOID":
        return np.asarray(
            1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -60, 60))), dtype=np.float32
        )
    if function == "LINEAR" and width == 1:
        return np.where(values > centre - 0.5, np.float32(1), np.float32(0))
    exact = function != "LINEAR"
    values -= np.float32(centre if exact else centre - 0.5)
    values /= np.float32(width if exact else width - 1)
    values += np.float32(0.5)
    return np.clip(values, 0, 1, out=values)


def _inverted(shown: _Values, dataset: Dataset) -> bool:
    """Whether low values are shown bright: one inversion, though two attributes may say it.

    MONOCHROME1 and Presentation LUT Shape INVERSE say the same thing (PS3.3 C.8.11.7.1.2).
    Where they contradict each other the picture decides: most of a mammogram's border is air.
    """
    photometric = _word(dataset, "PhotometricInterpretation") == "MONOCHROME1"
    shape = _word(dataset, "PresentationLUTShape")
    if shape not in ("INVERSE", "IDENTITY") or (shape == "INVERSE") == photometric:
        return photometric
    border = np.concatenate([shown[0], shown[-1], shown[:, 0], shown[:, -1]])
    return bool(np.median(border) > 0.5)


def _padding(stored: NDArray[Any], dataset: Dataset) -> _Mask | None:
    """Find the pixels that Pixel Padding Value and Range Limit mark (PS3.3 C.7.5.1.1.2)."""
    value = _first(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = _first(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    marked: _Mask = (stored >= low) & (stored <= high)
    return marked


def read_lut(dataset: Dataset, keyword: str) -> Lut | None:
    """Read the first LUT of a sequence; ``None`` when there is none or it is unusable."""
    try:
        item = dataset[keyword].value[0]
        count, first, bits = (int(value) for value in item.LUTDescriptor)
        data = item.LUTData
        if isinstance(data, bytes):
            if item.original_encoding == (False, False):
                # Big Endian: the parser leaves OW as it stands in the file.
                data = np.frombuffer(data, ">u2").astype("<u2").tobytes()
            wide = len(data) >= 2 * (count or 1 << 16)
            entries = np.frombuffer(data, "<u2" if wide else "u1")
        else:
            entries = np.asarray(data, dtype=np.int64) & 0xFFFF
        signed = int(dataset.get("PixelRepresentation") or 0) == 1
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return None
    if not 8 <= bits <= 16 or entries.size < 2:
        return None
    if signed and keyword == "ModalityLUTSequence" and first > 0x7FFF:
        first -= 0x10000
    entries = entries[: count or 1 << 16]
    return Lut(first, bits, entries.astype(np.float32))


def _first(dataset: Dataset, keyword: str) -> float | None:
    """Read the first value of a numeric attribute; ``None`` when it is no finite number."""
    try:
        value = dataset.get(keyword)
        number = float(value if np.ndim(value) == 0 else value[0])
    except (TypeError, ValueError, IndexError):
        return None
    return number if np.isfinite(number) else None


def _word(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip().upper()
