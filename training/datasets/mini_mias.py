"""mini-MIAS as published: ``mdb001.pgm`` … ``mdb322.pgm`` and ``Info.txt``.

Suckling et al., Excerpta Medica 1069 (1994) 375-378. Research purposes only. ``Info.txt`` counts
rows from the bottom. A woman is the pair 2k-1, 2k; the films are shown mirrored, so sides are
not told.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from training.datasets.example import Classes, Example
from training.datasets.pictures import grey_picture
from training.datasets.tables import DataSetFault, the_file

SOURCE = "mini_mias"
SPACING_MM = (0.2, 0.2)
SIDE = 1024
# Circles of the published list that lie off the breast, whichever way rows are counted.
_MISPLACED = frozenset({"mdb212", "mdb214"})
_LINE = re.compile(
    r"^(mdb\d{3})\s+([FGD])\s+(CALC|CIRC|SPIC|MISC|ARCH|ASYM|NORM)"
    r"(?:\s+([BM]))?(?:\s+(\d+)\s+(\d+)\s+(\d+)|\s+\*NOTE \d\*)?\s*$"
)
_Circle = tuple[float, float, float, float]


def read_mini_mias(folder: Path) -> list[Example]:
    """List the films of a download, wherever below `folder` the files lie.

    Raises
    ------
    DataSetFault
        When ``Info.txt`` or a film is missing, or a line cannot be understood.
    """
    table = the_file(folder, "Info.txt", "info.txt", "*/Info.txt")
    films: dict[str, list[re.Match[str]]] = {}
    for number, line in enumerate(table.read_text(encoding="latin-1").splitlines(), start=1):
        if not line.startswith("mdb"):
            continue
        match = _LINE.match(line)
        if match is None:
            raise DataSetFault(f"{table}, line {number}: {line.strip()!r} cannot be understood.")
        films.setdefault(match[1], []).append(match)
    if not films:
        raise DataSetFault(f"{table} names no film; is it the Info.txt of mini-MIAS?")
    return [_film(table, key, lines) for key, lines in sorted(films.items())]


def _film(table: Path, key: str, lines: list[re.Match[str]]) -> Example:
    path = table.parent / f"{key}.pgm"
    if not path.is_file():
        raise DataSetFault(f"There is no {path}; the data set is incomplete.")
    severities = {line[4] for line in lines}
    abnormal = [line for line in lines if line[3] != "NORM"]
    circles: list[_Circle] | None = [_circle(line) for line in abnormal if line[5]]
    if key in _MISPLACED or any(line[5] is None for line in abnormal):
        circles = None
    number = int(key[3:])
    return Example(
        source=SOURCE,
        key=key,
        patient=f"P{(number + 1) // 2:03d}",
        label="malignant" if "M" in severities else "benign" if "B" in severities else "normal",
        split=None,
        files=(path, table),
        read_image=partial(grey_picture, path),
        read_mask=None if circles is None else partial(_discs, circles),
        spacing_mm=SPACING_MM,
        facts={"tissue": lines[0][2], "lesion": "+".join(sorted({line[3] for line in lines}))},
    )


def _circle(line: re.Match[str]) -> _Circle:
    column, from_bottom, radius = (float(line[group]) for group in (5, 6, 7))
    return column, SIDE - 1 - from_bottom, radius, radius


def _discs(circles: list[_Circle]) -> Classes:
    rows, columns = np.ogrid[:SIDE, :SIDE]
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    for column, row, radius, _ in circles:
        mask |= ((rows - row) ** 2 + (columns - column) ** 2 <= radius**2).astype(np.uint8)
    return mask
