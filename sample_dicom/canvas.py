"""Brushes that phantoms are painted with: power-law noise, ridges, waves, soft edges."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

#: float32 wherever time matters; a scalar factor in double precision is harmless.
Array = NDArray[np.floating[Any]]


class Canvas:
    """The plane on which a view is painted; coordinates in mm.

    Attributes
    ----------
    grid
        Distance of its points.
    shape
        ``(height, width)`` in points.
    y, x
        Coordinates, ``(height, 1)`` and ``(1, width)``; chest wall at column 0.
    """

    def __init__(self, height_mm: float, width_mm: float, spacing: float, name: str) -> None:
        # Detail finer than half a millimetre is worth its time in large images only.
        self.grid = 0.25 if spacing < 0.15 else float(np.clip(spacing, 0.5, 1.0))
        self.shape = (round(height_mm / self.grid), round(width_mm / self.grid))
        self.y = (np.arange(self.shape[0], dtype=np.float32) * np.float32(self.grid))[:, None]
        self.x = (np.arange(self.shape[1], dtype=np.float32) * np.float32(self.grid))[None]
        self._name = name

    def random(self, part: str) -> np.random.Generator:
        """Random numbers of one part of the picture, independent of all other parts."""
        return np.random.default_rng(list(f"{self._name}/{part}".encode()))

    def noise(self, part: str, beta: float, longest_mm: float) -> Array:
        """Power-law noise, spectrum 1/f^beta, mean 0, standard deviation 1."""
        rng = self.random(part)
        height, width = (fft.next_fast_len(n, real=True) for n in self.shape)
        frequency = np.hypot(
            fft.fftfreq(height, self.grid)[:, None], fft.rfftfreq(width, self.grid)[None]
        ).astype(np.float32)
        amplitude = np.maximum(frequency, 1 / longest_mm) ** np.float32(-beta / 2)
        amplitude[0, 0] = 0
        waves = rng.standard_normal((2, *amplitude.shape), dtype=np.float32)
        field = fft.irfft2(amplitude * (waves[0] + 1j * waves[1]), s=(height, width))
        field = field[: self.shape[0], : self.shape[1]]
        normed: Array = (field - field.mean()) / field.std()
        return normed

    def fan(self, part: str, beta: float, longest_mm: float, away: Array, angle: Array) -> Array:
        """Power-law noise drawn out along rays, given in polar coordinates around their origin."""
        field = self.noise(part, beta, longest_mm)
        at = np.stack([(angle + 1.6) * 62, away * 0.42]) / self.grid
        fanned: Array = ndimage.map_coordinates(field, at, order=1, mode="mirror")
        return fanned

    def blob(self, y: float, x: float, radii: tuple[float, float], turn: float) -> Array:
        """Distance from the centre of an ellipse in its own radii: 1 on its edge."""
        cos, sin = np.cos(turn), np.sin(turn)
        u = (cos * (self.x - x) + sin * (self.y - y)) / radii[1]
        v = (-sin * (self.x - x) + cos * (self.y - y)) / radii[0]
        out: Array = np.hypot(u, v).astype(np.float32)
        return out


def resample(image: Array, shape: tuple[int, int], grid: float, spacing: float) -> Array:
    """Interpolate linearly between points `grid` apart, one axis after the other.

    Parameters
    ----------
    shape, spacing
        ``(rows, columns)`` of the output and the size of its pixels.
    """
    for count in shape:
        at = np.clip((np.arange(count) + 0.5) * spacing / grid - 0.5, 0, image.shape[0] - 1)
        low = np.minimum(at.astype(np.int64), image.shape[0] - 2)
        share = (at - low).astype(np.float32)[:, None]
        image = np.ascontiguousarray((image[low] * (1 - share) + image[low + 1] * share).T)
    return image


def ridges(field: Array, grid: float, width_mm: float) -> Array:
    """Thin bright lines where a field crosses zero, as wide everywhere."""
    slope = np.hypot(*np.gradient(field, grid)) + np.float32(1e-3)
    out: Array = np.exp(-((field / slope / max(width_mm, 0.6 * grid)) ** 2))
    return out


def waves(at: Array, shortest: float, longest: float, rng: np.random.Generator) -> Array:
    """Sum of five waves along a coordinate in mm, standard deviation about 1."""
    out = np.zeros_like(at)
    for _ in range(5):
        length, phase = rng.uniform(shortest, longest), rng.uniform(0, 2 * np.pi)
        out += np.float32(0.6) * np.cos(at * np.float32(2 * np.pi / length) + np.float32(phase))
    return out


def softer_max(one: Array, other: Array, soft: Array) -> Array:
    """Give the larger of two curves, with rounded corners."""
    out: Array = soft * np.logaddexp(one / soft, other / soft)
    return out


def step(value: Array) -> Array:
    """Rise smoothly from 0 at 0 to 1 at 1."""
    t = np.clip(value, 0, 1)
    out: Array = t * t * (3 - 2 * t)
    return out
