"""Tiny copies of the public sets, file by file in their published layouts."""

from __future__ import annotations

import csv
import plistlib
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from openpyxl import Workbook
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation as MammogramClass
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

BINARY = np.uint8


def write_table(
    path: Path, header: Sequence[str], *rows: Sequence[object], delimiter: str = ","
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter=delimiter).writerows([header, *rows])


def write_picture(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def noise(rows: int, columns: int, channels: int = 0, seed: int = 0) -> np.ndarray:
    shape = (rows, columns, channels) if channels else (rows, columns)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_dicom(path: Path, pixels: np.ndarray, **elements: object) -> Path:
    """Write a mammogram with just what a published file keeps of its header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = MammogramClass
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.Modality = "MG"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    dataset.PixelData = pixels.tobytes()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def mini_mias(folder: Path, *lines: str) -> Path:
    text = "\nThis file lists the films in the MIAS database\n\n" + "\n".join(lines) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Info.txt").write_text(text, encoding="latin-1")
    for name in {line.split()[0] for line in lines}:
        write_picture(folder / f"{name}.pgm", np.full((1024, 1024), 51, np.uint8))
    return folder


CBIS_MASS = [
    "patient_id",
    "breast_density",
    "left or right breast",
    "image view",
    "abnormality id",
    "abnormality type",
    "mass shape",
    "mass margins",
    "assessment",
    "pathology",
    "subtlety",
    "image file path",
    "cropped image file path",
    "ROI mask file path",
]


def cbis_row(
    patient: str, part: str, *, pathology: str = "MALIGNANT", number: int = 1, swapped: bool = False
) -> tuple[object, ...]:
    name = f"Mass-{part}_{patient}_LEFT_CC"
    places = [f"{name}_{number}/1.2/1.3/00000{index}.dcm" for index in (1, 0)]
    crop, mask = reversed(places) if swapped else places
    full = f"{name}/1.2/1.3/000000.dcm"
    head = (patient, 3, "LEFT", "CC", number, "mass", "OVAL", "SPICULATED", 4, pathology, 4)
    return (*head, full, f"{crop}\n", f"{mask}\n")


def cbis_ddsm(folder: Path, part: str, *rows: tuple[object, ...], retriever: bool = False) -> Path:
    kind = {"Training": "train", "Test": "test"}[part]
    write_table(folder / f"mass_case_description_{kind}_set.csv", CBIS_MASS, *rows)
    for row in rows:
        full, mask = str(row[11]), str(row[13]).strip()
        name = full.split("/")[0]
        # The NBIA Data Retriever invents folder and file names below the case's.
        places = [
            full,
            f"{name}_{row[4]}/1.2/1.3/000000.dcm",
            f"{name}_{row[4]}/1.2/1.3/000001.dcm",
        ]
        if retriever:
            places = [
                f"CBIS-DDSM/{place.split('/')[0]}/07-20-2016-DDSM/1.000-img/1-{index}.dcm"
                for index, place in enumerate(places)
            ]
        del mask
        outline = np.zeros((40, 30), BINARY)
        outline[10 * int(str(row[4])) : 10 * int(str(row[4])) + 5, 5:9] = 255
        write_dicom(folder / places[0], noise(40, 30))
        write_dicom(folder / places[1], outline)
        write_dicom(folder / places[2], noise(8, 6))
    return folder


def inbreast(folder: Path, *, bi_rads: str = "4a", points: object = None) -> Path:
    header = "Patient ID;Patient age;Laterality;View;Acquisition date;File Name;ACR;Bi-Rads;Mass "
    row = ("removed", "removed", "R", "CC", "201001", "20586908", "2", bi_rads, "X")
    write_table(folder / "INbreast.csv", header.split(";"), row, delimiter=";")
    write_dicom(
        folder / "AllDICOMs" / "20586908_6c613a14b80a8591_MG_R_CC_ANON.dcm",
        noise(40, 30).astype(np.uint16) * 16,
    )
    region = {
        "Name": "Mass",
        "NumberOfPoints": 4,
        "Point_px": points or ["(5.0, 10.0)", "(9.0, 10.0)", "(9.0, 20.0)", "(5.0, 20.0)"],
    }
    (folder / "AllXML").mkdir(parents=True, exist_ok=True)
    content = {"Images": [{"ImageIndex": 0, "NumberOfROIs": 1, "ROIs": [region]}]}
    (folder / "AllXML" / "20586908.xml").write_bytes(plistlib.dumps(content))
    return folder


def vindr_mammo(folder: Path, *, bi_rads: str = "BI-RADS 5", split: str = "training") -> Path:
    common = "study_id,series_id,image_id,laterality,view_position,height,width,breast_birads,"
    breast = (common + "breast_density,split").split(",")
    finding = (
        common + "breast_density,finding_categories,finding_birads,xmin,ymin,xmax,ymax,split"
    ).split(",")
    row = ("s1", "e1", "i1", "L", "MLO", 40, 30, bi_rads, "DENSITY C")
    write_table(folder / "breast-level_annotations.csv", breast, (*row, split))
    write_table(
        folder / "finding_annotations.csv",
        finding,
        (*row, "['Mass']", "BI-RADS 5", 5.2, 10.0, 9.0, 20.0, split),
    )
    write_table(
        folder / "metadata.csv",
        ("SOP Instance UID", "Manufacturer's Model Name"),
        ("i1", "Planmed"),
    )
    write_dicom(folder / "images" / "s1" / "i1.dicom", noise(40, 30).astype(np.uint16))
    return folder


def cdd_cesm(folder: Path, *, pathology: str = "Malignant") -> Path:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(
        [
            "Patient_ID",
            "Side",
            "Type",
            "Image_name",
            "View",
            "Age",
            "Breast density (ACR)",
            "BIRADS",
        ]
        + ["Findings", "Tags", "Pathology Classification/ Follow up", "Machine"]
    )
    for kind in ("DM", "CESM"):
        name = f" P1_L_{'DM' if kind == 'DM' else 'CM'}_MLO"
        sheet.append([1, "L", kind, name, "MLO", 55, "C", "5", "mass", "mass", pathology, 2])
    folder.mkdir(parents=True, exist_ok=True)
    book.save(folder / "Radiology-manual-annotations.xlsx")
    header = [
        "#filename",
        "file_size",
        "file_attributes",
        "region_count",
        "region_id",
        "region_shape_attributes",
        "region_attributes",
    ]
    shapes = (
        '{"name":"ellipse","cx":15,"cy":20,"rx":5,"ry":8,"theta":0}',
        '{"name":"polygon","all_points_x":[1,4,4],"all_points_y":[1,1,4]}',
    )
    write_table(
        folder / "Radiology_hand_drawn_segmentations_v2.csv",
        header,
        *[
            ("P1_L_DM_MLO.jpg", 1, "{}", 2, index, shape, "{}")
            for index, shape in enumerate(shapes)
        ],
    )
    write_picture(folder / "Low energy images of CDD-CESM" / "P1_L_DM_MLO.jpg", noise(40, 30))
    return folder


def rsna(folder: Path, *, cancer: str = "1") -> Path:
    header = [
        "site_id",
        "patient_id",
        "image_id",
        "laterality",
        "view",
        "age",
        "cancer",
        "biopsy",
        "invasive",
        "BIRADS",
        "implant",
        "density",
        "machine_id",
        "difficult_negative_case",
    ]
    row = (2, 10006, 462822612, "L", "CC", 61.0, cancer, 0, 0, "", 0, "B", 29, "False")
    write_table(folder / "train.csv", header, row)
    write_dicom(
        folder / "train_images" / "10006" / "462822612.dcm", noise(40, 30).astype(np.uint16)
    )
    return folder


DDSM_ICS = """ics_version 1.0
filename A-1123-1
DATE_OF_STUDY 3 9 1995
PATIENT_AGE 61
FILM
FILM_TYPE REGULAR
DENSITY 3
DATE_DIGITIZED 7 21 1997
DIGITIZER LUMISYS LASER
SEQUENCE
LEFT_CC LINES 40 PIXELS_PER_LINE 30 BITS_PER_PIXEL 12 RESOLUTION 50 OVERLAY
RIGHT_CC LINES 40 PIXELS_PER_LINE 30 BITS_PER_PIXEL 12 RESOLUTION 50 NON_OVERLAY
"""
DDSM_OVERLAY = """TOTAL_ABNORMALITIES 1
ABNORMALITY 1
LESION_TYPE MASS SHAPE OVAL MARGINS SPICULATED
ASSESSMENT 5
SUBTLETY 4
PATHOLOGY MALIGNANT
TOTAL_OUTLINES 2
BOUNDARY
5 10 2 2 2 2 4 4 4 4 6 6 6 6 0 0 0 0 #
    CORE
6 11 2 4 6 0 #
"""


def ddsm(folder: Path, *, overlay: str = DDSM_OVERLAY, ending: str = ".png") -> Path:
    case = folder / "cancers" / "cancer_05" / "case1123"
    case.mkdir(parents=True, exist_ok=True)
    (case / "A-1123-1.ics").write_text(DDSM_ICS)
    (case / "A_1123_1.LEFT_CC.OVERLAY").write_text(overlay)
    for side in ("LEFT", "RIGHT"):
        if ending == ".png":
            write_picture(case / f"A_1123_1.{side}_CC.png", noise(40, 30))
    return folder


def breakhis(folder: Path, *, patients: int = 8, side: tuple[int, int] = (46, 70)) -> Path:
    """Write the published tree; malignant slides are darker, so there is something to learn."""
    root = folder / "histology_slides" / "breast"
    trees = (("benign", "B", "A", "adenosis"), ("malignant", "M", "DC", "ductal_carcinoma"))
    for kind, letter, short, name in trees:
        for patient in range(patients):
            slide = f"14-{10000 + patient + (500 if letter == 'M' else 0)}AB"
            for number in (1, 2):
                pixels = noise(*side, 3, seed=hash((patient, number)) % 1000)
                if letter == "M":
                    pixels = pixels // 2
                write_picture(
                    root / kind / "SOB" / name / f"SOB_{letter}_{short}_{slide}" / "40X"
                    / f"SOB_{letter}_{short}-{slide}-40-{number:03d}.png",
                    pixels,
                )  # fmt: skip
    return folder


def pcam(
    folder: Path, *, count: int = 8, meta: bool = True, labels: np.ndarray | None = None
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "valid", "test"):
        stem = folder / f"camelyonpatch_level_2_split_{part}"
        marks = np.arange(count) % 2 if labels is None else labels
        patches = np.stack([noise(96, 96, 3, seed=i) // (1 + int(marks[i])) for i in range(count)])
        with h5py.File(f"{stem}_x.h5", "w") as file:
            file["x"] = patches
        with h5py.File(f"{stem}_y.h5", "w") as file:
            file["y"] = marks.reshape(-1, 1, 1, 1).astype(np.uint8)
        if meta:
            rows = [(i, f"camelyon16_{part}_{i // 2:03d}") for i in range(count)]
            write_table(Path(f"{stem}_meta.csv"), ("", "wsi"), *rows)
    return folder


def bcss(folder: Path, *, patients: Sequence[str] = ("A1-A0SK", "OL-A5D6"), side: int = 64) -> Path:
    codes = np.array([0, 1, 2, 3, 4, 18], np.uint8)
    for number, patient in enumerate(patients):
        mask = codes[np.random.default_rng(number).integers(0, 6, (4, 4))].repeat(side // 4, 0)
        mask = mask.repeat(side // 4, 1)
        name = f"TCGA-{patient}-DX1_xmin1_ymin2_MPP-0.2500.png"
        colour = np.stack([mask * 12, 255 - mask * 12, noise(side, side, seed=number)], axis=-1)
        write_picture(folder / "rgbs_colorCropped" / name, colour.astype(np.uint8))
        write_picture(folder / "masks" / name, mask)
    return folder


def brain_mri(folder: Path, *, per_class: int = 2, side: int = 64) -> Path:
    for part in ("Training", "Testing"):
        for number, name in enumerate(("glioma", "meningioma", "notumor", "pituitary")):
            for index in range(per_class):
                seed = hash((part == "Training", number, index)) % 10_000
                pixels = noise(side, side, seed=seed) // 4 + np.uint8(number * 45)
                write_picture(folder / part / name / f"Tr-{index:04d}.png", pixels)
    return folder
