"""Every public set is read as it is published; what is wrong with it is one sentence."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import published_layout_builders as build
import pytest
from PIL import Image

from training.datasets import DataSetFault, Split
from training.datasets.breakhis import SUBTYPES
from training.datasets.example import IGNORED, Example
from training.datasets.readers import READERS, read_examples

DATA = os.environ.get("ONCOPIXEL_DATA", "")
real = pytest.mark.skipif(not DATA, reason="ONCOPIXEL_DATA names no folder of real sets")


def lesion_box(example: Example) -> tuple[int, int, int, int]:
    """First row, last row, first column, last column of the mask."""
    mask = example.mask()
    assert mask is not None
    rows, columns = np.nonzero(mask)
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


def test_mini_mias_counts_rows_from_the_bottom_and_pairs_films(tmp_path: Path) -> None:
    folder = build.mini_mias(
        tmp_path,
        "mdb001 G CIRC B 535 425 10",
        "mdb002 G NORM",
        "mdb003 D CALC M *NOTE 3*",
        "mdb004 F CIRC M 100 1003 5",
    )
    first, normal, diffuse, last = READERS["mini_mias"](folder)

    assert lesion_box(first) == (588, 608, 525, 545)
    assert lesion_box(last) == (15, 25, 95, 105)
    assert [e.label for e in (first, normal, diffuse, last)] == [
        "benign", "normal", "malignant", "malignant",
    ]  # fmt: skip
    assert diffuse.mask() is None and not normal.mask().any()  # type: ignore[union-attr]
    assert [e.patient for e in (first, normal, diffuse, last)] == ["P001", "P001", "P002", "P002"]
    assert first.image().shape == (1, 1024, 1024) and first.image().max() == pytest.approx(0.2)


@pytest.mark.parametrize("retriever", [False, True])
def test_cbis_films_carry_every_lesion_wherever_the_download_put_them(
    tmp_path: Path, retriever: bool
) -> None:
    rows = [
        build.cbis_row("P_00001", "Training", pathology="BENIGN_WITHOUT_CALLBACK"),
        build.cbis_row("P_00001", "Training", number=2, swapped=True),
    ]
    (film,) = READERS["cbis_ddsm"](
        build.cbis_ddsm(tmp_path, "Training", *rows, retriever=retriever)
    )

    assert (film.label, film.patient, film.split) == ("malignant", "P_00001", Split.TRAIN)
    assert lesion_box(film) == (10, 24, 5, 8)
    assert film.image().shape == (1, 40, 30) and film.facts["density"] == "3"


def test_a_cbis_patient_of_both_parts_is_never_trained_on(tmp_path: Path) -> None:
    build.cbis_ddsm(tmp_path, "Training", build.cbis_row("P_00001", "Training"))
    build.cbis_ddsm(tmp_path, "Test", build.cbis_row("P_00001", "Test"))

    assert [film.split for film in READERS["cbis_ddsm"](tmp_path)] == [Split.TEST, Split.TEST]


def test_inbreast_outlines_are_column_then_row(tmp_path: Path) -> None:
    (image,) = READERS["inbreast"](build.inbreast(tmp_path))

    assert lesion_box(image) == (10, 20, 5, 9)
    assert (image.label, image.patient) == ("malignant", "6c613a14b80a8591")
    assert image.facts["lesion"] == "Mass" and image.facts["density"] == "2"


def test_vindr_boxes_parts_and_vendor(tmp_path: Path) -> None:
    (image,) = READERS["vindr_mammo"](build.vindr_mammo(tmp_path))

    assert lesion_box(image) == (10, 20, 5, 9)
    assert (image.label, image.split, image.patient) == ("malignant", Split.TRAIN, "s1")
    assert (image.facts["vendor"], image.facts["density"]) == ("Planmed", "C")


def test_cdd_cesm_draws_ellipses_around_their_centre(tmp_path: Path) -> None:
    (image,) = READERS["cdd_cesm_tcia"](build.cdd_cesm(tmp_path))
    mask = image.mask()

    assert mask is not None and mask[12, 15] and mask[28, 15] and mask[20, 10] and not mask[11, 15]
    assert mask[1, 3] and image.label == "malignant" and image.patient == "P1"
    assert image.spacing_mm == (0.07, 0.07)


def test_rsna_labels_by_breast(tmp_path: Path) -> None:
    (image,) = READERS["rsna_mammography"](build.rsna(tmp_path))

    assert (image.label, image.patient, image.facts["vendor"]) == (
        "malignant", "10006", "machine 29",
    )  # fmt: skip
    assert image.mask() is None and image.image().shape == (1, 40, 30)


def test_ddsm_follows_the_chain_code_and_knows_the_digitiser(tmp_path: Path) -> None:
    left, right = READERS["ddsm"](build.ddsm(tmp_path))

    assert lesion_box(left) == (10, 14, 5, 9)
    assert (left.label, right.label, left.patient) == ("malignant", "normal", "A_1123")
    assert not right.mask().any()  # type: ignore[union-attr]
    assert left.facts["digitizer"] == "LUMISYS LASER" and left.spacing_mm == (0.05, 0.05)


def test_ddsm_decodes_lossless_jpeg(tmp_path: Path) -> None:
    stored = (np.arange(1200, dtype=np.uint16) * 3).reshape(40, 30)
    folder = build.ddsm(tmp_path, ending=".LJPEG")
    case = next(folder.rglob("*.ics")).parent
    for side in ("LEFT", "RIGHT"):
        path = case / f"A_1123_1.{side}_CC.LJPEG"
        path.write_bytes(imagecodecs.ljpeg_encode(stored, bitspersample=12))

    image = READERS["ddsm"](folder)[0].image()

    assert image.shape == (1, 40, 30)
    assert np.corrcoef(image.ravel(), stored.ravel())[0, 1] > 0.999


def test_breakhis_groups_by_patient_not_by_piece(tmp_path: Path) -> None:
    build.breakhis(tmp_path, patients=1)
    for name in (
        "SOB_M_DC-14-13412-40-001",
        "SOB_M_LC-14-13412-100-001",
        "SOB_B_A-14-22549G-400-009",
    ):
        build.write_picture(tmp_path / "more" / f"{name}.png", build.noise(46, 70, 3))
    by_key = {example.key: example for example in READERS["breakhis"](tmp_path)}

    assert by_key["SOB_M_DC-14-13412-40-001"].patient == by_key["SOB_M_LC-14-13412-100-001"].patient
    assert by_key["SOB_B_A-14-22549G-400-009"].patient == "14-22549"
    assert by_key["SOB_M_LC-14-13412-100-001"].facts == {
        "subtype": "lobular carcinoma", "magnification": "100X", "slide": "14-13412",
    }  # fmt: skip
    assert by_key["SOB_B_A-14-10000AB-40-001"].label == "benign"


def test_pcam_from_hdf5_knows_slides(tmp_path: Path) -> None:
    patches = READERS["pcam"](build.pcam(tmp_path, count=4))

    assert len(patches) == 12 and patches[0].image().shape == (3, 96, 96)
    assert [p.label for p in patches[:2]] == ["normal", "tumour"]
    assert patches[0].patient == patches[1].patient != patches[2].patient
    assert {p.split for p in patches} == set(Split) - {Split.TUNE}


def test_pcam_from_kaggle_pictures(tmp_path: Path) -> None:
    build.write_table(tmp_path / "train_labels.csv", ("id", "label"), ("ab", 1))
    build.write_picture(tmp_path / "train" / "ab.tif", build.noise(96, 96, 3))

    (patch,) = READERS["pcam"](tmp_path)

    assert (patch.label, patch.split, patch.image().shape) == ("tumour", None, (3, 96, 96))


def test_bcss_codes_become_five_classes_and_outside_is_ignored(tmp_path: Path) -> None:
    name = "TCGA-OL-A5D6-DX1.png"
    codes = np.array([[0, 1, 2, 3], [4, 5, 10, 20]], np.uint8)
    build.write_picture(tmp_path / "train_mask" / name, codes)
    build.write_picture(tmp_path / "train" / name, build.noise(2, 4, 3))

    (tile,) = READERS["bcss"](tmp_path)

    assert np.array_equal(tile.mask(), [[IGNORED, 0, 1, 2], [3, 4, 2, 0]])  # type: ignore[arg-type]
    assert (tile.patient, tile.split) == ("OL-A5D6", Split.TEST)


def test_brain_mri_parts_and_classes(tmp_path: Path) -> None:
    pictures = READERS["brain_mri"](build.brain_mri(tmp_path, per_class=1))

    assert len(pictures) == 8 and pictures[0].image().shape == (1, 64, 64)
    assert (pictures[0].label, pictures[0].split) == ("glioma", Split.TRAIN)


def test_ones_own_dicom_folder(tmp_path: Path) -> None:
    build.write_dicom(
        tmp_path / "images" / "a.dcm",
        build.noise(40, 30),
        PatientID="W1",
        Manufacturer="ACME",
        ImagerPixelSpacing=[0.1, 0.1],
    )
    build.write_picture(tmp_path / "a.png", np.eye(40, 30, dtype=np.uint8) * 255)
    build.write_table(
        tmp_path / "labels.csv",
        ("file", "label", "split", "mask", "density"),
        ("images/a.dcm", "malignant", "val", "a.png", "C"),
    )

    (image,) = READERS["dicom_folder"](tmp_path)

    assert (image.patient, image.label, image.split) == ("W1", "malignant", Split.VAL)
    assert image.spacing_mm == (0.1, 0.1) and image.facts["density"] == "C"
    assert image.facts["vendor"] == "ACME" and image.mask().sum() == 30  # type: ignore[union-attr]


def test_ones_own_dicom_by_uid(tmp_path: Path) -> None:
    build.write_dicom(tmp_path / "x.dcm", build.noise(4, 4), SOPInstanceUID="1.2.3", PatientID="W")
    build.write_table(tmp_path / "labels.csv", ("sop_instance_uid", "label"), ("1.2.3", "benign"))

    assert READERS["dicom_folder"](tmp_path)[0].files[0].name == "x.dcm"


def test_an_upload_set_has_the_fields_of_the_form(tmp_path: Path) -> None:
    build.write_picture(tmp_path / "l-cc.png", build.noise(40, 30))
    header = ("file", "laterality", "view", "pixel_spacing_mm", "patient_id", "label")
    build.write_table(
        tmp_path / "uploads.csv", header, ("l-cc.png", "L", "CC", 0.1, "P7", "benign")
    )

    (image,) = READERS["uploads"](tmp_path)

    assert (image.patient, image.spacing_mm, image.facts["view"]) == ("P7", (0.1, 0.1), "CC")


def _mias_without_film(folder: Path) -> None:
    (build.mini_mias(folder, "mdb001 G NORM") / "mdb001.pgm").unlink()


def _cbis_without_series(folder: Path) -> None:
    build.write_table(
        folder / "mass_case_description_train_set.csv",
        build.CBIS_MASS,
        build.cbis_row("P_1", "Training"),
    )


FAULTS: list[tuple[str, Callable[[Path], object], str]] = [
    ("mini_mias", lambda f: build.mini_mias(f, "mdb001 X CIRC B 1 2 3"), "cannot be understood"),
    ("mini_mias", _mias_without_film, "There is no .*mdb001.pgm"),
    ("cbis_ddsm", _cbis_without_series, "no image of Mass-Training_P_1_LEFT_CC"),
    (
        "cbis_ddsm",
        lambda f: build.cbis_ddsm(f, "Test", build.cbis_row("P_1", "Test", pathology="MAYBE")),
        "pathology is 'MAYBE'; expected MALIGNANT or",
    ),
    ("inbreast", lambda f: build.inbreast(f, bi_rads="x"), "Bi-Rads of 20586908 is 'x'"),
    ("vindr_mammo", lambda f: build.vindr_mammo(f, bi_rads="BI-RADS 9"), "breast_birads is"),
    ("vindr_mammo", lambda f: build.vindr_mammo(f, split="both"), "split is 'both'"),
    ("cdd_cesm_tcia", lambda f: build.cdd_cesm(f, pathology="odd"), "Pathology .* is 'odd'"),
    ("rsna_mammography", lambda f: build.rsna(f, cancer="2"), "cancer is '2'; expected 0 or 1"),
    ("ddsm", lambda f: build.ddsm(f, overlay="PATHOLOGY ODD\n"), "PATHOLOGY is 'ODD'"),
    (
        "ddsm",
        lambda f: build.ddsm(f, overlay="PATHOLOGY BENIGN\nBOUNDARY\n1 2 9 9 #\n"),
        "broken chain code",
    ),
    (
        "breakhis",
        lambda f: build.write_picture(f / "SOB_B_DC-14-1-40-1.png", build.noise(4, 4)),
        "DC does not go with B",
    ),
    ("pcam", lambda f: build.pcam(f, labels=np.arange(8)), "one 0 or 1 for each of 8"),
    (
        "bcss",
        lambda f: build.write_picture(f / "train" / "TCGA-A1-A0SK-x.png", build.noise(4, 4, 3)),
        "There is no .*train_mask",
    ),
    ("brain_mri", lambda f: (f / "Training" / "cyst").mkdir(parents=True), "cyst is no class"),
    (
        "dicom_folder",
        lambda f: build.write_table(f / "labels.csv", ("file", "label"), ("a.dcm", "benign")),
        "There is no .*a.dcm",
    ),
    (
        "uploads",
        lambda f: build.write_table(f / "uploads.csv", ("file", "label"), ("a", "b")),
        "no column laterality",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "spoil", "sentence"), FAULTS)
def test_a_fault_of_a_set_is_one_sentence(
    tmp_path: Path, name: str, spoil: Callable[[Path], object], sentence: str
) -> None:
    spoil(tmp_path)

    with pytest.raises(DataSetFault, match=sentence) as caught:
        READERS[name](tmp_path)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(READERS))
def test_an_empty_folder_is_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataSetFault) as caught:
        READERS[name](tmp_path)

    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_set_that_is_not_there_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataSetFault, match="point --data"):
        read_examples(["breakhis"], tmp_path)
    with pytest.raises(DataSetFault, match="choose among bcss"):
        read_examples(["nothing"], tmp_path)
    with pytest.raises(DataSetFault, match="give --data"):
        read_examples(["breakhis"], None)


@real
def test_the_real_breakhis_names_are_understood() -> None:
    examples = READERS["breakhis"](Path(DATA) / "breakhis")

    assert len(examples) == 12 and {e.facts["subtype"] for e in examples} == set(SUBTYPES.values())
    assert examples[0].image().shape == (3, 460, 700)


@real
def test_the_real_pcam_and_brain_pictures_are_read() -> None:
    patches = READERS["pcam"](Path(DATA) / "pcam")
    pictures = READERS["brain_mri"](Path(DATA) / "brain_mri")

    with (Path(DATA) / "pcam" / "labels.csv").open() as stream:
        assert len(patches) == sum(1 for _ in stream) - 1
    assert len(pictures) == len(list((Path(DATA) / "brain_mri").rglob("*.jpg")))
    assert patches[0].image().shape == (3, 96, 96) and pictures[0].image().shape == (1, 224, 224)


@real
def test_the_real_mini_mias_written_back_as_published_reads_the_same(tmp_path: Path) -> None:
    source = Path(DATA) / "mias"
    with (source / "labels.csv").open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream)]
    names = sorted({row["image"] for row in rows if row["cls"] != "NORM"})[:6]
    lines = []
    for row in rows:
        if row["image"] in names:
            place = [row["x_info"], row["y_info_from_bottom"], row["radius"]]
            severity = [row["severity"]] if row["severity"] != "N" else []
            lines.append(
                " ".join([row["ref"], row["tissue"], row["cls"], *severity, *place]).strip()
            )
    (tmp_path / "Info.txt").write_text("\n".join(lines) + "\n")
    for name in names:
        with Image.open(source / "images" / name) as picture:
            picture.save(tmp_path / f"{Path(name).stem}.pgm")
    known = {example.key: example for example in READERS["mias"](source)}

    for example in READERS["mini_mias"](tmp_path):
        ours, theirs = example.mask(), known[example.key].mask()
        assert (ours is None) == (theirs is None)
        assert ours is None or theirs is None or np.array_equal(ours, theirs)
        assert np.array_equal(example.image(), known[example.key].image())
        assert example.patient == known[example.key].patient


@real
def test_the_real_cbis_tables_are_understood(tmp_path: Path) -> None:
    tables = {}
    for table in sorted((Path(DATA) / "cbis_ddsm" / "csv").glob("*.csv")):
        with table.open(newline="", encoding="utf-8") as stream:
            tables[table.name] = list(csv.DictReader(stream))
    parts = [
        {row["patient_id"] for name, rows in tables.items() if part in name for row in rows}
        for part in ("train", "test")
    ]
    both = parts[0] & parts[1]
    for name, rows in tables.items():
        chosen = [row for row in rows if row["patient_id"] in both]
        build.write_table(tmp_path / name, list(rows[0]), *[list(row.values()) for row in chosen])
        for row in chosen:
            for column in ("image file path", "ROI mask file path"):
                path = tmp_path / row[column].strip()
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()

    films = READERS["cbis_ddsm"](tmp_path)

    assert len(both) == 31 and {film.patient for film in films} == both
    assert {film.split for film in films} == {Split.TEST}
