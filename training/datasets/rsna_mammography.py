"""RSNA Screening Mammography Breast Cancer Detection (2023).

Layout: ``train.csv`` and ``train_images/<patient>/<image>.dcm``; cancer within a year per breast,
no places.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from training.datasets.example import Example
from training.datasets.pictures import dicom_picture
from training.datasets.tables import DataSetFault, Row, named, read_table

SOURCE = "rsna_mammography"
_COLUMNS = ("site_id", "patient_id", "image_id", "laterality", "view", "cancer", "machine_id")


def read_rsna_mammography(folder: Path) -> list[Example]:
    """List the images of a download; the competition's own test part has no labels.

    Raises
    ------
    DataSetFault
        When the table, an image or a label cannot be read.
    """
    table = folder / "train.csv"
    return sorted(
        (_image(table, row) for row in read_table(table, _COLUMNS)), key=lambda one: one.key
    )


def _image(table: Path, row: Row) -> Example:
    path = table.parent / "train_images" / row["patient_id"] / f"{row['image_id']}.dcm"
    if not path.is_file():
        raise DataSetFault(f"There is no {path}; the data set is incomplete.")
    return Example(
        source=SOURCE,
        key=f"{row['patient_id']}_{row['image_id']}",
        patient=row["patient_id"],
        label=named(row, "cancer", {"0": "benign", "1": "malignant"}, table),
        split=None,
        files=(path, table),
        read_image=partial(dicom_picture, path),
        facts={
            "density": row.get("density") or "unknown",
            "view": row["view"],
            "laterality": row["laterality"],
            "site": row["site_id"],
            "vendor": f"machine {row['machine_id']}",
            "implant": row.get("implant") or "unknown",
        },
    )
