"""PatchCamelyon: 96 x 96 patches of lymph nodes; label 1 means tumour in the central 32 x 32.

Veeling et al., MICCAI 2018. Three published layouts: the HDF5 files, the picture folders of the
Kaggle edition (``train_labels.csv``), and picture folders with one table of all parts. Slides
are known only where the ``_meta.csv`` files lie beside the HDF5 files; elsewhere every patch
counts as its own patient, and intervals are too narrow for it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import h5py
import numpy as np

from training.datasets.example import Example, Pixels
from training.datasets.pictures import colour_picture
from training.datasets.record import Split
from training.datasets.tables import DataSetFault, Row, named, read_table

SOURCE = "pcam"
_LABELS = {"0": "normal", "1": "tumour", "FALSE": "normal", "TRUE": "tumour"}
_PARTS = {"train": Split.TRAIN, "valid": Split.VAL, "test": Split.TEST}
_SPLITS = {"TRAIN": "train", "VALID": "val", "VAL": "val", "TEST": "test"}
_STEM = "camelyonpatch_level_2_split_"


def read_pcam(folder: Path) -> list[Example]:
    """List the patches of a download in any of the three layouts.

    Raises
    ------
    DataSetFault
        When none of the layouts is found, or a file or label cannot be read.
    """
    if any(folder.glob(f"{_STEM}*_x.h5")):
        return [one for name, split in _PARTS.items() for one in _stored(folder, name, split)]
    if (folder / "train_labels.csv").is_file():
        table = folder / "train_labels.csv"
        return [_picture(table, row, f"train/{row['id']}.tif", None) for row in _rows(table, "id")]
    table = folder / "labels.csv"
    if not table.is_file():
        raise DataSetFault(
            f"{folder} holds neither {_STEM}train_x.h5 nor train_labels.csv nor labels.csv; "
            "is it the folder of PatchCamelyon?"
        )
    return [
        _picture(
            table,
            row,
            f"{row['split']}/{row['file']}",
            Split(named(row, "split", _SPLITS, table)),
        )
        for row in _rows(table, "file", "split")
    ]


def _rows(table: Path, *columns: str) -> list[dict[str, str]]:
    return read_table(table, (*columns, "label"))


def _picture(table: Path, row: Row, name: str, split: Split | None) -> Example:
    path = table.parent / name
    if not path.is_file():
        raise DataSetFault(f"There is no {path}; the data set is incomplete.")
    return Example(
        source=SOURCE,
        key=path.stem,
        patient=path.stem,
        label=named(row, "label", _LABELS, table),
        split=split,
        files=(path, table),
        read_image=partial(colour_picture, path),
    )


def _stored(folder: Path, part: str, split: Split) -> list[Example]:
    images, labels = (folder / f"{_STEM}{part}_{end}.h5" for end in ("x", "y"))
    if not images.is_file():
        return []
    try:
        with h5py.File(images) as x, h5py.File(labels) as y:
            count, marks = len(x["x"]), np.asarray(y["y"]).reshape(-1)
    except (OSError, KeyError) as exc:
        raise DataSetFault(
            f"{images} or its labels {labels.name} cannot be read as HDF5 with x and y; "
            "download both again."
        ) from exc
    if len(marks) != count or not np.isin(marks, (0, 1)).all():
        raise DataSetFault(f"{labels} does not hold one 0 or 1 for each of {count} patches.")
    slides = _slides(folder, part, count)
    return [
        Example(
            source=SOURCE,
            key=f"{part}_{index:06d}",
            patient=slides[index] if slides else f"{part}_{index:06d}",
            label="tumour" if marks[index] else "normal",
            split=split,
            files=(images, labels),
            read_image=partial(_patch, images, index),
        )
        for index in range(count)
    ]


def _slides(folder: Path, part: str, count: int) -> list[str]:
    table = folder / f"{_STEM}{part}_meta.csv"
    if not table.is_file():
        return []
    slides = [row["wsi"] for row in read_table(table, ("wsi",))]
    if len(slides) != count:
        raise DataSetFault(
            f"{table} has {len(slides)} rows for {count} patches; download it again."
        )
    return slides


def _patch(path: Path, index: int) -> Pixels:
    with h5py.File(path) as file:
        colours = np.asarray(file["x"][index], dtype=np.float32)
    return np.ascontiguousarray(colours.transpose(2, 0, 1)) / np.float32(255.0)
