"""Pictures that are no mammograms, as DICOM: a slice of an MRI, a photograph through a microscope.

Drawn from noise by formula, of nobody. They are for trying how such studies are received, read,
reported and shown; what a model says of them means nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    VLMicroscopicImageStorage,
)
from scipy import ndimage

from oncopixel_pacs.domain.uids import derive_uid

_DATE, _TIME = "20260110", "101500"


class PictureKind(StrEnum):
    """What is drawn."""

    BRAIN_MRI = "brain-mri"
    MICROSCOPY = "microscopy"
    CAPTURE = "capture"


_CLASSES = {
    PictureKind.BRAIN_MRI: MRImageStorage,
    PictureKind.MICROSCOPY: VLMicroscopicImageStorage,
    PictureKind.CAPTURE: SecondaryCaptureImageStorage,
}
_MODALITIES = {
    PictureKind.BRAIN_MRI: "MR",
    PictureKind.MICROSCOPY: "GM",
    PictureKind.CAPTURE: "GM",
}


def write_pictures(
    out: Path, studies: int, first_seed: int, kind: PictureKind, *, rows: int, columns: int
) -> Iterator[Path]:
    """Write studies of one picture each as Part 10 files; yields every path when it is written."""
    for seed in range(first_seed, first_seed + studies):
        folder = out / f"{kind}-{seed:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{kind}.dcm"
        make_picture(seed, kind, rows=rows, columns=columns).save_as(path, enforce_file_format=True)
        yield path


def make_picture(
    seed: int, kind: PictureKind, *, rows: int = 256, columns: int = 256, body_part: str = ""
) -> Dataset:
    """Make one picture with a whole header.

    Parameters
    ----------
    seed
        The same one gives the same bytes.
    body_part
        Body Part Examined (0018,0015); ``BRAIN`` or ``BREAST`` when empty.

    Returns
    -------
    Dataset
        MR Image, VL Microscopic Image or Secondary Capture, Explicit VR Little Endian.
    """
    dataset = Dataset()
    key = (str(kind), str(seed), f"{rows}x{columns}", body_part)
    _add_study(dataset, seed, kind, key)
    brain = kind is PictureKind.BRAIN_MRI
    dataset.BodyPartExamined = body_part or ("BRAIN" if brain else "BREAST")
    if brain:
        _add_slice(dataset, brain_slice(seed, rows, columns), key)
    else:
        _add_colours(dataset, stained_tissue(seed, rows, columns))
        if kind is PictureKind.MICROSCOPY:
            _add_microscope(dataset)
        else:
            dataset.ConversionType = "WSD"
    dataset.SOPClassUID = _CLASSES[kind]
    dataset.SOPInstanceUID = derive_uid("sample", "picture", *key)
    meta = dataset.file_meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.ImplementationClassUID = UID(derive_uid("implementation", "sample_dicom"))
    return dataset


def brain_slice(seed: int, rows: int, columns: int) -> NDArray[np.uint16]:
    """Draw an oval head with a bright rim, folds of noise and a round mass, ``(rows, columns)``."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    radius = np.hypot(y / 0.88, x / 0.72)
    folds = ndimage.gaussian_filter(draw.normal(size=(rows, columns)), rows / 40)
    image = np.where(radius < 0.86, 900 + 2500 * folds, 0.0)
    image = np.where((radius > 0.92) & (radius < 1.0), 1500.0, image)
    centre = draw.uniform(-0.35, 0.35, 2)
    mass = np.hypot(y - centre[0], x - centre[1]) < draw.uniform(0.08, 0.2)
    image = np.where(mass, 1700 + 200 * draw.normal(size=image.shape), image)
    return np.clip(image, 0, 4095).astype(np.uint16)


