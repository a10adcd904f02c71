"""VinDr-Mammo: full-field digital mammograms, BI-RADS per breast, boxes around findings.

Nguyen et al., Scientific Data 10, 277 (2023), doi 10.1038/s41597-023-02100-7. The label is the
consensus BI-RADS of the breast, not pathology: 4 and 5 are called malignant.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from training.datasets.example import Classes, Example
from training.datasets.pictures import Point, dicom_picture, drawn
from training.datasets.record import Split
from training.datasets.tables import DataSetFault, Row, named, number, read_table

SOURCE = "vindr_mammo"
_LABELS = {
    **{f"BI-RADS {value}": "benign" for value in (1, 2, 3)},
    **{f"BI-RADS {value}": "malignant" for value in (4, 5)},
}
_SPLITS = {"TRAINING": "train", "TEST": "test"}
_VENDOR = ("SOP Instance UID", "Manufacturer's Model Name")


def read_vindr_mammo(folder: Path) -> list[Example]:
    """List the images of a download (``images/<study>/<image>.dicom`` beside the tables).

    Raises
    ------
    DataSetFault
        When a table, an image or a label cannot be read.
    """
    breasts = folder / "breast-level_annotations.csv"
    rows = read_table(
        breasts,
        ("study_id", "image_id", "laterality", "view_position", "height", "width")
        + ("breast_birads", "breast_density", "split"),
    )
    findings = folder / "finding_annotations.csv"
    boxes: dict[str, list[Row]] = {}
    for row in read_table(findings, ("image_id", "xmin", "ymin", "xmax", "ymax")):
        boxes.setdefault(row["image_id"], []).append(row)
    vendors = _vendors(folder / "metadata.csv")
    return sorted(
        (_image(breasts, row, boxes.get(row["image_id"], []), vendors) for row in rows),
        key=lambda example: example.key,
    )


def _vendors(table: Path) -> dict[str, str]:
    if not table.is_file():
        return {}
    return {row[_VENDOR[0]]: row[_VENDOR[1]] for row in read_table(table, _VENDOR)}


def _image(table: Path, row: Row, boxes: list[Row], vendors: dict[str, str]) -> Example:
    findings = table.parent / "finding_annotations.csv"
    found = [_box(box, findings) for box in boxes if box["xmin"]]
    path = table.parent / "images" / row["study_id"] / f"{row['image_id']}.dicom"
    if not path.is_file():
        raise DataSetFault(f"There is no {path}; the data set is incomplete.")
    shape = (round(number(row, "height", table)), round(number(row, "width", table)))
    kinds = sorted({box.get("finding_categories") or "unknown" for box in boxes if box["xmin"]})
    return Example(
        source=SOURCE,
        key=row["image_id"],
        patient=row["study_id"],
        label=named(row, "breast_birads", _LABELS, table),
        split=Split(named(row, "split", _SPLITS, table)),
        files=(path, table, findings),
        read_image=partial(dicom_picture, path),
        read_mask=partial(_mask, shape, found),
        facts={
            "density": row["breast_density"].removeprefix("DENSITY "),
            "view": row["view_position"],
            "laterality": row["laterality"],
            "assessment": row["breast_birads"],
            "lesion": "+".join(kinds) or "none",
            "vendor": vendors.get(row["image_id"], "unknown"),
        },
    )


def _box(row: Row, table: Path) -> list[Point]:
    left, top, right, bottom = (
        number(row, name, table) for name in ("xmin", "ymin", "xmax", "ymax")
    )
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _mask(shape: tuple[int, int], boxes: list[list[Point]]) -> Classes:
    return drawn(shape, boxes)
