"""Colours in which viewers show segments."""

from __future__ import annotations

import colorsys

from highdicom.color import CIELabColor

_GOLDEN_ANGLE = 0.381966


def display_colour(number: int) -> CIELabColor:
    """Colour of a segment; neighbours in number lie far apart on the colour circle."""
    red, green, blue = colorsys.hsv_to_rgb((number - 1) * _GOLDEN_ANGLE % 1.0, 1.0, 1.0)
    return CIELabColor.from_rgb(round(red * 255), round(green * 255), round(blue * 255))
