"""Phantoms as DICOM: a screening study of four Digital Mammography X-Ray images.

Nothing in a header says whether there is a lesion. Objects carry every attribute that the
Digital Mammography X-Ray IOD asks for (PS3.3 A.26), and their UIDs are derived from the seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

from oncopixel_pacs.domain import Laterality, View
from oncopixel_pacs.domain.uids import derive_uid
from sample_dicom.phantom import Phantom, make_phantom

_VIEWS = {
    View.CC: ("399162004", "cranio-caudal"),
    View.MLO: ("399368009", "medio-lateral oblique"),
}
#: Direction of rows and columns with the chest wall at the left (L) or the right (R) border.
_ORIENTATION = {
    (Laterality.LEFT, View.CC): ["A", "R"],
    (Laterality.RIGHT, View.CC): ["P", "L"],
    (Laterality.LEFT, View.MLO): ["A", "FR"],
    (Laterality.RIGHT, View.MLO): ["P", "FL"],
}
_NAMES = ("SAMPLE^PHANTOM", "SAMPLE^PHANTOM", "MÜSTER^ÄNNE", "SAMPLE^PHANTOM", "ПРИМЕР^АННА")
_DATE, _TIME = "20260110", "101500"


@dataclass(frozen=True)
class SampleImage:
    """One image of a sample study and where its lesion is.

    Attributes
    ----------
    lesion_mask
        bool ``(rows, columns)`` in stored pixels; all false without a lesion.
    """

    dataset: Dataset
    lesion_mask: NDArray[np.bool_]


def make_study(
    seed: int, *, lesion: bool = True, rows: int = 1024, columns: int = 832
) -> tuple[SampleImage, ...]:
    """Make a four-view study: R CC, L CC, R MLO, L MLO.

    Parameters
    ----------
    seed
        Which synthetic woman; the same one gives the same bytes.
    """
    images = []
    for number, (view, side) in enumerate(
        ((view, side) for view in _VIEWS for side in (Laterality.RIGHT, Laterality.LEFT)), start=1
    ):
        phantom = make_phantom(seed, side, view, rows=rows, columns=columns, lesion=lesion)
        key = (str(seed), f"{rows}x{columns}", str(lesion))
        dataset = _dataset(phantom, side, view, number, seed, key)
        images.append(SampleImage(dataset, phantom.lesion))
    return tuple(images)


def write_studies(
    out: Path,
    studies: int,
    first_seed: int,
    *,
    lesion: bool = True,
    rows: int = 1024,
    columns: int = 832,
) -> Iterator[Path]:
    """Write studies as Part 10 files, one folder each; yields every path when it is written."""
    for seed in range(first_seed, first_seed + studies):
        folder = out / f"study-{seed:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        for image in make_study(seed, lesion=lesion, rows=rows, columns=columns):
            name = str(image.dataset.SeriesDescription).replace(" ", "-")
            path = folder / f"{name}.dcm"
            image.dataset.save_as(path, enforce_file_format=True)
            yield path


def _dataset(
    phantom: Phantom,
    side: Laterality,
    view: View,
    number: int,
    seed: int,
    key: tuple[str, ...],
) -> Dataset:
    dataset = Dataset()
    _add_patient_and_study(dataset, seed, key)
    _add_series_and_equipment(dataset, side, view, number, key)
    _add_acquisition(dataset, phantom, side, view)
    _add_image(dataset, phantom, side, view)
    dataset.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPInstanceUID = derive_uid("sample", "image", *key, side, view)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.ImplementationClassUID = UID(derive_uid("implementation", "sample_dicom"))
    return dataset


def _add_patient_and_study(dataset: Dataset, seed: int, key: tuple[str, ...]) -> None:
    number = int(hashlib.sha256("".join(key).encode()).hexdigest()[:8], 16)
    _set(
        dataset,
        SpecificCharacterSet="ISO_IR 192",
        PatientName=_NAMES[seed % len(_NAMES)],
        PatientID=f"SAMPLE-{number:010d}",
        IssuerOfPatientID="ONCOPIXEL",
        PatientBirthDate=f"19{50 + seed % 30}0203",
        PatientSex="F",
        PatientAge=f"{76 - seed % 30:03d}Y",
        StudyInstanceUID=derive_uid("sample", "study", *key),
        StudyID=f"S{seed}",
        StudyDate=_DATE,
        StudyTime=_TIME,
        StudyDescription="Synthetic screening mammography",
        AccessionNumber=f"A{number % 10**9:09d}",
        ReferringPhysicianName="",
    )
    request = Dataset()
    _set(request, RequestedProcedureID="RP1", ScheduledProcedureStepID="SPS1")
    dataset.RequestAttributesSequence = [request]


def _add_series_and_equipment(
    dataset: Dataset, side: Laterality, view: View, number: int, key: tuple[str, ...]
) -> None:
    _set(
        dataset,
        Modality="MG",
        PresentationIntentType="FOR PRESENTATION",
        SeriesInstanceUID=derive_uid("sample", "series", *key, side, view),
        SeriesNumber=number,
        SeriesDate=_DATE,
        SeriesTime=_TIME,
        SeriesDescription=f"{side} {view}",
        InstanceNumber=1,
        Manufacturer="OncoPixel",
        ManufacturerModelName="Synthetic phantom",
        InstitutionName="No institution",
        DeviceSerialNumber="PHANTOM",
        SoftwareVersions="1",
        StationName="PHANTOM",
    )


def _add_acquisition(dataset: Dataset, phantom: Phantom, side: Laterality, view: View) -> None:
    rows, columns = phantom.pixels.shape
    spacing = [f"{value:.6g}" for value in phantom.spacing_mm]
    _set(
        dataset,
        BodyPartExamined="BREAST",
        OrganExposed="BREAST",
        KVP="29",
        BodyPartThickness="52",
        CompressionForce="98",
        DistanceSourceToDetector="660",
        DistanceSourceToPatient="660",
        EstimatedRadiographicMagnificationFactor="1",
        PositionerType="MAMMOGRAPHIC",
        PositionerPrimaryAngle="0" if view is View.CC else "45",
        DetectorType="DIRECT",
        ImagerPixelSpacing=spacing,
        FieldOfViewOrigin=["0", "0"],
        FieldOfViewRotation="0",
        FieldOfViewHorizontalFlip="NO",
        FieldOfViewShape="RECTANGLE",
        FieldOfViewDimensions=[
            round(rows * phantom.spacing_mm[0]),
            round(columns * phantom.spacing_mm[1]),
        ],
        ImageLaterality=side,
        PatientOrientation=_ORIENTATION[side, view],
        BreastImplantPresent="NO",
        PartialView="NO",
        AcquisitionDate=_DATE,
        AcquisitionTime=_TIME,
        ContentDate=_DATE,
        ContentTime=_TIME,
        AcquisitionContextSequence=[],
    )
    dataset.AnatomicRegionSequence = [_code("76752008", "Breast")]
    coded = _code(*_VIEWS[view])
    coded.ViewModifierCodeSequence = []
    dataset.ViewCodeSequence = [coded]


def _add_image(dataset: Dataset, phantom: Phantom, side: Laterality, view: View) -> None:
    rows, columns = phantom.pixels.shape
    _set(
        dataset,
        ImageType=["ORIGINAL", "PRIMARY", ""],
        ImageComments="Synthetic phantom, no patient. Research use only.",
        Rows=rows,
        Columns=columns,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=16,
        BitsStored=12,
        HighBit=11,
        PixelRepresentation=0,
        PixelIntensityRelationship="LOG",
        PixelIntensityRelationshipSign=-1,
        RescaleIntercept="0",
        RescaleSlope="1",
        RescaleType="US",
        WindowCenter="2048",
        WindowWidth="4096",
        PresentationLUTShape="IDENTITY",
        LossyImageCompression="00",
        BurnedInAnnotation="NO",
        QualityControlImage="NO",
        PixelData=phantom.pixels.astype("<u2").tobytes(),
    )
    dataset["PixelData"].VR = "OW"


def _set(dataset: Dataset, **values: Any) -> None:
    for keyword, value in values.items():
        setattr(dataset, keyword, str(value) if isinstance(value, Laterality | View) else value)


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    _set(code, CodeValue=value, CodingSchemeDesignator="SCT", CodeMeaning=meaning)
    return code
