"""Bar charts as plain shapes: a template draws them, and no script is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT = 360.0, 96.0
_GAP = 0.25
#: Half of a letter of a mark, so that the words at both ends stay inside.
_HALF_LETTER = 2.5


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, in units of the chart; `title` says what it stands for."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars over time or over values.

    Attributes
    ----------
    summary
        What a person who cannot see it should know.
    top
        Value at its upper edge.
    marks
        Places along it, and the words below them.
    """

    heading: str
    summary: str
    tone: str
    bars: tuple[Bar, ...]
    top: str
    marks: tuple[tuple[float, str], ...]
    rows: tuple[tuple[str, str], ...]
    width: float = _WIDTH
    height: float = _HEIGHT


def _bar(slot: float, position: int, height: float, title: str) -> Bar:
    """Place a bar of some height into its slot."""
    return Bar(
        x=(position + _GAP / 2) * slot,
        y=_HEIGHT - height,
        width=slot * (1 - _GAP),
        height=height,
        title=title,
    )


def _inside(place: float, name: str) -> float:
    """Move the middle of a word so far that none of it is cut."""
    half = min(len(name) * _HALF_LETTER, _WIDTH / 2)
    return min(max(place, half), _WIDTH - half)


def bar_chart(
    heading: str,
    values: Sequence[tuple[str, float]],
    *,
    tone: str = "busy",
    unit: str = "",
    marks: int = 4,
    decimals: int = 0,
) -> Chart:
    """Draw values with their names, such as ``("10:00", 7)``, from left to right.

    Parameters
    ----------
    unit
        What is counted, for the words beside it.
    marks
        How many names are written below.
    """
    top = max((value for _, value in values), default=0.0)
    slot = _WIDTH / max(len(values), 1)

    def written(value: float) -> str:
        return f"{value:.{decimals}f}{unit}"

    bars = tuple(
        _bar(slot, position, _HEIGHT * value / top if top else 0.0, f"{name}: {written(value)}")
        for position, (name, value) in enumerate(values)
    )
    most = max(values, key=lambda item: item[1], default=("", 0.0))
    total = "" if decimals else f"{sum(value for _, value in values):.0f} in all"
    said = f"{heading}: {total}" if top else f"{heading}: none"
    said += f"; most {written(most[1])} at {most[0]}" if top else ""
    every = max(len(values) // marks, 1)
    return Chart(
        heading=heading,
        summary=said,
        tone=tone,
        bars=bars,
        top=written(top),
        marks=tuple(
            (_inside((position + 0.5) * slot, name), name)
            for position, (name, _) in enumerate(values)
            if position % every == 0
        ),
        rows=tuple((name, written(value)) for name, value in values),
    )
