"""Pictures for people: a view in presentation grey with its findings outlined."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.imaging.geometry import area_resample
from oncopixel_pacs.imaging.mammogram import Mammogram
from oncopixel_pacs.imaging.picture import Picture

#: Told apart by people who do not tell red from green (Okabe and Ito, 2008).
_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167), (240, 228, 66))
_FILL = 0.18
_LINE_PX = 2


def render_overlay(
    source: Mammogram | Picture,
    labels: NDArray[np.uint8] | None,
    caption: str,
    height_px: int = 1024,
) -> bytes:
    """Draw an image with the outlines of its findings, see `draw_overlay`.

    Returns
    -------
    bytes
        PNG, with the research notice burnt in.
    """
    out = io.BytesIO()
    picture = Image.fromarray(draw_overlay(source, labels, caption, height_px), "RGB")
    picture.save(out, "PNG", optimize=False)
    return out.getvalue()


def draw_overlay(
    source: Mammogram | Picture, labels: NDArray[np.uint8] | None, caption: str, height_px: int
) -> NDArray[np.uint8]:
    """Draw an image with the outlines of its findings.

    Parameters
    ----------
    labels
        uint8 ``(rows, columns)``, 0 background and ``k`` finding ``k``; ``None`` for none.
    caption
        Short text for the upper corner away from the breast, such as ``L MLO  87 %``.
    height_px
        Height of the picture; the width follows from the pixel spacing.

    Returns
    -------
    numpy.ndarray
        uint8 ``(height, width, 3)``, RGB, with the research notice burnt in.
    """
    shape = _shape(source, height_px)
    channels = source.pixels if source.pixels.ndim == 3 else source.pixels[None]
    drawn = np.stack([area_resample(channel, shape) for channel in channels], axis=-1)
    grey = drawn.mean(axis=-1)
    picture = np.repeat((drawn * 255).astype(np.float32), 3 // len(channels), axis=2)
    if labels is not None:
        _outline(picture, labels, shape)
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8), "RGB")
    _write(image, caption, _dark_side_is_right(grey))
    return np.asarray(image)


def _shape(source: Mammogram | Picture, height_px: int) -> tuple[int, int]:
    rows, columns = source.pixels.shape[-2:]
    row_mm, column_mm = source.facts.spacing_mm or (1.0, 1.0)
    return height_px, max(round(height_px * columns * column_mm / (rows * row_mm)), 1)


def _outline(
    picture: NDArray[np.float32], labels: NDArray[np.uint8], shape: tuple[int, int]
) -> None:
    # The stored pixel under the centre of each picture pixel.
    nearest = (
        ((np.arange(count) + 0.5) * stored / count).astype(np.int64)
        for count, stored in zip(shape, labels.shape, strict=True)
    )
    shown = labels[np.ix_(*nearest)]
    for number in np.unique(shown[shown > 0]):
        mask = shown == number
        edge = ndimage.binary_dilation(mask, iterations=_LINE_PX) & ~mask
        colour = np.asarray(_COLOURS[(int(number) - 1) % len(_COLOURS)], dtype=np.float32)
        picture[mask] = (1 - _FILL) * picture[mask] + _FILL * colour
        picture[edge] = colour


def _write(image: Image.Image, caption: str, right: bool) -> None:
    draw = ImageDraw.Draw(image)
    large = ImageFont.load_default(size=max(image.height // 34, 12))
    small = ImageFont.load_default(size=max(image.height // 54, 10))
    margin = image.height // 50
    x, anchor = (image.width - margin, "ra") if right else (margin, "la")
    _text(draw, (x, margin), caption, large, anchor)
    _text(draw, (x, image.height - margin), RESEARCH_NOTICE, small, anchor[0] + "d")


def _text(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    anchor: str,
) -> None:
    draw.text(
        place, text, font=font, anchor=anchor, fill="white", stroke_width=2, stroke_fill="black"
    )


def _dark_side_is_right(grey: NDArray[np.float32]) -> bool:
    half = grey.shape[1] // 2
    return float(grey[:, half:].mean()) < float(grey[:, :half].mean())
