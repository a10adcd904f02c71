"""CDD-CESM as published: low-energy and subtracted images, an Excel table, outlines of VIA.

Khaled et al., Scientific Data 9, 122 (2022), doi 10.7937/29kw-ae92. Layout: ``Low energy images
of CDD-CESM/P1_L_DM_CC.jpg``, ``Subtracted images of CDD-CESM/P1_L_CM_CC.jpg``,
``Radiology-manual-annotations.xlsx``, ``Radiology_hand_drawn_segmentations_v2.csv``. No pixel
size is published; that of the two detectors is taken.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from openpyxl import load_workbook
from openpyxl.utils.exceptions import InvalidFileException

from training.datasets.example import Classes, Example
from training.datasets.pictures import drawn, grey_picture
from training.datasets.tables import DataSetFault, Row, named, open_picture, read_table, the_file

SOURCE = "cdd_cesm_tcia"
_LABELS = {"MALIGNANT": "malignant", "BENIGN": "benign", "NORMAL": "normal"}
_PATHOLOGY = "Pathology Classification/ Follow up"
_COLUMNS = ("Patient_ID", "Side", "Type", "Image_name", "View", _PATHOLOGY)
_FOLDERS = {"DM": "Low energy images of CDD-CESM", "CM": "Subtracted images of CDD-CESM"}
_DETECTOR_MM = {"1": 0.094, "2": 0.070}


def read_cdd_cesm_tcia(folder: Path) -> list[Example]:
    """List the low-energy (``DM``) images of a download; contrast images are another modality.

    Raises
    ------
    DataSetFault
        When a table, an image or a label cannot be read.
    """
    table = the_file(folder, "Radiology*manual*annotations.xlsx", "*/Radiology*manual*.xlsx")
    shapes = _shapes(the_file(table.parent, "Radiology_hand_drawn_segmentations*.csv"))
    rows = [row for row in _sheet(table) if _kind(row, table) == "DM"]
    return sorted((_image(table, row, shapes) for row in rows), key=lambda one: one.key)


def _sheet(table: Path) -> list[Row]:
    try:
        with table.open("rb") as stream:
            sheet = load_workbook(stream, data_only=True).worksheets[0]
            lines = [["" if cell is None else str(cell) for cell in line] for line in sheet.values]
    except (InvalidFileException, BadZipFile, KeyError, OSError) as exc:
        raise DataSetFault(f"{table} is not an Excel table; download it again.") from exc
    header = [name.strip() for name in lines[0]] if lines else []
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        raise DataSetFault(f"{table} has no column {', '.join(missing)}; is it another table?")
    return [dict(zip(header, line, strict=False)) for line in lines[1:] if any(line)]


def _kind(row: Row, table: Path) -> str:
    return named(row, "Type", {"DM": "DM", "CM": "CM", "CESM": "CM"}, table)


def _shapes(table: Path) -> dict[str, list[dict[str, Any]]]:
    shapes: dict[str, list[dict[str, Any]]] = {}
    for row in read_table(table, ("#filename", "region_shape_attributes")):
        try:
            shape = json.loads(row["region_shape_attributes"])
        except json.JSONDecodeError:
            raise DataSetFault(
                f"{table}: the outline of {row['#filename']} is not JSON; download it again."
            ) from None
        if shape:
            shapes.setdefault(Path(row["#filename"].strip()).stem, []).append(shape)
    return shapes


def _image(table: Path, row: Row, shapes: dict[str, list[dict[str, Any]]]) -> Example:
    key = row["Image_name"].strip()
    path = table.parent / _FOLDERS["DM"] / f"{key}.jpg"
    if not path.is_file():
        raise DataSetFault(f"There is no {path}; the data set is incomplete.")
    pixel_mm = _DETECTOR_MM.get(row.get("Machine", "1").strip(), _DETECTOR_MM["1"])
    return Example(
        source=SOURCE,
        key=key,
        patient=f"P{row['Patient_ID'].strip().removeprefix('P')}",
        label=named(row, _PATHOLOGY, _LABELS, table),
        split=None,
        files=(path, table),
        read_image=partial(grey_picture, path),
        read_mask=partial(_mask, path, shapes.get(key, [])),
        spacing_mm=(pixel_mm, pixel_mm),
        facts={
            "density": row.get("Breast density (ACR)", "unknown").strip(),
            "view": row["View"].strip(),
            "laterality": row["Side"].strip(),
            "assessment": row.get("BIRADS", "unknown").strip(),
            "vendor": f"machine {row.get('Machine', 'unknown').strip()}",
        },
    )


def _mask(path: Path, shapes: list[dict[str, Any]]) -> Classes:
    width, height = open_picture(path).size
    polygons, ellipses = [], []
    try:
        for shape in shapes:
            kind = shape["name"]
            if kind in ("polygon", "polyline"):
                points = zip(shape["all_points_x"], shape["all_points_y"], strict=True)
                polygons.append([(float(column), float(row)) for column, row in points])
            elif kind in ("ellipse", "circle"):
                across = float(shape.get("rx", shape.get("r", 0)))
                down = float(shape.get("ry", shape.get("r", 0)))
                ellipses.append((float(shape["cx"]), float(shape["cy"]), across, down))
            elif kind == "point":
                polygons.append([(float(shape["cx"]), float(shape["cy"]))])
            else:
                raise ValueError(kind)
    except (KeyError, TypeError, ValueError) as exc:
        raise DataSetFault(f"An outline of {path.name} cannot be understood ({exc}).") from exc
    return drawn((height, width), polygons, ellipses)
