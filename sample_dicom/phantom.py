"""A synthetic breast on a detector: anatomy as textures, physics as blur and noise.

Not a simulation to measure anything by; a picture that asks of a model what a mammogram asks.
Every phantom, with a lesion or without, has the same tissue, the same benign look-alikes, the
same noise and the same tone curve, which never saturates: nothing but the lesion itself tells
that it is there.

The breast tissue follows a power law, as real parenchyma does (Burgess, Medical Physics 28,
2001); its strands converge on the nipple.

The shipped models were trained on these very pixels: whoever changes one trains them anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from oncopixel_pacs.domain import Laterality, View
from sample_dicom.canvas import Array, Canvas, resample, ridges, softer_max, step, waves

#: The detector is as high as this, whatever the number of rows.
FIELD_HEIGHT_MM = 240.0
MAX_VALUE = 4095

_Random = np.random.Generator


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
    tone: float
    lesion_side: Laterality
    lesion_radius: float
    lesion_contrast: float
    lesion_spikes: int
    lesion_behind: float
    lesion_aside: float


@dataclass(frozen=True, slots=True)
class _Breast:
    """One view of one breast on the canvas; lengths in mm.

    `depth` is the distance to the skin, 0 outside; `away` and `angle` are polar coordinates
    around the nipple; `muscle` goes from 0 to 1.
    """

    middle: float
    height: float
    nipple: float
    depth: Array
    away: Array
    angle: Array
    muscle: Array


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
    spacing = FIELD_HEIGHT_MM / rows
    canvas = Canvas(FIELD_HEIGHT_MM, columns * spacing, spacing, f"{seed}{laterality}{view}")
    breast = _shape(canvas, woman, view)
    tissue = _tissue(canvas, woman, breast, view)
    core = np.zeros(canvas.shape, dtype=np.float32)
    if lesion and laterality is woman.lesion_side:
        core = _insert_mass(tissue, canvas, woman, breast)
    exposed = _expose(tissue, breast)
    return _digitise(exposed, core, laterality, (rows, columns), woman, canvas)


def lesion_side(seed: int) -> Laterality:
    """Return the breast that has the lesion."""
    return _woman(seed).lesion_side


def _woman(seed: int) -> _Woman:
    rng = np.random.default_rng([seed, 1])
    return _Woman(
        height=rng.uniform(62, 92),
        depth=rng.uniform(68, 112),
        density=rng.beta(1.7, 1.9),
        grain=rng.uniform(2.7, 3.3),
        noise=rng.uniform(0.010, 0.020),
        tone=rng.uniform(1.15, 1.45),
        lesion_side=Laterality.LEFT if rng.random() < 0.5 else Laterality.RIGHT,
        lesion_radius=rng.uniform(4.5, 10.5),
        lesion_contrast=rng.uniform(0.52, 0.70),
        lesion_spikes=int(rng.integers(9, 18)),
        lesion_behind=rng.uniform(0.25, 0.7),
        lesion_aside=rng.uniform(-0.45, 0.45),
    )


def _shape(canvas: Canvas, woman: _Woman, view: View) -> _Breast:
    rng = canvas.random("outline")
    y = canvas.y[:, 0]
    mlo = view is View.MLO
    middle = (138 if mlo else 120) + rng.uniform(-7, 7)
    depth = woman.depth * rng.uniform(0.95, 1.05)
    height = min(woman.height * rng.uniform(0.97, 1.03), FIELD_HEIGHT_MM - 14 - middle)
    upper = (y < middle) & mlo
    bow, reach = rng.uniform(1.9, 2.3), np.where(upper, 1.5 * height, height)
    fall = np.clip(1 - (np.abs(y - middle) / reach) ** bow, 0, None)
    skin = depth * fall ** np.where(upper, 0.85, 0.55)
    muscle = np.zeros(canvas.shape, dtype=np.float32)
    if mlo:
        # Towards the axilla the outline runs out over the upper edge; a fold may follow below.
        tail = depth * rng.uniform(0.46, 0.66) * (0.82 + 0.18 * y / middle)
        fold = rng.choice([-40.0, 7.0]) + 0.12 * (y - middle - height)
        skin = softer_max(skin, np.where(upper, tail, fold), np.where(upper, 12.0, 4.0))
        muscle = _pectoral(canvas, middle, float(tail[0]))
    skin = skin + waves(y, 45, 140, rng) * (skin > 6)
    nipple = float(np.interp(middle, y, skin)) + rng.uniform(0.5, 3.0)
    bump = (nipple + 2 - skin) * np.exp(-(((y - middle) / rng.uniform(4, 6)) ** 4))
    inside = canvas.x < (skin + np.clip(bump, 0, None))[:, None]
    to_skin = ndimage.distance_transform_edt(inside, sampling=canvas.grid)
    dy, dx = canvas.y - np.float32(middle), np.float32(nipple) - canvas.x
    return _Breast(
        middle=middle,
        height=height,
        nipple=nipple,
        depth=to_skin.astype(np.float32),
        away=np.hypot(dy, dx),
        angle=np.arctan2(dy, dx),
        muscle=muscle,
    )


def _pectoral(canvas: Canvas, middle: float, tail: float) -> Array:
    rng = canvas.random("muscle")
    top, bottom = tail * rng.uniform(0.6, 0.9), middle + rng.uniform(-45, 25)
    y = canvas.y[:, 0]
    edge = top * np.clip(1 - y / bottom, 0, None) ** rng.uniform(0.75, 1.1)
    edge = edge + 0.6 * waves(y, 40, 120, rng)
    fade = np.clip((bottom - y) / 30, 0, 1) ** 0.5
    muscle: Array = step((edge[:, None] - canvas.x) / 4.5 + 0.5) * fade[:, None]
    return muscle.astype(np.float32)


def _tissue(canvas: Canvas, woman: _Woman, breast: _Breast, view: View) -> Array:
    """Attenuation, about 0 to 1.5, without regard to the thickness of the breast."""
    free = 1 - 0.85 * breast.muscle
    gland = _glandular(canvas, woman, breast) * free
    strands = _strands(canvas, breast)
    tissue = 0.20 + 0.40 * gland + (0.085 + 0.10 * gland) * strands * free
    tissue += 0.045 * canvas.noise("fat", woman.grain, 30) * (0.7 + 0.9 * gland)
    tissue += _vessels(canvas, breast) * free
    tissue += _look_alikes(canvas, breast)
    if view is View.MLO:
        rng = canvas.random("fibres")
        fibres = waves((canvas.y * 0.95 + canvas.x * 0.45), 4, 22, rng)
        cloud = canvas.noise("muscle", 3.4, 60)
        tissue += breast.muscle * (rng.uniform(0.22, 0.36) + 0.006 * fibres + 0.03 * cloud)
        tissue += _nodes(canvas, breast)
    return tissue.astype(np.float32)


def _glandular(canvas: Canvas, woman: _Woman, breast: _Breast) -> Array:
    """Share of gland, 0 to 1: lobes behind the nipple, cut up by fat, none under the skin."""
    rng = canvas.random("gland")
    span = breast.nipple * rng.uniform(0.42, 0.56)
    disc = np.hypot(
        (canvas.y - breast.middle + rng.uniform(-2, 12)) / (breast.height * rng.uniform(0.6, 0.8)),
        (canvas.x - breast.nipple + span) / span,
    )
    wide = canvas.noise("lobes", 3.2, 45)
    drawn = canvas.fan("ducts", woman.grain, 40, breast.away, breast.angle)
    lobules = canvas.noise("lobules", 3.0, 11)
    level = 1.9 * woman.density + 0.05 - 1.0 * disc + 0.32 * wide + 0.34 * drawn
    lobes = step((level + 0.2) / 1.5) * step((breast.depth - 4) / 9)
    holes = step((lobules + 0.6 * drawn + 1.2 + woman.density) / 2.8)
    out: Array = lobes * (0.30 + 0.70 * holes) * (0.85 + 0.15 * wide.clip(-2, 2))
    return out


def _strands(canvas: Canvas, breast: _Breast) -> Array:
    """Ligaments and ducts: thin ridges where noise crosses zero, most of them to the nipple."""
    out = np.zeros(canvas.shape, dtype=np.float32)
    for part, longest, share in (("a", 70, 0.8), ("b", 35, 0.7), ("c", 18, 0.5)):
        field = canvas.fan(f"strands-{part}", 4.2, longest, breast.away, breast.angle)
        out += share * ridges(field, canvas.grid, 0.45)
    out += 0.45 * ridges(canvas.noise("ligaments", 4.4, 22), canvas.grid, 0.4)
    shade = 0.6 + 0.4 * np.clip(canvas.noise("shade", 3.0, 40), -1.2, 1.8)
    return out * shade


def _vessels(canvas: Canvas, breast: _Breast) -> Array:
    """Veins and arteries: a few long soft bands from the chest wall towards the nipple."""
    rng = canvas.random("vessels")
    out = np.zeros(canvas.shape, dtype=np.float32)
    for _ in range(int(rng.integers(3, 7))):
        start = breast.middle + rng.uniform(-0.8, 0.8) * breast.height
        along = canvas.x / breast.nipple
        course = start + (breast.middle - start) * rng.uniform(0.3, 0.9) * along**2
        course = course + 1.6 * waves(canvas.x, 18, 90, rng)
        slope = np.gradient(course[0], canvas.grid)[None]
        across = (canvas.y - course) / np.hypot(1, slope)
        width = rng.uniform(0.6, 1.5) * (1 - 0.5 * along.clip(0, 1))
        fade = step((rng.uniform(0.5, 0.95) - along) / 0.3)
        out += rng.uniform(0.04, 0.10) * np.exp(-((across / width) ** 2)) * fade
    return out


def _look_alikes(canvas: Canvas, breast: _Breast) -> Array:
    """Benign things in every breast: cysts, islands of gland, single calcifications."""
    rng = canvas.random("benign")
    out = np.zeros(canvas.shape, dtype=np.float32)
    for _ in range(int(rng.integers(1, 4))):
        radius, oblong = rng.uniform(2.0, 8.0), rng.uniform(0.7, 1.0)
        y, x = _place(canvas, breast, rng, radius)
        inside = canvas.blob(y, x, (radius, radius * oblong), rng.uniform(0, np.pi))
        # Thick in the middle, as a ball is, with a sharp edge.
        ball = np.sqrt(np.clip(1 - inside**2, 0, 1)) * 0.6 + 0.4 * step((1 - inside) / 0.16 + 0.5)
        out += rng.uniform(0.10, 0.26) * ball
    for _ in range(int(rng.integers(1, 4))):
        radius = rng.uniform(5.0, 13.0)
        y, x = _place(canvas, breast, rng, radius)
        radii = (radius, radius * rng.uniform(0.5, 1.0))
        island = canvas.blob(y, x, radii, rng.uniform(0, np.pi))
        out += rng.uniform(0.08, 0.20) * np.exp(-1.4 * island**2)
    for _ in range(int(rng.integers(0, 5))):
        y, x = _place(canvas, breast, rng, 2.0)
        grain = rng.uniform(0.3, 0.7)
        out += rng.uniform(0.25, 0.6) * np.exp(-(canvas.blob(y, x, (grain, grain), 0) ** 2))
    return out


def _nodes(canvas: Canvas, breast: _Breast) -> Array:
    """Lymph nodes in the axilla: dense ovals with a fatty hilum."""
    rng = canvas.random("nodes")
    out = np.zeros(canvas.shape, dtype=np.float32)
    for _ in range(int(rng.integers(0, 4))):
        radius, turn = rng.uniform(3.0, 7.0), rng.uniform(0, np.pi)
        y, x = rng.uniform(8, 55), rng.uniform(6, 42)
        radii = (radius, radius * rng.uniform(0.45, 0.7))
        cortex = step((1 - canvas.blob(y, x, radii, turn)) / 0.4 + 0.5)
        inner = (radii[0] * 0.5, radii[1] * 0.4)
        hilum = step((1 - canvas.blob(y + 0.2 * radius, x + 0.2 * radius, inner, turn)) / 0.9 + 0.5)
        out += rng.uniform(0.08, 0.18) * cortex * (1 - 0.8 * hilum)
    return out * (breast.depth > 6)


def _insert_mass(tissue: Array, canvas: Canvas, woman: _Woman, breast: _Breast) -> Array:
    """Add the lesion to the tissue and return its core, 0 to 1.

    An irregular dense core with spikes that fade into the tissue. Attenuations add, which
    multiplies what passes through.
    """
    rng = canvas.random("mass")
    radius = woman.lesion_radius * rng.uniform(0.92, 1.08)
    wanted = (
        breast.middle + woman.lesion_aside * breast.height + rng.normal(0, 2),
        breast.nipple * (1 - woman.lesion_behind) + rng.normal(0, 2),
    )
    y, x = _nearest_free(canvas, breast, wanted, radius * 1.3 + 5)
    dy, dx = canvas.y - np.float32(y), canvas.x - np.float32(x)
    distance, angle = np.hypot(dy, dx), np.arctan2(dy, dx)
    near = np.ix_(*(np.flatnonzero(np.abs(d.ravel()) <= 3.4 * radius) for d in (dy, dx)))
    distance, angle = distance[near], angle[near]
    edge = radius * (1 + _ragged(angle, 2, 7, 0.24, rng) + _ragged(angle, 7, 18, 0.10, rng))
    core = step((edge - distance) / (0.34 * radius) + 0.5)
    bulk = core * (0.72 + 0.28 * np.sqrt(np.clip(1 - (distance / edge) ** 2, 0, 1)))
    added = bulk * (1 + 0.12 * canvas.noise("mass", 3.0, 10)[near])
    for _ in range(woman.lesion_spikes):
        direction, bend = rng.uniform(-np.pi, np.pi), rng.normal(0, 0.02)
        turn = np.angle(np.exp(1j * (angle - direction - bend * (distance - radius))))
        reach = radius * rng.uniform(1.6, 3.0)
        fade = np.clip((reach - distance) / (reach - 0.6 * radius), 0, 1) ** 1.3
        across = np.sin(np.clip(np.abs(turn), 0, np.pi / 2)) * distance
        spike = np.exp(-((across / (rng.uniform(0.4, 0.8) * (0.5 + fade))) ** 2)) * fade
        added = np.maximum(added, 0.6 * spike * (np.abs(turn) < 1))
    # The tone curve flattens dense tissue, where the lesion would be lost without more of it.
    contrast = woman.lesion_contrast * (1 + 0.35 * woman.density)
    tissue[near] += np.float32(contrast) * added
    out = np.zeros(canvas.shape, dtype=np.float32)
    out[near] = core
    return out


def _place(canvas: Canvas, breast: _Breast, rng: _Random, radius: float) -> tuple[float, float]:
    wanted = (
        breast.middle + rng.uniform(-0.7, 0.7) * breast.height,
        breast.nipple * rng.uniform(0.12, 0.85),
    )
    return _nearest_free(canvas, breast, wanted, radius + 3)


def _nearest_free(
    canvas: Canvas, breast: _Breast, wanted: tuple[float, float], room: float
) -> tuple[float, float]:
    """Find the place nearest to the wanted one with room to the skin, off muscle and edge."""
    far = np.hypot(canvas.y - wanted[0], canvas.x - wanted[1])
    free = (breast.depth > room) & (breast.muscle < 0.3) & (canvas.x > min(room, 12))
    row, column = np.unravel_index(int(np.where(free, far, np.inf).argmin()), far.shape)
    return float(canvas.y[row, 0]), float(canvas.x[0, column])


def _ragged(angle: Array, first: int, last: int, amount: float, rng: _Random) -> Array:
    out = np.zeros_like(angle)
    for wave in range(first, last):
        factor = rng.normal() / np.sqrt(last - first)
        out += np.float32(factor) * np.cos(wave * angle + np.float32(rng.uniform(0, 2 * np.pi)))
    return np.float32(amount) * out


def _expose(tissue: Array, breast: _Breast) -> Array:
    """Attenuation as the detector meets it: thin towards the skin, which is a bright line."""
    rim = np.clip(breast.depth / 13, 0, 1)
    thickness = np.sqrt(1 - (1 - rim) ** 2)
    skin = 0.10 * np.exp(-(((breast.depth - 1.0) / 0.8) ** 2))
    exposed: Array = (tissue * (0.30 + 0.70 * thickness) + skin) * step(breast.depth / 1.2)
    return exposed


def _digitise(
    exposed: Array,
    core: Array,
    laterality: Laterality,
    shape: tuple[int, int],
    woman: _Woman,
    canvas: Canvas,
) -> Phantom:
    """Blur of focal spot and detector, quantum noise, tone: the same everywhere."""
    spacing = FIELD_HEIGHT_MM / shape[0]
    image = resample(
        ndimage.gaussian_filter(exposed, 0.3 / canvas.grid), shape, canvas.grid, spacing
    )
    grain = canvas.random("noise").standard_normal(shape, dtype=np.float32)
    # Fewer quanta fall on a smaller pixel, and fewer pass through dense tissue.
    amount = np.float32(woman.noise * np.clip(0.25 / spacing, 0.3, 1.4))
    image += amount * np.sqrt(0.15 + image) * ndimage.gaussian_filter(grain, 0.5) * 1.6
    shown = 1 - np.exp(np.float32(-woman.tone) * image)
    pixels = np.clip(90 + 3950 * shown, 0, MAX_VALUE).astype(np.uint16)
    mask = resample(core, shape, canvas.grid, spacing) > 0.5
    if laterality is Laterality.RIGHT:
        pixels, mask = pixels[:, ::-1], mask[:, ::-1]
    return Phantom(np.ascontiguousarray(pixels), np.ascontiguousarray(mask), (spacing, spacing))
