"""CDD-CESM: digital mammograms (low-energy images) with hand-drawn lesions, at 512 x 512.

Khaled et al., "Categorized contrast enhanced mammography dataset", Scientific Data 9, 122
(2022), doi 10.7937/29kw-ae92. Nearly every image is malignant, so the set trains the segmenter
only: `malignant` is ``None``, lest a classifier learn to tell the sets apart.
"""

from __future__ import annotations

from pathlib import Path

from training.datasets.outlined import OutlinedImage, outlined_image
from training.datasets.tables import DataSetFault, Row, number, read_splits, read_table

SOURCE = "cdd_cesm"
# The tables give no pixel size. Machine 1 is a GE flat panel (0.094 mm), machine 2 a Hologic one
# (0.070 mm); with `scale` these give picture heights that match the two detectors.
_DETECTOR_MM = {"1": 0.094, "2": 0.070}
_TYPICAL_SCALE = 0.23


def read_cdd_cesm(folder: Path) -> list[OutlinedImage]:
    """List the low-energy (``DM``) images of ``folder``; contrast images are left out.

    Raises
    ------
    DataSetFault
        When a table is missing or a label cannot be understood.
    """
    table = folder / "labels.csv"
    splits = read_splits(folder / "splits.csv")
    records = []
    for row in read_table(table, ("image", "mask", "patient", "type", "machine", "scale")):
        if row["type"] not in ("DM", "CM"):
            raise DataSetFault(
                f"{table}: type of {row['image']} is {row['type']!r}; expected DM or CM."
            )
        if row["type"] == "CM":
            continue
        # The pixel size is an estimate, and every image is taken for its outline alone.
        records.append(outlined_image(folder, row, splits, _pixel_mm(row, table), SOURCE))
    return sorted(records, key=lambda record: record.key)


def _pixel_mm(row: Row, table: Path) -> float:
    scale = number(row, "scale", table) if row["scale"] else _TYPICAL_SCALE
    if scale <= 0:
        raise DataSetFault(f"{table}: scale of {row['image']} is {scale}; it must be positive.")
    return _DETECTOR_MM.get(row["machine"], _DETECTOR_MM["1"]) / scale
