"""Small line plots as SVG; a plotting library would be a dependency for two pictures."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

import numpy as np

from training.metrics import Floats

_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 150, 20, 50
_COLOURS = ("#0b6e99", "#c4472b", "#4b8b3b", "#7b4fa3", "#8a6d00", "#555555")
_TICKS = 5


def line_plot(
    path: Path, lines: Mapping[str, tuple[Floats, Floats]], *, x_label: str, y_label: str
) -> None:
    """Write a plot with one line per entry, linear axes from zero.

    Parameters
    ----------
    path
        SVG file; its folder is created when missing.
    lines
        ``(x, y)`` per name, of equal length; not negative.
    """
    drawn = {name: line for name, line in lines.items() if line[0].size}
    x_top = _round_up(max((float(x.max()) for x, _ in drawn.values()), default=1.0))
    y_top = _round_up(max((float(y.max()) for _, y in drawn.values()), default=1.0))
    parts = _axes(x_top, y_top, x_label, y_label)
    for number, (name, (x, y)) in enumerate(drawn.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(
            f"{_place_x(a, x_top):.1f},{_place_y(b, y_top):.1f}" for a, b in zip(x, y, strict=True)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
        height = _TOP + 16 * (number + 1)
        parts.append(
            f'<text x="{_WIDTH - _RIGHT + 10}" y="{height}" fill="{colour}">{escape(name)}</text>'
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">\n'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n",
        encoding="utf-8",
    )


def smooth(values: Floats, window: int) -> Floats:
    """Take the running mean over at most `window` values; the result has the same length."""
    total = np.cumsum(np.insert(values, 0, 0.0))
    ends = np.arange(1, values.size + 1)
    starts = np.maximum(ends - window, 0)
    return (total[ends] - total[starts]) / (ends - starts)


def _axes(x_top: float, y_top: float, x_label: str, y_label: str) -> list[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = [
        f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="black"/>',
        f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 12}" text-anchor="middle">'
        f"{escape(x_label)}</text>",
        f'<text transform="translate(16 {(_TOP + bottom) / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_label)}</text>',
    ]
    for tick in range(_TICKS + 1):
        x, y = x_top * tick / _TICKS, y_top * tick / _TICKS
        parts.append(
            f'<text x="{_place_x(x, x_top):.1f}" y="{bottom + 16}" '
            f'text-anchor="middle">{x:g}</text>'
        )
        parts.append(
            f'<text x="{_LEFT - 6}" y="{_place_y(y, y_top) + 4:.1f}" text-anchor="end">{y:g}</text>'
        )
    return parts


def _place_x(value: float, top: float) -> float:
    return float(_LEFT + value / top * (_WIDTH - _LEFT - _RIGHT))


def _place_y(value: float, top: float) -> float:
    return float(_HEIGHT - _BOTTOM - value / top * (_HEIGHT - _TOP - _BOTTOM))


def _round_up(value: float) -> float:
    if value <= 0:
        return 1.0
    scale = 10.0 ** np.floor(np.log10(value))
    return float(next(step * scale for step in (1, 2, 5, 10) if step * scale >= value * 0.999))
