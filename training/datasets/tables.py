"""Tables and pictures as the public sets store them; every fault is one clear sentence."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from oncopixel_pacs.errors import OncoPixelError
from training.datasets.record import Split

Row = Mapping[str, str]


class DataSetFault(OncoPixelError):
    """A data set that is not where it should be or does not hold what it should."""


def read_table(path: Path, columns: Sequence[str], *, delimiter: str = ",") -> list[dict[str, str]]:
    """Read a CSV file with a header.

    Parameters
    ----------
    path
        The file.
    columns
        Names that the header has to contain.

    Raises
    ------
    DataSetFault
        When the file is missing, empty, or lacks a column.
    """
    if not path.is_file():
        raise DataSetFault(f"There is no {path}; point --data at the folder that holds the sets.")
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream, delimiter=delimiter)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise DataSetFault(f"{path} has no column {', '.join(missing)}; is it another table?")
        rows = list(reader)
    if not rows:
        raise DataSetFault(f"{path} has a header but no rows; download it again.")
    return rows


def read_splits(path: Path) -> dict[str, Split]:
    """Read ``patient,split``: which patient belongs to which part.

    Raises
    ------
    DataSetFault
        When the table cannot be read, a part is unknown, or a patient stands in two parts.
    """
    splits: dict[str, Split] = {}
    for row in read_table(path, ("patient", "split")):
        try:
            split = Split.of_table(row["split"])
        except ValueError:
            raise DataSetFault(
                f"{path}: patient {row['patient']} is in part {row['split']!r}; "
                "use train, val or test."
            ) from None
        if splits.setdefault(row["patient"], split) is not split:
            raise DataSetFault(f"{path}: patient {row['patient']} is in two parts; keep one.")
    return splits


def the_file(folder: Path, *names: str) -> Path:
    """Find the one file of `folder` that goes by one of the names (patterns allowed).

    Raises
    ------
    DataSetFault
        When there is none.
    """
    for name in names:
        for path in sorted(folder.glob(name)):
            return path
    raise DataSetFault(f"{folder} holds no {' or '.join(names)}; is it the folder of this set?")


def named(row: Row, column: str, meanings: Mapping[str, str], table: Path) -> str:
    """Read a label by its table of meanings; case and surrounding space do not matter.

    Raises
    ------
    DataSetFault
        When the label is not among `meanings`.
    """
    try:
        return meanings[row[column].strip().upper()]
    except KeyError:
        raise DataSetFault(
            f"{table}: {column} is {row[column]!r}; expected {' or '.join(meanings)}."
        ) from None


def split_of(patient: str, splits: Mapping[str, Split], table: Path) -> Split:
    """Look up the part of one patient.

    Raises
    ------
    DataSetFault
        When the patient is in none: an image without a part could leak into training.
    """
    try:
        return splits[patient]
    except KeyError:
        raise DataSetFault(f"{table} does not say which part {patient} is in; add it.") from None


def number(row: Row, column: str, table: Path) -> float:
    """Read the number in a cell.

    Raises
    ------
    DataSetFault
        When the cell holds no number.
    """
    try:
        return float(row[column])
    except ValueError:
        raise DataSetFault(
            f"{table}: {column} is {row[column]!r}, which is not a number; correct the row."
        ) from None


def choose(row: Row, column: str, meanings: Mapping[str, bool], table: Path) -> bool:
    """Read the meaning of a label.

    Raises
    ------
    DataSetFault
        When the label is not among `meanings`.
    """
    try:
        return meanings[row[column].strip().upper()]
    except KeyError:
        raise DataSetFault(
            f"{table}: {column} is {row[column]!r}; expected {' or '.join(meanings)}."
        ) from None


def read_grey(path: Path) -> NDArray[np.float32]:
    """Read an 8-bit or 16-bit grey picture, ``(rows, columns)``, scaled to [0, 1].

    Raises
    ------
    DataSetFault
        When the file is missing or no picture.
    """
    picture = open_picture(path)
    if picture.mode.startswith("I"):
        return (np.asarray(picture, dtype=np.float32) / 65535.0).clip(0.0, 1.0)
    return np.asarray(picture.convert("L"), dtype=np.float32) / np.float32(255.0)


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask picture, ``(rows, columns)``; true where it is not black.

    Raises
    ------
    DataSetFault
        When the file is missing or no picture.
    """
    return np.asarray(open_picture(path).convert("L")) > 127


def open_picture(path: Path) -> Image.Image:
    """Open a picture and read it to its end.

    Raises
    ------
    DataSetFault
        When the file is missing or no picture.
    """
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture.copy()
    except FileNotFoundError:
        raise DataSetFault(f"There is no {path}; the data set is incomplete.") from None
    except (UnidentifiedImageError, OSError) as exc:
        raise DataSetFault(f"{path} cannot be read as a picture; download it again.") from exc
