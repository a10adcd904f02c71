"""A small part of DDSM: digitised MLO films with one outline each.

Heath et al., "The Digital Database for Screening Mammography", IWDM 2000. The outlines are
generous; the digitiser goes with the pathology and so confounds a classifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.datasets.record import Split
from training.datasets.tables import (
    choose,
    number,
    read_grey,
    read_mask,
    read_splits,
    read_table,
    split_of,
)

SOURCE = "ddsm_mini"


@dataclass(frozen=True, slots=True)
class DdsmRecord:
    """One film with its outline; `malignant` is the pathology of the outlined lesion."""

    image_path: Path
    mask_path: Path
    key: str
    patient: str
    split: Split
    malignant: bool
    spacing_mm: tuple[float, float]
    source: str = SOURCE

    def pixels(self) -> NDArray[np.float32]:
        """Film, ``(rows, columns)``, in [0, 1]."""
        return read_grey(self.image_path)

    def lesions(self) -> NDArray[np.bool_]:
        """Fill the outline, ``(rows, columns)``."""
        return read_mask(self.mask_path)


def read_ddsm_mini(folder: Path) -> list[DdsmRecord]:
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
        pixel_mm = number(row, "pixel_um", table) / 1000.0
        records.append(
            DdsmRecord(
                image_path=folder / "images" / row["image"],
                mask_path=folder / "masks" / row["mask"],
                key=Path(row["image"]).stem,
                patient=row["patient"],
                split=split_of(row["patient"], splits, folder / "splits.csv"),
                malignant=choose(row, "pathology", {"MALIGNANT": True, "BENIGN": False}, table),
                spacing_mm=(pixel_mm, pixel_mm),
            )
        )
    return sorted(records, key=lambda record: record.key)
