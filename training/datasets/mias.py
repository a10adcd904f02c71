"""mini-MIAS: 1024 x 1024 digitised films, lesions given as circles.

Suckling et al., "The Mammographic Image Analysis Society Digital Mammogram Database",
Excerpta Medica 1069 (1994) 375-378. Research purposes only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.datasets.record import Split
from training.datasets.tables import (
    DataSetFault,
    Row,
    number,
    read_grey,
    read_splits,
    read_table,
    split_of,
)

SOURCE = "mias"
SPACING_MM = (0.2, 0.2)
_SEVERITIES = ("B", "M", "N")


@dataclass(frozen=True, slots=True)
class Circle:
    """Lesion circle; pixels, row counted from the top."""

    row: float
    column: float
    radius: float


@dataclass(frozen=True, slots=True)
class MiasRecord:
    """One film. `circles` is ``None`` when an abnormality has no usable place.

    A film with one malignant and one benign lesion is malignant.
    """

    path: Path
    key: str
    patient: str
    split: Split
    malignant: bool
    circles: tuple[Circle, ...] | None
    source: str = SOURCE
    spacing_mm: tuple[float, float] = SPACING_MM

    def pixels(self) -> NDArray[np.float32]:
        """Film, ``(rows, columns)``, in [0, 1]."""
        return read_grey(self.path)

    def lesions(self) -> NDArray[np.bool_] | None:
        """Union of the filled circles, ``(rows, columns)``."""
        if self.circles is None:
            return None
        shape = read_grey(self.path).shape
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        mask = np.zeros(shape, dtype=np.bool_)
        for circle in self.circles:
            distance = (rows - circle.row) ** 2 + (columns - circle.column) ** 2
            mask |= distance <= circle.radius**2
        return mask


def read_mias(folder: Path) -> list[MiasRecord]:
    """List the films of ``folder`` (``labels.csv``, ``splits.csv``, ``images/``).

    Raises
    ------
    DataSetFault
        When a table is missing or a label cannot be understood.
    """
    table = folder / "labels.csv"
    columns = ("image", "patient", "cls", "severity", "x", "y", "radius", "note")
    rows_of: dict[str, list[dict[str, str]]] = {}
    for row in read_table(table, columns):
        rows_of.setdefault(row["image"], []).append(row)
    splits = read_splits(folder / "splits.csv")
    return [
        MiasRecord(
            path=folder / "images" / image,
            key=Path(image).stem,
            patient=rows[0]["patient"],
            split=split_of(rows[0]["patient"], splits, folder / "splits.csv"),
            malignant=any(_severity(row, table) == "M" for row in rows),
            circles=_circles(rows, table),
        )
        for image, rows in sorted(rows_of.items())
    ]


def _severity(row: Row, table: Path) -> str:
    if row["severity"] not in _SEVERITIES:
        raise DataSetFault(
            f"{table}: severity of {row['image']} is {row['severity']!r}; expected B, M or N."
        )
    return row["severity"]


def _circles(rows: list[dict[str, str]], table: Path) -> tuple[Circle, ...] | None:
    abnormal = [row for row in rows if _severity(row, table) != "N"]
    # Two circles of the published list lie off the breast; their rows say so in the note.
    if any(not row["x"] or "do not use location" in row["note"] for row in abnormal):
        return None
    return tuple(
        Circle(number(row, "y", table), number(row, "x", table), number(row, "radius", table))
        for row in abnormal
    )