def stained_tissue(seed: int, rows: int, columns: int) -> NDArray[np.uint8]:
    """Draw pink ground with purple dots, denser in some places, ``(rows, columns, 3)`` RGB."""
    draw = np.random.default_rng(seed)
    dense = ndimage.gaussian_filter(draw.normal(size=(rows, columns)), rows / 10)
    dense = (dense - dense.min()) / max(float(np.ptp(dense)), 1e-9)
    dots = (draw.random((rows, columns)) < 0.02 + 0.06 * dense).astype(float)
    nuclei = np.clip(ndimage.gaussian_filter(dots, 1.2) * 6, 0, 1)[..., None]
    ground = np.array([228.0, 170.0, 200.0]) + draw.normal(0, 6, (rows, columns, 1))
    purple = np.array([96.0, 52.0, 140.0])
    stained = ground * (1 - nuclei) + purple * nuclei
    return np.asarray(np.clip(stained, 0, 255), dtype=np.uint8)


def _add_study(dataset: Dataset, seed: int, kind: PictureKind, key: tuple[str, ...]) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = "SAMPLE^PICTURE"
    dataset.PatientID = f"PICTURE-{kind}-{seed}"
    dataset.PatientBirthDate = "19600203"
    dataset.PatientSex = "O"
    dataset.StudyInstanceUID = derive_uid("sample", "picture study", *key)
    dataset.SeriesInstanceUID = derive_uid("sample", "picture series", *key)
    dataset.StudyID = f"P{seed}"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = _DATE
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = _TIME
    dataset.AcquisitionDate, dataset.AcquisitionTime = _DATE, _TIME
    dataset.StudyDescription = f"Synthetic {kind.replace('-', ' ')}"
    dataset.SeriesDescription = f"Drawn {kind}"
    dataset.AccessionNumber = f"P{seed:08d}"
    dataset.ReferringPhysicianName = ""
    dataset.Modality = _MODALITIES[kind]
    dataset.SeriesNumber = dataset.InstanceNumber = dataset.AcquisitionNumber = 1
    dataset.Manufacturer = "OncoPixel"
    dataset.ManufacturerModelName = "Drawn picture"
    dataset.DeviceSerialNumber = "PICTURE"
    dataset.SoftwareVersions = "1"
    dataset.ImageComments = "Drawn by formula, no patient. Research use only."
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"


def _add_slice(dataset: Dataset, pixels: NDArray[np.uint16], key: tuple[str, ...]) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "SE"]
    dataset.PatientPosition = "HFS"
    dataset.FrameOfReferenceUID = derive_uid("sample", "picture frame", *key)
    dataset.PositionReferenceIndicator = ""
    dataset.PixelSpacing = ["0.9", "0.9"]
    dataset.SliceThickness = "5"
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = [-115, -115, 0]
    dataset.ScanningSequence = "SE"
    dataset.SequenceVariant = "NONE"
    dataset.ScanOptions = ""
    dataset.MRAcquisitionType = "2D"
    dataset.RepetitionTime, dataset.EchoTime, dataset.EchoTrainLength = "500", "15", "1"
    dataset.WindowCenter, dataset.WindowWidth = "1000", "2000"
    _add_pixels(dataset, pixels.astype("<u2"), 12)
    dataset.PhotometricInterpretation = "MONOCHROME2"


def _add_colours(dataset: Dataset, pixels: NDArray[np.uint8]) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.PatientOrientation = []
    dataset.Laterality = ""
    _add_pixels(dataset, pixels, 8)
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0


def _add_microscope(dataset: Dataset) -> None:
    dataset.AcquisitionContextSequence = []
    dataset.ContainerIdentifier = "SLIDE-1"
    dataset.IssuerOfTheContainerIdentifierSequence = []
    dataset.ContainerTypeCodeSequence = [_code("433466003", "Microscope slide")]
    specimen = Dataset()
    specimen.SpecimenIdentifier = "SPECIMEN-1"
    specimen.SpecimenUID = derive_uid("sample", "specimen", str(dataset.StudyInstanceUID))
    specimen.IssuerOfTheSpecimenIdentifierSequence = []
    specimen.SpecimenPreparationSequence = []
    dataset.SpecimenDescriptionSequence = [specimen]


def _add_pixels(dataset: Dataset, pixels: NDArray[np.generic], bits: int) -> None:
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item
