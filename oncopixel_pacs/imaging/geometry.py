"""Where a model's pixel lies in the stored image, and back: exact, invertible, stated.

Conventions: points are ``(row, column)``, zero-based, with pixel centres at whole numbers. The
model grid is the cropped, possibly mirrored and resampled image, padded at bottom and right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Points = NDArray[np.float64]

#: Values that are added up at a time; as float64 they fit into the cache of one core.
_BLOCK_VALUES = 1 << 16


@dataclass(frozen=True, slots=True)
class Geometry:
    """The way from stored pixels to the model grid and back.

    Attributes
    ----------
    stored_shape
        ``(rows, columns)`` of the stored image.
    crop
        ``(top, left, height, width)`` of the crop, in stored pixels.
    mirrored
        Whether columns were reversed after cropping, so that the chest wall is at column 0.
    content_shape
        ``(height, width)`` of the resampled crop on the model grid, without padding.
    model_shape
        ``(height, width)`` of the model grid, padding included.
    """

    stored_shape: tuple[int, int]
    crop: tuple[int, int, int, int]
    mirrored: bool
    content_shape: tuple[int, int]
    model_shape: tuple[int, int]

    @property
    def scale(self) -> tuple[float, float]:
        """Stored pixels per model pixel, ``(row, column)``."""
        _, _, height, width = self.crop
        return height / self.content_shape[0], width / self.content_shape[1]

    def to_model(self, points: Points) -> Points:
        """Map stored points ``(N, 2)`` to the model grid; points outside the crop map outside."""
        top, left, _, width = self.crop
        inside = np.asarray(points, dtype=np.float64) - (top, left)
        if self.mirrored:
            inside = np.column_stack([inside[:, 0], width - 1 - inside[:, 1]])
        return (inside + 0.5) / self.scale - 0.5

    def to_stored(self, points: Points) -> Points:
        """Map model points ``(N, 2)`` to stored pixels; the inverse of `to_model`."""
        top, left, _, width = self.crop
        inside = (np.asarray(points, dtype=np.float64) + 0.5) * self.scale - 0.5
        if self.mirrored:
            inside = np.column_stack([inside[:, 0], width - 1 - inside[:, 1]])
        return inside + (top, left)

    def mask_to_model(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Resample a stored mask ``(rows, columns)`` to the model grid ``(height, width)``.

        A model pixel is set when at least half of the area that it covers is.
        """
        resampled = area_resample(self._cut(mask.astype(np.float32)), self.content_shape)
        out = np.zeros(self.model_shape, dtype=bool)
        out[: self.content_shape[0], : self.content_shape[1]] = resampled >= 0.5
        return out

    def mask_to_stored(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Resample a model mask ``(height, width)`` to stored pixels ``(rows, columns)``."""
        return self.labels_to_stored(mask.astype(np.uint8)).astype(bool)

    def labels_to_stored(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resample a model label map to stored pixels, each taking its nearest model pixel."""
        top, left, height, width = self.crop
        rows = self._nearest(height, self.scale[0], self.content_shape[0])
        columns = self._nearest(width, self.scale[1], self.content_shape[1])
        # What is empty need not be copied.
        used_rows, used_columns = window_of(labels)
        rows, above = _within(rows, used_rows)
        columns, before = _within(columns, used_columns)
        if self.mirrored:
            columns, before = columns[::-1], width - before - len(columns)
        out = np.zeros(self.stored_shape, dtype=np.uint8)
        first_row, first_column = top + above, left + before
        # Columns first, while there are few rows; then whole rows are copied.
        out[first_row : first_row + len(rows), first_column : first_column + len(columns)] = labels[
            :, columns
        ][rows]
        return out

    def values_to_stored(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample model values ``(height, width)`` to stored pixels by linear interpolation."""
        top, left, height, width = self.crop
        rows = (np.arange(height) + 0.5) / self.scale[0] - 0.5
        columns = (np.arange(width) + 0.5) / self.scale[1] - 0.5
        grid = np.meshgrid(rows, columns, indexing="ij")
        content = values[: self.content_shape[0], : self.content_shape[1]]
        inside = ndimage.map_coordinates(content, grid, order=1, mode="nearest")
        out = np.zeros(self.stored_shape, dtype=np.float32)
        out[top : top + height, left : left + width] = inside[:, ::-1] if self.mirrored else inside
        return out

    def image_to_model(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample stored pixels ``(rows, columns)`` to the model grid by area, padded with 0."""
        out = np.zeros(self.model_shape, dtype=np.float32)
        resampled = area_resample(self._cut(pixels), self.content_shape)
        out[: self.content_shape[0], : self.content_shape[1]] = resampled
        return out

    def _cut(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        top, left, height, width = self.crop
        inside = pixels[top : top + height, left : left + width]
        return inside[:, ::-1] if self.mirrored else inside

    @staticmethod
    def _nearest(length: int, scale: float, limit: int) -> NDArray[np.int64]:
        nearest = np.floor((np.arange(length) + 0.5) / scale).astype(np.int64)
        return np.asarray(np.clip(nearest, 0, limit - 1), dtype=np.int64)


def window_of(labels: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Find the smallest window that holds every pixel that is not 0; empty where all are.

    Parameters
    ----------
    labels
        ``(rows, columns)``.
    """
    rows = np.flatnonzero(labels.max(axis=1, initial=0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    found = slice(int(rows[0]), int(rows[-1]) + 1)
    columns = np.flatnonzero(labels[found].max(axis=0))
    return found, slice(int(columns[0]), int(columns[-1]) + 1)


def _within(indices: NDArray[np.int64], used: slice) -> tuple[NDArray[np.int64], int]:
    """Keep those of some ascending indices that are used; and tell how many come before them."""
    first, last = np.searchsorted(indices, (used.start, used.stop))
    return indices[first:last], int(first)


def area_resample(pixels: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resample by area average, exactly: each output pixel is the mean of what it covers.

    Parameters
    ----------
    pixels
        ``(rows, columns)``.
    shape
        ``(height, width)`` of the output; smaller or larger.
    """
    by_row = _area_axis(pixels, shape[0])
    by_column = _area_axis(np.ascontiguousarray(by_row.T), shape[1])
    return np.ascontiguousarray(by_column.T)


def _area_axis(pixels: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    count = pixels.shape[0]
    if count == length:
        return pixels
    edges = np.linspace(0, count, length + 1)
    whole = np.minimum(edges.astype(np.int64), count - 1)
    at_edges = _sums_above(pixels, whole)
    at_edges += (edges - whole)[:, None] * pixels[whole]
    return np.asarray(np.diff(at_edges, axis=0) * (length / count), dtype=np.float32)


def _sums_above(pixels: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum all rows above each of some ascending rows, one row after the other.

    Some rows at a time: with a call for each, threads that do this side by side would spend more
    time on handing the interpreter to one another. NumPy's cumsum takes four times as long.
    """
    width = pixels.shape[1]
    most = max(_BLOCK_VALUES // max(width, 1), 1)
    sums = np.empty((len(rows), width), dtype=np.float64)
    block = np.empty((most + 1, width), dtype=np.float64)
    running, begin = np.zeros(width, dtype=np.float64), 0
    for above, end in zip(sums, rows.tolist(), strict=True):
        while begin < end:
            count = min(end - begin, most)
            # What came before is the first to be added: the order is that of the rows.
            block[0] = running
            block[1 : count + 1] = pixels[begin : begin + count]
            np.add.reduce(block[: count + 1], axis=0, out=running)
            begin += count
        above[:] = running
    return sums
