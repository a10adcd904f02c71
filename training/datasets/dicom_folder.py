"""One's own images: a folder of DICOM files and ``labels.csv``.

Columns: ``label``, and ``file`` (path below the folder) or ``sop_instance_uid``; optional are
``patient`` (else Patient ID), ``split`` (train, val, test), ``mask`` (a picture, not black where
the lesion is), and any further column, which becomes a fact for subgroups.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

from oncopixel_pacs.imaging.header import read_image_facts
from training.datasets.example import Classes, Example
from training.datasets.pictures import dicom_header, dicom_picture
from training.datasets.record import Split
from training.datasets.tables import DataSetFault, Row, read_mask, read_table

SOURCE = "dicom_folder"
_OWN = frozenset({"label", "file", "sop_instance_uid", "patient", "split", "mask"})


def read_dicom_folder(folder: Path) -> list[Example]:
    """List the images that the table names.

    Raises
    ------
    DataSetFault
        When the table, an image or a value cannot be read, or two rows name one image.
    """
    table = folder / "labels.csv"
    rows = read_table(table, ("label",))
    if "file" in rows[0]:
        paths = [folder / row["file"] for row in rows]
    elif "sop_instance_uid" in rows[0]:
        places = _by_uid(folder)
        paths = [_place(row["sop_instance_uid"], places, folder) for row in rows]
    else:
        raise DataSetFault(f"{table} has neither a column file nor sop_instance_uid; add one.")
    twice = [path for path, count in Counter(paths).items() if count > 1]
    if twice:
        raise DataSetFault(f"{table} names {min(twice)} in two rows; keep one.")
    return [_image(table, row, path) for row, path in zip(rows, paths, strict=True)]


def _by_uid(folder: Path) -> dict[str, Path]:
    files = [path for path in sorted(folder.rglob("*.dcm")) if path.is_file()]
    return {str(dicom_header(path).SOPInstanceUID): path for path in files}


def _place(uid: str, places: dict[str, Path], folder: Path) -> Path:
    if uid not in places:
        raise DataSetFault(f"No *.dcm below {folder} has the SOP Instance UID {uid}.")
    return places[uid]


def _image(table: Path, row: Row, path: Path) -> Example:
    header = dicom_header(path)
    facts = read_image_facts(header)
    mask = table.parent / row["mask"] if row.get("mask") else None
    return Example(
        source=SOURCE,
        key=path.relative_to(table.parent).with_suffix("").as_posix().replace("/", "_"),
        patient=row.get("patient") or _patient(header.get("PatientID"), path),
        label=_label(row, table),
        split=_split(row, table),
        files=(path, table, *([mask] if mask else [])),
        read_image=partial(dicom_picture, path),
        read_mask=None if mask is None else partial(_mask, mask),
        spacing_mm=facts.spacing_mm,
        facts={
            "view": str(facts.view or "unknown"),
            "laterality": str(facts.laterality or "unknown"),
            "vendor": str(header.get("Manufacturer") or "unknown"),
            **{key: value for key, value in row.items() if key and key not in _OWN and value},
        },
    )


def _patient(found: object, path: Path) -> str:
    if not found:
        raise DataSetFault(f"{path} has no Patient ID; add a column patient to labels.csv.")
    return str(found)


def _label(row: Row, table: Path) -> str | None:
    label = row["label"].strip()
    if not label and not row.get("mask"):
        raise DataSetFault(f"{table}: a row has neither label nor mask; complete or remove it.")
    return label or None


def _split(row: Row, table: Path) -> Split | None:
    if not row.get("split"):
        return None
    try:
        return Split.of_table(row["split"])
    except ValueError:
        raise DataSetFault(f"{table}: split is {row['split']!r}; use train, val or test.") from None


def _mask(path: Path) -> Classes:
    return read_mask(path).astype("uint8")
