"""The readers of the public sets read what those publish and say what is wrong with the rest."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.datasets import DataSetFault, Split, read_real_set
from training.datasets.cdd_cesm import read_cdd_cesm
from training.datasets.ddsm_mini import read_ddsm_mini
from training.datasets.mias import read_mias

MIAS_COLUMNS = ("image", "patient", "cls", "severity", "x", "y", "radius", "note")
DDSM_COLUMNS = ("image", "mask", "patient", "pathology", "pixel_um")
CESM_COLUMNS = ("image", "mask", "patient", "type", "machine", "scale")


def write_table(path: Path, columns: Sequence[str], *rows: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerows([columns, *rows])


def write_picture(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def mias_folder(folder: Path, *rows: Sequence[str], split: str = "train") -> Path:
    write_table(folder / "labels.csv", MIAS_COLUMNS, *rows)
    patients = sorted({row[1] for row in rows})
    write_table(folder / "splits.csv", ("patient", "split"), *[(p, split) for p in patients])
    write_picture(folder / "images" / "mdb001.png", np.full((64, 48), 51))
    return folder


def test_a_mias_circle_becomes_a_disc_with_rows_from_the_top(tmp_path: Path) -> None:
    row = ("mdb001.png", "P001", "CIRC", "M", "30", "10", "5", "")
    (record,) = read_mias(mias_folder(tmp_path, row))

    lesions = record.lesions()

    assert lesions is not None and lesions.shape == (64, 48)
    assert lesions[10, 30] and lesions[15, 30] and not lesions[16, 30] and not lesions[30, 10]
    assert lesions.sum() == pytest.approx(np.pi * 25, rel=0.1)
    assert record.malignant and record.spacing_mm == (0.2, 0.2)
    assert record.pixels().dtype == np.float32
    assert record.pixels() == pytest.approx(np.full((64, 48), 0.2))


def test_a_normal_mias_film_has_an_empty_mask(tmp_path: Path) -> None:
    (record,) = read_mias(
        mias_folder(tmp_path, ("mdb001.png", "P001", "NORM", "N", "", "", "", ""))
    )
    lesions = record.lesions()

    assert lesions is not None and not lesions.any()
    assert not record.malignant


@pytest.mark.parametrize(
    ("x", "note"), [("", "*NOTE 3*"), ("5", "circle off the breast: do not use location")]
)
def test_a_mias_lesion_without_usable_place_makes_the_places_unknown(
    tmp_path: Path, x: str, note: str
) -> None:
    rows = [
        ("mdb001.png", "P001", "CALC", "B", x, x, x, note),
        ("mdb001.png", "P001", "CIRC", "M", "30", "10", "5", ""),
    ]
    (record,) = read_mias(mias_folder(tmp_path, *rows))

    assert record.lesions() is None
    assert record.malignant


def test_two_mias_lesions_are_one_record_and_the_worst_counts(tmp_path: Path) -> None:
    rows = [
        ("mdb001.png", "P001", "CIRC", "B", "10", "10", "4", ""),
        ("mdb001.png", "P001", "CIRC", "M", "30", "40", "4", ""),
    ]
    (record,) = read_mias(mias_folder(tmp_path, *rows, split="val"))
    lesions = record.lesions()

    assert record.malignant and record.split is Split.VAL
    assert lesions is not None and lesions[10, 10] and lesions[40, 30]


def test_ddsm_reads_pathology_pixel_size_and_outline(tmp_path: Path) -> None:
    write_table(
        tmp_path / "labels.csv", DDSM_COLUMNS, ("a.jpg", "a.png", "A_1", "MALIGNANT", "87.0")
    )
    write_table(tmp_path / "splits.csv", ("patient", "split"), ("A_1", "test"))
    outline = np.zeros((20, 10))
    outline[3:6, 2:4] = 255
    write_picture(tmp_path / "masks" / "a.png", outline)
    write_picture(tmp_path / "images" / "a.jpg", np.full((20, 10), 255))

    (record,) = read_ddsm_mini(tmp_path)

    assert record.malignant and record.split is Split.TEST
    assert record.spacing_mm == (0.087, 0.087)
    assert np.array_equal(record.lesions(), outline > 0)
    assert record.pixels().max() == 1.0


def test_cesm_keeps_low_energy_images_and_estimates_their_pixel_size(tmp_path: Path) -> None:
    write_table(
        tmp_path / "labels.csv",
        CESM_COLUMNS,
        ("P1_DM.jpg", "P1.png", "P1", "DM", "1", "0.25"),
        ("P1_CM.jpg", "P1.png", "P1", "CM", "1", "0.25"),
        ("P1_HOLOGIC.jpg", "P1.png", "P1", "DM", "2", "0.14"),
        ("P1_UNKNOWN.jpg", "P1.png", "P1", "DM", "1", ""),
    )
    write_table(tmp_path / "splits.csv", ("patient", "split"), ("P1", "train"))

    spacing = {record.key: record.spacing_mm[0] for record in read_cdd_cesm(tmp_path)}

    assert spacing == {
        "P1_DM": pytest.approx(0.376),
        "P1_HOLOGIC": pytest.approx(0.5),
        "P1_UNKNOWN": pytest.approx(0.4087, abs=1e-3),
    }
    assert all(record.malignant is None for record in read_cdd_cesm(tmp_path))


GOOD = ("mdb001.png", "P001", "CIRC", "M", "30", "10", "5", "")


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (("mdb001.png", "P001", "CIRC", "?", "30", "10", "5", ""), "severity of mdb001.png is '?'"),
        (
            ("mdb001.png", "P001", "CIRC", "M", "x", "10", "5", ""),
            "x is 'x', which is not a number",
        ),
    ],
)
def test_a_label_that_makes_no_sense_is_named(
    tmp_path: Path, row: Sequence[str], sentence: str
) -> None:
    with pytest.raises(DataSetFault, match=sentence.replace("?", r"\?")):
        read_mias(mias_folder(tmp_path, row))


def test_an_unknown_pathology_is_named(tmp_path: Path) -> None:
    write_table(tmp_path / "labels.csv", DDSM_COLUMNS, ("a.jpg", "a.png", "A_1", "MAYBE", "87.0"))
    write_table(tmp_path / "splits.csv", ("patient", "split"), ("A_1", "test"))

    with pytest.raises(DataSetFault, match="pathology is 'MAYBE'; expected MALIGNANT or BENIGN"):
        read_ddsm_mini(tmp_path)


def test_a_patient_without_a_part_is_refused(tmp_path: Path) -> None:
    folder = mias_folder(tmp_path, GOOD)
    write_table(folder / "splits.csv", ("patient", "split"), ("P999", "train"))

    with pytest.raises(DataSetFault, match="does not say which part P001 is in"):
        read_mias(folder)


def test_a_patient_in_two_parts_is_refused(tmp_path: Path) -> None:
    folder = mias_folder(tmp_path, GOOD)
    write_table(folder / "splits.csv", ("patient", "split"), ("P001", "train"), ("P001", "val"))

    with pytest.raises(DataSetFault, match="patient P001 is in two parts"):
        read_mias(folder)


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    folder = mias_folder(tmp_path, GOOD, split="holdout")

    with pytest.raises(DataSetFault, match="'holdout'; use train, val or test"):
        read_mias(folder)


def test_a_folder_without_the_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataSetFault, match="point --data at the folder that holds mias"):
        read_real_set("mias", tmp_path)


def test_a_set_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataSetFault, match="There is no data set inbreast; choose among mias"):
        read_real_set("inbreast", tmp_path)


def test_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "labels.csv", ("name", "value"), ("a", "1"))
    write_table(tmp_path / "splits.csv", ("patient", "split"), ("P1", "train"))

    with pytest.raises(DataSetFault, match="has no column image, mask"):
        read_ddsm_mini(tmp_path)


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "labels.csv", CESM_COLUMNS)
    write_table(tmp_path / "splits.csv", ("patient", "split"), ("P1", "train"))

    with pytest.raises(DataSetFault, match="has a header but no rows"):
        read_cdd_cesm(tmp_path)


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    folder = mias_folder(tmp_path, ("mdb009.png", "P005", "NORM", "N", "", "", "", ""))
    (record,) = read_mias(folder)

    with pytest.raises(DataSetFault, match=r"mdb009\.png; the data set is incomplete"):
        record.pixels()


def test_a_picture_that_is_none_is_named(tmp_path: Path) -> None:
    folder = mias_folder(tmp_path, GOOD)
    (folder / "images" / "mdb001.png").write_text("not a picture", encoding="utf-8")
    (record,) = read_mias(folder)

    with pytest.raises(DataSetFault, match="cannot be read as a picture"):
        record.pixels()
