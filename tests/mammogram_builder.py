"""Builds small mammograms as Part 10 files: a breast at the chest wall, with or without a mass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian

from oncopixel_pacs.domain import Laterality, View

ROWS, COLUMNS, SPACING_MM = 480, 360, 0.25
MASS = (240, 90)
"""Stored ``(row, column)`` of the mass in a left breast; a right breast mirrors it."""
STUDY_UID = "2.25.1000"
VIEW_CODES = {
    View.CC: ("399162004", "cranio-caudal"),
    View.MLO: ("399368009", "medio-lateral oblique"),
}


@dataclass(frozen=True)
class View2D:
    """One view to build; `number` orders the SOP Instance UIDs."""

    number: int
    laterality: Laterality
    view: View
    mass: bool = False
    blank: bool = False

    @property
    def sop_uid(self) -> str:
        """SOP Instance UID of the view."""
        return f"2.25.1000{self.number}"


SCREENING = (
    View2D(1, Laterality.RIGHT, View.CC, mass=True),
    View2D(2, Laterality.LEFT, View.CC),
    View2D(3, Laterality.RIGHT, View.MLO, mass=True),
    View2D(4, Laterality.LEFT, View.MLO),
)


def pixels_of(view: View2D) -> np.ndarray:
    """Draw the view: uint16 ``(ROWS, COLUMNS)`` of 12 bits, bright breast on black."""
    row, column = np.mgrid[:ROWS, :COLUMNS]
    inside = ((row - ROWS / 2) / (ROWS * 0.42)) ** 2 + (column / (COLUMNS * 0.62)) ** 2 < 1
    noise = np.random.default_rng(view.number).normal(0, 30, (ROWS, COLUMNS))
    image = np.where(inside, 1200 + 2 * column + noise, 0)
    image[100:380, 40:44] += 1800  # a vessel, as bright as a mass
    if view.mass:
        image[(row - MASS[0]) ** 2 + (column - MASS[1]) ** 2 < 24**2] += 1800
    if view.blank:
        image[:] = 0
    if view.laterality is Laterality.RIGHT:
        image = image[:, ::-1]
    return image.clip(0, 4095).astype(np.uint16)


def write_mammogram(folder: Path, view: View2D) -> Path:
    """Write the view as a Part 10 file, explicit VR little endian."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = view.sop_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = folder / f"{view.number}.dcm"
    image = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, view.sop_uid
    image.StudyInstanceUID, image.SeriesInstanceUID = STUDY_UID, f"{STUDY_UID}.1"
    image.Modality, image.PresentationIntentType = "MG", "FOR PRESENTATION"
    image.ImageType = ["DERIVED", "PRIMARY"]
    image.ImageLaterality, image.ViewPosition = str(view.laterality), str(view.view)
    image.PatientOrientation = ["P", "L"] if view.laterality is Laterality.RIGHT else ["A", "R"]
    image.ViewCodeSequence = [_code(*VIEW_CODES[view.view])]
    image.ImagerPixelSpacing = [SPACING_MM, SPACING_MM]
    image.Rows, image.Columns, image.SamplesPerPixel = ROWS, COLUMNS, 1
    image.PhotometricInterpretation, image.PresentationLUTShape = "MONOCHROME2", "IDENTITY"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.PixelIntensityRelationship, image.PixelIntensityRelationshipSign = "LOG", 1
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = 0, 1, "US"
    image.WindowCenter, image.WindowWidth = 2048, 4096
    image.PartialView, image.BreastImplantPresent = "NO", "NO"
    image.PixelData = pixels_of(view).tobytes()
    image.save_as(path, enforce_file_format=True)
    return path


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "SCT", meaning
    return code
