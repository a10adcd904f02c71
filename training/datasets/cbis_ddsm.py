"""CBIS-DDSM: digitised films as DICOM, cases in four CSV files.

Lee et al., Scientific Data 4, 170177 (2017), doi 10.1038/sdata.2017.177. The official split is
made for masses and calcifications apart, and 31 of 1,566 patients are in the training part of one
and in the test part of the other: here such a patient is tested on, never trained on. The
headers hold no pixel size: most films were scanned at 50 µm, so that is what is assumed.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from pydicom import dcmread

from training.datasets.example import Classes, Example
from training.datasets.pictures import any_of, dicom_header, dicom_picture
from training.datasets.record import Split
from training.datasets.tables import DataSetFault, named, read_table

SOURCE = "cbis_ddsm"
SPACING_MM = (0.05, 0.05)
_LABELS = {
    "MALIGNANT": "malignant",
    "BENIGN": "benign",
    "BENIGN_WITHOUT_CALLBACK": "benign",
}
_COLUMNS = (
    "patient_id",
    "left or right breast",
    "image view",
    "abnormality type",
    "assessment",
    "pathology",
    "image file path",
    "ROI mask file path",
)
_TABLES = tuple(
    (f"{kind}_case_description_{part}_set.csv", split)
    for kind in ("mass", "calc")
    for part, split in (("train", Split.TRAIN), ("test", Split.TEST))
)
_Case = tuple[dict[str, str], Split, Path]


def read_cbis_ddsm(folder: Path) -> list[Example]:
    """List the films of a download; any of the four tables may be missing, not all.

    Images lie where the tables say, or where the NBIA Data Retriever puts them: anywhere below a
    folder named like the first part of the table's path.

    Raises
    ------
    DataSetFault
        When no table is there, a label is unknown or a film is missing.
    """
    cases: dict[str, list[_Case]] = {}
    for name, split in _TABLES:
        for table in sorted(folder.rglob(name)):
            for row in read_table(table, _COLUMNS):
                cases.setdefault(_series(row["image file path"]), []).append((row, split, table))
    if not cases:
        raise DataSetFault(f"{folder} holds no {_TABLES[0][0]}; is it the folder of CBIS-DDSM?")
    tested = {
        row["patient_id"]
        for rows in cases.values()
        for row, split, _ in rows
        if split is Split.TEST
    }
    places = {path.name: path for path in sorted(folder.rglob("*")) if path.is_dir()}
    return [_film(folder, name, rows, tested, places) for name, rows in sorted(cases.items())]


def _film(
    folder: Path, name: str, rows: list[_Case], tested: set[str], places: dict[str, Path]
) -> Example:
    labels = {named(row, "pathology", _LABELS, table) for row, _, table in rows}
    image = _place(folder, rows[0][0]["image file path"], places)[0]
    regions = [_place(folder, row["ROI mask file path"], places) for row, _, _ in rows]
    row, _, table = rows[0]
    density = row.get("breast density") or row.get("breast_density") or "unknown"
    return Example(
        source=SOURCE,
        key=name,
        patient=row["patient_id"],
        label="malignant" if "malignant" in labels else "benign",
        split=Split.TEST if row["patient_id"] in tested else Split.TRAIN,
        files=(image, *(path for paths in regions for path in paths), table),
        read_image=partial(dicom_picture, image),
        read_mask=partial(_mask, image, regions),
        spacing_mm=SPACING_MM,
        facts={
            "density": density,
            "lesion": "+".join(sorted({case["abnormality type"] for case, _, _ in rows})),
            "view": row["image view"],
            "laterality": row["left or right breast"],
            "assessment": row["assessment"],
        },
    )


def _series(path: str) -> str:
    return path.strip().split("/")[0]


def _place(folder: Path, path: str, places: dict[str, Path]) -> list[Path]:
    """Every file of the series that a table's path names."""
    exact = folder / path.strip()
    if exact.is_file():
        return sorted(exact.parent.glob("*.dcm"))
    series = places.get(_series(path))
    found = sorted(series.rglob("*.dcm")) if series is not None else []
    if not found:
        raise DataSetFault(
            f"There is no image of {_series(path)} below {folder}; download it, or remove its rows."
        )
    return found


def _mask(image: Path, regions: list[list[Path]]) -> Classes:
    """Join the outlines; cut-out and mask are swapped in many rows, but a mask is film-sized."""
    header = dicom_header(image)
    shape = (int(header.Rows), int(header.Columns))
    masks = []
    for paths in regions:
        sizes = {path: dicom_header(path) for path in paths}
        fitting = [p for p, found in sizes.items() if (found.Rows, found.Columns) == shape]
        if not fitting:
            raise DataSetFault(
                f"{paths[0].parent} holds no mask of {shape[0]} x {shape[1]} pixels, the size of "
                "its film; download the series again."
            )
        masks.append(np.asarray(dcmread(fitting[0]).pixel_array) > 0)
    return any_of(masks)
