"""Pictures as they are handed to ``POST /api/v1/images``, with the same fields in a table.

``uploads.csv`` has one row per picture: ``file``, ``laterality``, ``view``, ``pixel_spacing_mm``
and ``patient_id`` as in the form of an upload, and ``label``; ``mask`` and ``split`` are optional.
What was uploaded for analysis can so be trained on as it is.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from training.datasets.example import Classes, Example
from training.datasets.pictures import dicom_picture, grey_picture
from training.datasets.record import Split
from training.datasets.tables import DataSetFault, Row, number, read_mask, read_table

SOURCE = "uploads"
_COLUMNS = ("file", "laterality", "view", "pixel_spacing_mm", "patient_id", "label")
_DICOM = frozenset({".dcm", ".dicom", ".ima", ""})


def read_uploads(folder: Path) -> list[Example]:
    """List the pictures that ``uploads.csv`` names.

    Raises
    ------
    DataSetFault
        When the table, a picture or a value cannot be read.
    """
    table = folder / "uploads.csv"
    return [_picture(table, row) for row in read_table(table, _COLUMNS)]


def _picture(table: Path, row: Row) -> Example:
    path = table.parent / row["file"]
    if not path.is_file():
        raise DataSetFault(f"There is no {path}, which {table.name} names.")
    for column, allowed in (("laterality", ("L", "R")), ("view", ("CC", "MLO"))):
        if row[column] not in allowed:
            raise DataSetFault(
                f"{table}: {column} of {row['file']} is {row[column]!r}; expected "
                f"{' or '.join(allowed)}."
            )
    spacing = number(row, "pixel_spacing_mm", table)
    if not 0.005 <= spacing <= 5:
        raise DataSetFault(
            f"{table}: pixel_spacing_mm of {row['file']} is {spacing}; expected 0.005 to 5."
        )
    if not row["patient_id"] or not row["label"]:
        raise DataSetFault(f"{table}: {row['file']} needs a patient_id and a label.")
    mask = table.parent / row["mask"] if row.get("mask") else None
    try:
        split = Split.of_table(row["split"]) if row.get("split") else None
    except ValueError:
        raise DataSetFault(f"{table}: split is {row['split']!r}; use train, val or test.") from None
    read = dicom_picture if path.suffix.lower() in _DICOM else grey_picture
    return Example(
        source=SOURCE,
        key=Path(row["file"]).with_suffix("").as_posix().replace("/", "_"),
        patient=row["patient_id"],
        label=row["label"],
        split=split,
        files=(path, table, *([mask] if mask else [])),
        read_image=partial(read, path),
        read_mask=None if mask is None else partial(_mask, mask),
        spacing_mm=(spacing, spacing),
        facts={"view": row["view"], "laterality": row["laterality"]},
    )


def _mask(path: Path) -> Classes:
    return read_mask(path).astype("uint8")
