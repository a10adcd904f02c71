"""INbreast: full-field digital mammograms with outlines in property lists.

Moreira et al., Academic Radiology 19, 236 (2012). Layout: ``INbreast.csv`` (semicolons),
``AllDICOMs/<file>_<patient>_MG_<side>_<view>_ANON.dcm``, ``AllXML/<file>.xml``. The label is the
reader's BI-RADS, not pathology: 4 and above are called malignant, 1 to 3 benign.
"""

from __future__ import annotations

import plistlib
import re
from functools import partial
from pathlib import Path
from xml.parsers.expat import ExpatError

from training.datasets.example import Classes, Example
from training.datasets.pictures import Point, dicom_header, dicom_picture, drawn
from training.datasets.tables import DataSetFault, Row, read_table, the_file

SOURCE = "inbreast"
SPACING_MM = (0.07, 0.07)
_POINT = re.compile(r"\(\s*([-\d.eE]+)\s*,\s*([-\d.eE]+)\s*\)")
_LESIONS = ("Mass", "Micros", "Distortion", "Asymmetry")


def read_inbreast(folder: Path) -> list[Example]:
    """List the images of a download.

    Raises
    ------
    DataSetFault
        When the table, an image or a label cannot be read.
    """
    table = the_file(folder, "INbreast.csv", "*/INbreast.csv")
    rows = read_table(table, ("Laterality", "View", "File Name", "ACR", "Bi-Rads"), delimiter=";")
    images = {path.name.split("_")[0]: path for path in table.parent.glob("AllDICOMs/*.dcm")}
    return sorted((_image(table, row, images) for row in rows), key=lambda one: one.key)


def _image(table: Path, row: Row, images: dict[str, Path]) -> Example:
    row = {column.strip(): value for column, value in row.items() if column}
    key = row["File Name"].strip()
    path = images.get(key)
    if path is None:
        raise DataSetFault(f"There is no AllDICOMs/{key}_*.dcm beside {table}; download it again.")
    parts = path.stem.split("_")
    if len(parts) < 5:
        raise DataSetFault(f"{path} is not named <file>_<patient>_MG_<side>_<view>_ANON.dcm.")
    outlines, contours = table.parent / "AllXML" / f"{key}.xml", table.parent / "AllROI"
    if not outlines.is_file() and any(contours.glob(f"{key}*.roi")):
        outlines = next(contours.glob(f"{key}*.roi"))
    return Example(
        source=SOURCE,
        key=key,
        patient=parts[1],
        label=_label(row, table),
        split=None,
        files=(path, table, *([outlines] if outlines.is_file() else [])),
        read_image=partial(dicom_picture, path),
        read_mask=partial(_mask, path, outlines),
        spacing_mm=SPACING_MM,
        facts={
            "density": row["ACR"].strip(),
            "view": row["View"].strip(),
            "laterality": row["Laterality"].strip(),
            "assessment": row["Bi-Rads"].strip(),
            "lesion": "+".join(name for name in _LESIONS if row.get(name, "").strip()) or "none",
        },
    )


def _label(row: Row, table: Path) -> str:
    text = row["Bi-Rads"].strip()
    if text[:1] not in set("123456"):
        raise DataSetFault(f"{table}: Bi-Rads of {row['File Name']} is {text!r}; expected 1 to 6.")
    return "malignant" if int(text[0]) >= 4 else "benign"


def _mask(image: Path, outlines: Path) -> Classes:
    header = dicom_header(image)
    shape = (int(header.Rows), int(header.Columns))
    return drawn(shape, _polygons(outlines) if outlines.is_file() else [])


def _polygons(path: Path) -> list[list[Point]]:
    """Outlines of a property list, as OsiriX writes them; an image without file has none."""
    try:
        regions = [
            region
            for image in plistlib.loads(path.read_bytes())["Images"]
            for region in image["ROIs"]
        ]
        polygons = []
        for region in regions:
            points = [_POINT.match(text) for text in region["Point_px"]]
            polygons.append([(float(point[1]), float(point[2])) for point in points if point])
    except (plistlib.InvalidFileException, ExpatError, KeyError, TypeError, ValueError) as exc:
        raise DataSetFault(
            f"{path} is not a property list with Images, ROIs and Point_px; take AllXML as "
            "published."
        ) from exc
    return [points for points in polygons if points]
