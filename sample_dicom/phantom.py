"""A synthetic breast on a detector: anatomy as textures, physics as blur and noise.

Not a simulation to measure anything by; a picture that asks of a model what a mammogram asks.
Every phantom, with a lesion or without, has the same tissue, the same benign look-alikes, the
same noise and the same value range: nothing but the lesion itself tells that it is there.

The breast tissue follows a power law, as real parenchyma does (Burgess, Medical Physics 28,
2001).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from oncopixel_pacs.domain import Laterality, View

#: The detector is as high as this, whatever the number of rows.
FIELD_HEIGHT_MM = 240.0
MAX_VALUE = 4095
_GRID_MM = 0.5

_Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Phantom:
    """One view.

    Attributes
    ----------
    pixels
        uint16 ``(rows, columns)``, 12 bits, air near 0.
    lesion
        bool ``(rows, columns)``, true inside the inserted lesion; all false without one.
    spacing_mm
        ``(row, column)`` size of a pixel.
    """

    pixels: NDArray[np.uint16]
    lesion: NDArray[np.bool_]
    spacing_mm: tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Woman:
    """What both breasts and all views of one seed share; lengths in mm."""

    height: float
    depth: float
    density: float
    grain: float
    noise: float
    contrast: float
    lesion_side: Laterality
    lesion_radius: float
    lesion_contrast: float
    lesion_spikes: int
    lesion_depth: float
    lesion_height: float


def make_phantom(
    seed: int,
    laterality: Laterality,
    view: View,
    *,
    rows: int = 1024,
    columns: int = 832,
    lesion: bool = True,
) -> Phantom:
    """Make one view of the woman that a seed stands for.

    Parameters
    ----------
    seed
        The same seed is the same woman: size, density, and the side, size and place of the
        lesion agree between her views.
    lesion
        Whether she has one; it is in one breast only and seen in both views of it.
    """
    woman = _woman(seed)
    rng = np.random.default_rng([seed, ord(laterality), ord(view[0]), 7])
    spacing = FIELD_HEIGHT_MM / rows
    canvas = _Canvas(round(FIELD_HEIGHT_MM / _GRID_MM), round(columns * spacing / _GRID_MM))
    tissue, breast = _anatomy(canvas, woman, view, rng)
    shape = np.zeros(canvas.shape)
    affected = lesion and laterality is woman.lesion_side
    # Drawn even when it is not inserted, so that the random numbers after it stay the same.
    mass, mass_shape = _mass(canvas, woman, breast, view, rng)
    if affected:
        tissue, shape = tissue + mass, mass_shape
    exposed = _expose(tissue, breast, woman, rng)
    return _digitise(exposed, shape > 0.5, laterality, (rows, columns), woman, rng)


def lesion_side(seed: int) -> Laterality:
    """Return the breast that has the lesion."""
    return _woman(seed).lesion_side


class _Canvas:
    """The plane at 0.5 mm: chest wall at column 0; coordinates in mm."""

    def __init__(self, height: int, width: int) -> None:
        self.shape = (height, width)
        self.y, self.x = np.mgrid[0:height, 0:width] * _GRID_MM

    def noise(self, rng: np.random.Generator, beta: float, longest_mm: float) -> _Array:
        """Power-law noise, amplitude 1/f^(beta/2), mean 0, standard deviation 1."""
        height, width = (fft.next_fast_len(n) for n in self.shape)
        fy = fft.fftfreq(height, _GRID_MM)[:, None]
        fx = fft.rfftfreq(width, _GRID_MM)[None]
        frequency = np.hypot(fy, fx)
        amplitude = np.maximum(frequency, 1 / longest_mm) ** (-beta / 2)
        amplitude[0, 0] = 0
        phases = rng.normal(size=amplitude.shape) + 1j * rng.normal(size=amplitude.shape)
        field = fft.irfft2(amplitude * phases, s=(height, width))[: self.shape[0], : self.shape[1]]
        normed: _Array = (field - field.mean()) / field.std()
        return normed

    def blob(self, y: float, x: float, ry: float, rx: float, angle: float, soft: float) -> _Array:
        """Ellipse with a soft edge: 1 inside, 0 outside."""
        cos, sin = np.cos(angle), np.sin(angle)
        u = (cos * (self.x - x) + sin * (self.y - y)) / rx
        v = (-sin * (self.x - x) + cos * (self.y - y)) / ry
        return _step(1 - np.hypot(u, v), soft)


def _woman(seed: int) -> _Woman:
    rng = np.random.default_rng([seed, 1])
    return _Woman(
        height=rng.uniform(62, 95),
        depth=rng.uniform(62, 110),
        density=rng.beta(2.0, 2.4),
        grain=rng.uniform(2.7, 3.3),
        noise=rng.uniform(0.008, 0.016),
        contrast=rng.uniform(0.85, 1.15),
        lesion_side=Laterality.LEFT if rng.random() < 0.5 else Laterality.RIGHT,
        lesion_radius=rng.uniform(4.5, 10.0),
        lesion_contrast=rng.uniform(0.32, 0.46),
        lesion_spikes=int(rng.integers(7, 15)),
        lesion_depth=rng.uniform(0.3, 0.74),
        lesion_height=rng.uniform(-0.5, 0.5),
    )


def _anatomy(
    canvas: _Canvas, woman: _Woman, view: View, rng: np.random.Generator
) -> tuple[_Array, _Array]:
    """Give tissue (attenuation, about 0 to 1.5) and breast (thickness, 0 to 1)."""
    middle = canvas.shape[0] * _GRID_MM * (0.5 if view is View.CC else 0.56)
    height = woman.height * rng.uniform(0.97, 1.03) * (1.0 if view is View.CC else 1.12)
    depth = woman.depth * rng.uniform(0.95, 1.05)
    wobble = 0.03 * canvas.noise(rng, 4.0, 200)
    away = np.hypot((canvas.y - middle) / height, canvas.x / depth) + wobble
    if view is View.MLO:
        # The axilla: the outline does not close at the top.
        tail = canvas.x / (depth * 0.62) + wobble
        away = np.where(canvas.y < middle, np.minimum(away, np.maximum(tail, 0.15)), away)
    breast = np.sqrt(np.clip((1 - away) / 0.22, 0, 1))
    glandular = _glandular(canvas, woman, away, middle, depth, rng)
    muscle = _pectoral(canvas, middle, rng) if view is View.MLO else np.zeros(canvas.shape)
    glandular *= 1 - 0.8 * (muscle > 0)
    strands = _strands(canvas, rng) * (0.25 + 0.75 * _step(0.95 - away, 0.1))
    tissue = 0.34 + 0.44 * glandular + 0.16 * strands + 0.06 * canvas.noise(rng, woman.grain, 40)
    tissue += _vessels(canvas, away, rng) + _look_alikes(canvas, middle, height, depth, rng)
    tissue += muscle
    skin = np.exp(-(((1 - away) * depth - 1.2) ** 2) / 2.0)
    return (tissue + 0.18 * skin) * (breast > 0), breast


def _glandular(
    canvas: _Canvas,
    woman: _Woman,
    away: _Array,
    middle: float,
    depth: float,
    rng: np.random.Generator,
) -> _Array:
    texture = canvas.noise(rng, woman.grain + 0.7, 45)
    disc = np.hypot((canvas.y - middle) / 62, (canvas.x - 0.5 * depth) / (0.46 * depth))
    level = 1.5 * woman.density + 0.45 - 1.15 * disc + 0.38 * texture
    lobes = _step(level, 1.3) * _step(0.93 - away, 0.08)
    out: _Array = lobes * (0.62 + 0.38 * _step(canvas.noise(rng, woman.grain, 16), 2.4))
    return out


def _strands(canvas: _Canvas, rng: np.random.Generator) -> _Array:
    """Ligaments: thin bright ridges where smooth noise crosses zero."""
    ridges = np.zeros(canvas.shape)
    for longest in (60, 30, 18):
        field = canvas.noise(rng, 4.5, longest)
        slope = np.hypot(*np.gradient(field)) + 1e-3
        ridges += np.exp(-((field / slope / 1.1) ** 2)) / 3
    return ridges


def _vessels(canvas: _Canvas, away: _Array, rng: np.random.Generator) -> _Array:
    out = np.zeros(canvas.shape)
    for _ in range(int(rng.integers(2, 5))):
        field = canvas.noise(rng, 5.0, 160) - rng.uniform(-0.8, 0.8)
        slope = np.hypot(*np.gradient(field)) + 1e-3
        width = rng.uniform(1.2, 2.6)
        out += 0.07 * np.exp(-((field / slope / width) ** 2))
    return out * _step(0.97 - away, 0.05)


def _look_alikes(
    canvas: _Canvas, middle: float, height: float, depth: float, rng: np.random.Generator
) -> _Array:
    """Benign things in every breast: round smooth cysts and nodes, soft islands of gland."""
    out = np.zeros(canvas.shape)
    for _ in range(int(rng.integers(1, 4))):
        y, x = _somewhere(middle, height, depth, rng)
        radius = rng.uniform(2.0, 7.0)
        oblong, angle = rng.uniform(0.75, 1.0), rng.uniform(0, np.pi)
        round_one = canvas.blob(y, x, radius, radius * oblong, angle, 0.16)
        out += rng.uniform(0.10, 0.24) * round_one
    for _ in range(int(rng.integers(1, 4))):
        y, x = _somewhere(middle, height, depth, rng)
        radius = rng.uniform(5.0, 13.0)
        island = canvas.blob(
            y, x, radius, radius * rng.uniform(0.5, 1.0), rng.uniform(0, np.pi), 0.9
        )
        out += rng.uniform(0.12, 0.30) * island
    return out


def _mass(
    canvas: _Canvas, woman: _Woman, breast: _Array, view: View, rng: np.random.Generator
) -> tuple[_Array, _Array]:
    """Make the lesion: an irregular dense core with spikes that fade into the tissue."""
    middle = canvas.shape[0] * _GRID_MM * (0.5 if view is View.CC else 0.56)
    # Within the parenchyma: an ellipse well inside the outline.
    chord = np.sqrt(1 - woman.lesion_height**2)
    y = middle + woman.lesion_height * woman.height + rng.normal(0, 2)
    x = woman.lesion_depth * woman.depth * chord + rng.normal(0, 2)
    dy, dx = canvas.y - y, canvas.x - x
    distance, angle = np.hypot(dy, dx), np.arctan2(dy, dx)
    radius = woman.lesion_radius * rng.uniform(0.92, 1.08)
    edge = radius * (1 + _ragged(angle, 2, 7, 0.26, rng) + _ragged(angle, 7, 16, 0.10, rng))
    core = _step((edge - distance) / radius, 0.30)
    out = woman.lesion_contrast * core * (1 + 0.10 * canvas.noise(rng, 3.0, 12))
    for _ in range(woman.lesion_spikes):
        at = rng.uniform(-np.pi, np.pi)
        turn = np.angle(np.exp(1j * (angle - at - 0.02 * (distance - radius))))
        reach = radius * rng.uniform(1.7, 2.9)
        fade = np.clip((reach - distance) / (reach - 0.6 * radius), 0, 1)
        width = rng.uniform(0.5, 1.0) * (0.5 + fade)
        across = np.sin(np.clip(np.abs(turn), 0, np.pi / 2)) * distance
        spike = np.exp(-((across / width) ** 2)) * fade * (distance > 0.5 * radius)
        out = np.maximum(out, 0.62 * woman.lesion_contrast * spike * (np.abs(turn) < 1))
    return out * (breast > 0), core * (breast > 0)


def _ragged(
    angle: _Array, first: int, last: int, amount: float, rng: np.random.Generator
) -> _Array:
    waves = np.arange(first, last)
    strength = rng.normal(size=waves.size) / np.sqrt(waves.size)
    phase = rng.uniform(0, 2 * np.pi, waves.size)
    out = np.zeros_like(angle)
    for wave, factor, shift in zip(waves, strength, phase, strict=True):
        out += factor * np.cos(wave * angle + shift)
    return amount * out


def _pectoral(canvas: _Canvas, middle: float, rng: np.random.Generator) -> _Array:
    top, bottom = rng.uniform(38, 62), middle + rng.uniform(-15, 45)
    line = top * (1 - canvas.y / bottom) + 1.5 * canvas.noise(rng, 5.0, 200)
    muscle: _Array = _step((line - canvas.x) / 4.0, 1.0) * (canvas.y < bottom)
    return rng.uniform(0.35, 0.5) * muscle


def _expose(tissue: _Array, breast: _Array, woman: _Woman, rng: np.random.Generator) -> _Array:
    """Blur of the focal spot and detector, then quantum noise, the same everywhere."""
    seen = ndimage.gaussian_filter(tissue * (0.35 + 0.65 * breast) * woman.contrast, 0.5)
    noisy: _Array = seen + woman.noise * np.sqrt(0.4 + np.clip(seen, 0, None)) * (
        ndimage.gaussian_filter(rng.normal(size=seen.shape), 0.55) * 2.2
    )
    return noisy


def _digitise(
    exposed: _Array,
    lesion: NDArray[np.bool_],
    laterality: Laterality,
    shape: tuple[int, int],
    woman: _Woman,
    rng: np.random.Generator,
) -> Phantom:
    spacing = FIELD_HEIGHT_MM / shape[0]
    rows = (np.arange(shape[0]) + 0.5) * spacing / _GRID_MM - 0.5
    columns = (np.arange(shape[1]) + 0.5) * spacing / _GRID_MM - 0.5
    grid = np.meshgrid(rows, columns, indexing="ij")
    image = ndimage.map_coordinates(exposed, grid, order=1, mode="nearest")
    mask = ndimage.map_coordinates(lesion.astype(np.float32), grid, order=1, mode="nearest") > 0.5
    # Fine grain of the detector's own pixels, which the coarse plane cannot hold.
    image = image + woman.noise * 0.5 * rng.normal(size=shape)
    pixels = np.clip(120 + 2450 * image, 0, MAX_VALUE).astype(np.uint16)
    if laterality is Laterality.RIGHT:
        pixels, mask = pixels[:, ::-1], mask[:, ::-1]
    return Phantom(np.ascontiguousarray(pixels), np.ascontiguousarray(mask), (spacing, spacing))


def _somewhere(
    middle: float, height: float, depth: float, rng: np.random.Generator
) -> tuple[float, float]:
    return middle + rng.uniform(-0.6, 0.6) * height, rng.uniform(0.15, 0.8) * depth


def _step(value: _Array, soft: float) -> _Array:
    """Rise smoothly from 0 to 1 around 0 over a width of `soft`."""
    t = np.clip(value / soft + 0.5, 0, 1)
    return t * t * (3 - 2 * t)
