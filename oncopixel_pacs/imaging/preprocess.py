"""The one preprocessing that training and serving share: find, crop, orient, resample, scale."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from oncopixel_pacs.domain import Reason
from oncopixel_pacs.errors import UnreadableImage
from oncopixel_pacs.imaging.geometry import Geometry, area_resample

#: Raised with every change that may alter a pixel; part of the digest that models carry.
PREPROCESSING_VERSION = 3

_Image = NDArray[np.float32]
_Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Parameters of the preprocessing.

    Attributes
    ----------
    pixel_size_mm
        Size of a pixel of the model grid.
    multiple_px
        Height and width of the model grid are multiples of it.
    margin_mm
        Kept around the breast.
    search_mm
        Pixel size at which the breast is looked for.
    lower_percentile, upper_percentile
        Of the values inside the breast: they become 0 and 1.
    least_area_mm2
        A smaller bright region is no breast.
    """

    pixel_size_mm: float = 0.5
    multiple_px: int = 32
    margin_mm: float = 5.0
    search_mm: float = 1.5
    lower_percentile: float = 1.0
    upper_percentile: float = 99.5
    least_area_mm2: float = 1500.0

    def digest(self) -> str:
        """SHA-256 of the version and the parameters."""
        text = json.dumps({"version": PREPROCESSING_VERSION, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image as a model reads it.

    Attributes
    ----------
    image
        float32 ``(1, height, width)`` in ``[0, 1]``, chest wall at column 0, padded with 0.
    breast
        bool ``(height, width)``, true inside the breast.
    geometry
        The way back to stored pixels.
    """

    image: _Image
    breast: _Mask
    geometry: Geometry


@dataclass(frozen=True, slots=True)
class Search:
    """Where the breast is, at the coarse size at which it was looked for.

    Attributes
    ----------
    image
        float32 ``(rows, columns)`` in ``[0, 1]``, pixels of `Preprocessing.search_mm`.
    breast
        bool, same shape.
    """

    image: _Image
    breast: _Mask


def search(
    pixels: _Image,
    spacing_mm: tuple[float, float],
    preprocessing: Preprocessing = Preprocessing(),  # noqa: B008 - frozen
) -> Search:
    """Look for the breast.

    Parameters
    ----------
    pixels, spacing_mm
        As for `prepare`.

    Raises
    ------
    UnreadableImage
        With `Reason.BLANK`, or `Reason.NO_BREAST` when no breast is found.
    """
    coarse_shape = _shape_at(pixels.shape, spacing_mm, preprocessing.search_mm)
    coarse = area_resample(pixels, coarse_shape)
    return Search(coarse, _find_breast(coarse, preprocessing))


def prepare(
    pixels: _Image,
    spacing_mm: tuple[float, float],
    preprocessing: Preprocessing = Preprocessing(),  # noqa: B008 - frozen
    searched: Search | None = None,
) -> Prepared:
    """Prepare an image for the models.

    Parameters
    ----------
    pixels
        float32 ``(rows, columns)`` in ``[0, 1]``, air dark.
    spacing_mm
        ``(row, column)`` size of a pixel.
    searched
        What `search` found in the same pixels; looked for here when absent.

    Raises
    ------
    UnreadableImage
        With `Reason.BLANK`, or `Reason.NO_BREAST` when no breast is found.
    """
    found = (searched or search(pixels, spacing_mm, preprocessing)).breast
    scale = (pixels.shape[0] / found.shape[0], pixels.shape[1] / found.shape[1])
    crop = _crop(found, scale, pixels.shape, preprocessing)
    content = _shape_at(crop[2:], spacing_mm, preprocessing.pixel_size_mm)
    geometry = Geometry(
        stored_shape=(pixels.shape[0], pixels.shape[1]),
        crop=crop,
        mirrored=_chest_wall_is_right(found),
        content_shape=content,
        model_shape=_padded(content, preprocessing.multiple_px),
    )
    image = geometry.image_to_model(pixels)
    breast = _breast_on_grid(found, scale, geometry)
    return Prepared(_scaled(image, breast, geometry, preprocessing)[None], breast, geometry)


def _find_breast(coarse: _Image, preprocessing: Preprocessing) -> _Mask:
    """Find the largest bright region, without labels, borders and thin bridges to them."""
    smooth = ndimage.gaussian_filter(coarse, 1.0)
    low, high = np.percentile(smooth, (1, 99))
    if not np.isfinite(smooth).all() or high - low < 1e-3:
        raise UnreadableImage(Reason.BLANK, "")
    # The skin line is dark: the threshold lies well below the usual tissue.
    level = low + 0.35 * (threshold_otsu(np.clip(smooth, low, high)) - low)
    region = _largest_region(smooth, level, preprocessing)
    end_of_air = _end_of_air(smooth, level)
    if end_of_air is not None:
        wider = _largest_region(smooth, end_of_air, preprocessing)
        region = wider if _has_texture(wider & ~region, coarse, smooth, level) else region
    area_mm2 = float(region.sum()) * preprocessing.search_mm**2
    if area_mm2 < preprocessing.least_area_mm2:
        raise UnreadableImage(
            Reason.NO_BREAST, f"The largest bright region has only {area_mm2:.0f} mm2."
        )
    mask: _Mask = ndimage.binary_dilation(region, _disc(1))
    return mask


def _largest_region(smooth: _Image, level: float, preprocessing: Preprocessing) -> _Mask:
    bright = _without_film_edges(smooth > level, smooth >= 0.98)
    radius = max(round(4.0 / preprocessing.search_mm), 1)
    opened = ndimage.binary_opening(np.pad(bright, radius, mode="edge"), _disc(radius))
    labels, count = ndimage.label(opened[radius:-radius, radius:-radius])
    if count == 0:
        raise UnreadableImage(Reason.NO_BREAST, "There is no bright region.")
    region = labels == int(np.bincount(labels.ravel())[1:].argmax()) + 1
    filled: _Mask = ndimage.binary_fill_holes(np.pad(region, 1, mode="edge"))[1:-1, 1:-1]
    return filled


def _end_of_air(smooth: _Image, level: float) -> float | None:
    """Value just above air, where air is one sharp peak of the histogram as a detector gives it.

    Fat may be hardly brighter than such air, and darker than `level`.
    """
    width = 0.004
    counts, edges = np.histogram(smooth, bins=np.arange(0, level + width, width))
    peak = int(counts.argmax())
    if counts[peak] < 0.2 * smooth.size or counts[peak + 1 : peak + 2].sum() > 0.03 * counts[peak]:
        return None
    return min(float(edges[peak]) + 3 * width, level)


def _has_texture(added: _Mask, coarse: _Image, smooth: _Image, level: float) -> bool:
    """Whether a region looks like fat, which has strands, and not like smoothly glowing film."""
    if not added.any():
        return False
    return bool(np.median(np.abs(coarse - smooth)[added]) > 0.05 * level)


def _without_film_edges(bright: _Mask, saturated: _Mask) -> _Mask:
    """Drop rows and columns at the border that are almost wholly white: the film's own edge."""
    kept = bright.copy()
    for axis in (0, 1):
        for order in (1, -1):
            share = np.moveaxis(saturated, axis, 0)[::order].mean(axis=1)
            limit = max(len(share) // 12, 1)
            edge = int(np.argmin(np.r_[share[:limit] > 0.9, False]))
            np.moveaxis(kept, axis, 0)[::order][:edge] = False
    return kept


def _crop(
    found: _Mask,
    scale: tuple[float, float],
    shape: tuple[int, ...],
    preprocessing: Preprocessing,
) -> tuple[int, int, int, int]:
    margin = preprocessing.margin_mm / preprocessing.search_mm
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    top = max(int((rows[0] - margin) * scale[0]), 0)
    bottom = min(int(np.ceil((rows[-1] + 1 + margin) * scale[0])), shape[0])
    left = max(int((columns[0] - margin) * scale[1]), 0)
    right = min(int(np.ceil((columns[-1] + 1 + margin) * scale[1])), shape[1])
    return top, left, bottom - top, right - left


def _chest_wall_is_right(found: _Mask) -> bool:
    """Whether the breast leans on the right border: its columns there are the tallest."""
    columns = np.flatnonzero(found.any(axis=0))
    heights = found[:, columns[0] : columns[-1] + 1].sum(axis=0)
    band = max(len(heights) // 8, 1)
    return bool(heights[-band:].sum() > heights[:band].sum())


def _breast_on_grid(found: _Mask, scale: tuple[float, float], geometry: Geometry) -> _Mask:
    height, width = geometry.content_shape
    grid = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1)
    stored = geometry.to_stored(grid.reshape(-1, 2).astype(np.float64))
    coarse = np.floor((stored + 0.5) / scale).astype(np.int64)
    coarse = np.clip(coarse, 0, np.asarray(found.shape) - 1)
    out = np.zeros(geometry.model_shape, dtype=bool)
    out[:height, :width] = found[coarse[:, 0], coarse[:, 1]].reshape(height, width)
    return out


def _scaled(
    image: _Image, breast: _Mask, geometry: Geometry, preprocessing: Preprocessing
) -> _Image:
    inside = image[breast]
    low, high = np.percentile(
        inside, (preprocessing.lower_percentile, preprocessing.upper_percentile)
    )
    span = max(float(high - low), 1e-6)
    scaled = np.clip((image - np.float32(low)) / np.float32(span), 0, 1)
    scaled[~breast] = 0
    return np.asarray(scaled, dtype=np.float32)


def _shape_at(
    shape: tuple[int, ...], spacing_mm: tuple[float, float], pixel_size_mm: float
) -> tuple[int, int]:
    return (
        max(round(shape[0] * spacing_mm[0] / pixel_size_mm), 1),
        max(round(shape[1] * spacing_mm[1] / pixel_size_mm), 1),
    )


def _padded(shape: tuple[int, int], multiple: int) -> tuple[int, int]:
    return -(-shape[0] // multiple) * multiple, -(-shape[1] // multiple) * multiple


def _disc(radius: int) -> _Mask:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disc: _Mask = x * x + y * y <= radius * radius
    return disc
