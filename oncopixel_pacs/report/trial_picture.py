"""A picture of no patient, by which one sees whether a destination takes what it is sent."""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from oncopixel_pacs import RESEARCH_NOTICE, __version__
from oncopixel_pacs.domain.facts import MANUFACTURER
from oncopixel_pacs.domain.uids import derive_uid

PATIENT_ID = "ONCOPIXEL-TEST"
_ROWS, _COLUMNS = 256, 512


@dataclass(frozen=True, slots=True)
class TrialPicture:
    """One test object; `part10` is the file (PS3.10 section 7)."""

    sop_instance_uid: str
    sop_class_uid: str
    patient_id: str
    part10: bytes


def build_trial_picture(destination: str, now: datetime) -> TrialPicture:
    """Write a Secondary Capture (PS3.3 A.8.1) that says what it is.

    Parameters
    ----------
    destination
        Where it goes; all that go there are one study.
    now
        Which of them it is.
    """
    dataset = Dataset()
    moment = now.isoformat()
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = derive_uid("test picture", destination, moment)
    dataset.StudyInstanceUID = derive_uid("test study", destination)
    dataset.SeriesInstanceUID = derive_uid("test series", destination, moment)
    _identify(dataset, now)
    _show(dataset, f"Test of the way to {destination}\n{now:%Y-%m-%d %H:%M:%S} UTC")
    return TrialPicture(dataset.SOPInstanceUID, dataset.SOPClassUID, PATIENT_ID, _part10(dataset))


def _identify(dataset: Dataset, now: datetime) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID = "OncoPixel^Test", PATIENT_ID
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.StudyID = dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "Test, no patient"
    dataset.StudyDate = dataset.SeriesDate = dataset.InstanceCreationDate = f"{now:%Y%m%d}"
    dataset.StudyTime = dataset.SeriesTime = dataset.InstanceCreationTime = f"{now:%H%M%S}"
    dataset.TimezoneOffsetFromUTC = "+0000"
    dataset.Modality, dataset.ConversionType = "OT", "SYN"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, 1
    dataset.SeriesDescription = "TEST - RESEARCH USE ONLY"
    dataset.Manufacturer, dataset.SoftwareVersions = MANUFACTURER, __version__
    dataset.ManufacturerModelName = "OncoPixel PACS"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.PatientOrientation = dataset.Laterality = ""


def _show(dataset: Dataset, words: str) -> None:
    """Write the pixels, uncompressed: what is tested is the way, not the codec."""
    sheet = Image.new("L", (_COLUMNS, _ROWS), 0)
    # The default fonts of Pillow have few characters beyond ASCII.
    written = f"{words}\n\n{RESEARCH_NOTICE}".encode("ascii", "replace").decode()
    ImageDraw.Draw(sheet).multiline_text(
        (16, 60), written, fill=255, font=ImageFont.load_default(22), spacing=10
    )
    dataset.BurnedInAnnotation = "NO"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = _ROWS, _COLUMNS
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation = 0
    dataset.add_new("PixelData", "OB", np.asarray(sheet).tobytes())


def _part10(dataset: Dataset) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out = io.BytesIO()
    dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()
