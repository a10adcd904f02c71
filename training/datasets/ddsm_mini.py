"""A small part of DDSM: digitised MLO films with one outline each.

Heath et al., "The Digital Database for Screening Mammography", IWDM 2000. The outlines are
generous; the digitiser goes with the pathology and so confounds a classifier.
"""

from __future__ import annotations

from pathlib import Path

from training.datasets.outlined import OutlinedImage, outlined_image
from training.datasets.tables import choose, number, read_splits, read_table

SOURCE = "ddsm_mini"


def read_ddsm_mini(folder: Path) -> list[OutlinedImage]:
    """List the films of ``folder`` (``labels.csv``, ``splits.csv``, ``images/``, ``masks/``).

    Raises
    ------
    DataSetFault
        When a table is missing or a label cannot be understood.
    """
    table = folder / "labels.csv"
    splits = read_splits(folder / "splits.csv")
    records = []
    for row in read_table(table, ("image", "mask", "patient", "pathology", "pixel_um")):
        # `malignant` is the pathology of the outlined lesion.
        malignant = choose(row, "pathology", {"MALIGNANT": True, "BENIGN": False}, table)
        pixel_mm = number(row, "pixel_um", table) / 1000.0
        records.append(outlined_image(folder, row, splits, pixel_mm, SOURCE, malignant))
    return sorted(records, key=lambda record: record.key)
