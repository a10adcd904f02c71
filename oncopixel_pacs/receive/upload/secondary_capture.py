"""Pictures as Secondary Capture images (PS3.3 A.8.1), so that everything downstream is the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.domain.facts import MANUFACTURER, View
from oncopixel_pacs.domain.uids import derive_uid
from oncopixel_pacs.domain.uploads import Description
from oncopixel_pacs.receive.upload.formats import FileKind
from oncopixel_pacs.receive.upload.pictures import GreyPicture

#: PS3.16 CID 4014.
_VIEW_CODES: Mapping[View, tuple[str, str]] = {
    View.CC: ("399162004", "cranio-caudal"),
    View.MLO: ("399368009", "medio-lateral oblique"),
}


def image_uid(sha256: str, description: Description) -> str:
    """SOP Instance UID of a picture: the same picture with the same description has the same.

    Parameters
    ----------
    sha256
        Hex digest of the file as uploaded.
    """
    said = (
        description.laterality or "",
        description.view or "",
        "" if description.pixel_spacing_mm is None else repr(description.pixel_spacing_mm),
        description.patient_id,
        description.patient_name,
        description.accession_number,
    )
    return derive_uid("upload", "image", sha256, *said)


def write_secondary_capture(
    target: Path,
    picture: GreyPicture,
    kind: FileKind,
    size_bytes: int,
    description: Description,
    sop_instance_uid: str,
    study_instance_uid: str,
) -> None:
    """Write a picture as a Part 10 file. It holds no time, so it is the same each time.

    Side, view and pixel size stand where a digitised film has them: Image Laterality (PS3.3
    C.7.6.1), View Code Sequence (C.8.11.7, as a Standard Extended SOP Class), and Pixel Spacing,
    calibrated by the sender's word (10.7.1.3).

    Parameters
    ----------
    size_bytes
        Of the file as uploaded, for the compression ratio.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset(str(target), {}, file_meta=meta, preamble=b"\0" * 128)
    image.SpecificCharacterSet = "ISO_IR 192"
    image.SOPClassUID = SecondaryCaptureImageStorage
    image.SOPInstanceUID = UID(sop_instance_uid)
    _patient_and_study(image, description, study_instance_uid)
    _series(image, study_instance_uid)
    _general_image(image, kind)
    _anatomy(image, description)
    _pixels(image, picture)
    if picture.lossy:
        _lossy(image, picture, size_bytes)
    image.save_as(target, enforce_file_format=True)


def _patient_and_study(image: Dataset, said: Description, study_instance_uid: str) -> None:
    image.PatientName, image.PatientID = said.patient_name, said.patient_id
    image.PatientBirthDate, image.PatientSex = "", ""
    image.StudyInstanceUID, image.StudyID = study_instance_uid, ""
    image.StudyDate, image.StudyTime = "", ""
    image.ReferringPhysicianName, image.AccessionNumber = "", said.accession_number
    image.StudyDescription = "Uploaded pictures"


def _series(image: Dataset, study_instance_uid: str) -> None:
    image.Modality = "MG"
    image.SeriesInstanceUID = derive_uid("upload", "series", study_instance_uid)
    image.SeriesNumber = 1
    image.SeriesDescription = "Uploaded pictures (research use only)"
    image.Manufacturer = MANUFACTURER
    image.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    image.SecondaryCaptureDeviceManufacturerModelName = "OncoPixel PACS"


def _general_image(image: Dataset, kind: FileKind) -> None:
    image.ConversionType = "WSD"
    image.InstanceNumber = None
    image.PatientOrientation = None
    image.ImageType = ["DERIVED", "SECONDARY"]
    image.DerivationDescription = f"Wrapped from an uploaded {kind} file"
    image.ImageComments = RESEARCH_NOTICE


def _anatomy(image: Dataset, said: Description) -> None:
    image.BodyPartExamined = "BREAST"
    if said.laterality is not None:
        image.ImageLaterality = str(said.laterality)
    else:
        image.Laterality = ""  # Type 2C of a paired body part (PS3.3 C.7.3.1)
    if said.view is not None:
        code = Dataset()
        code.CodeValue, code.CodeMeaning = _VIEW_CODES[said.view]
        code.CodingSchemeDesignator = "SCT"
        image.ViewCodeSequence = [code]
    if said.pixel_spacing_mm is not None:
        image.PixelSpacing = [said.pixel_spacing_mm] * 2
        image.PixelSpacingCalibrationType = "GEOMETRY"
        image.PixelSpacingCalibrationDescription = "Size of a pixel as stated at upload"


def _pixels(image: Dataset, picture: GreyPicture) -> None:
    stored = picture.pixels
    bits = 8 * stored.dtype.itemsize
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows, image.Columns = stored.shape
    image.BitsAllocated, image.BitsStored, image.HighBit = bits, bits, bits - 1
    image.PixelRepresentation = 0
    if bits == 16:
        low, high = int(stored.min()), int(stored.max())
        image.WindowCenter, image.WindowWidth = (low + high + 1) / 2, max(high - low + 1, 1)
    data = np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("<")).tobytes()
    image.PixelData = data + b"\0" * (len(data) % 2)
    image["PixelData"].VR = "OW"


def _lossy(image: Dataset, picture: GreyPicture, size_bytes: int) -> None:
    image.LossyImageCompression = "01"
    image.LossyImageCompressionMethod = "ISO_10918_1"
    image.LossyImageCompressionRatio = f"{max(picture.pixels.nbytes / size_bytes, 1):.2f}"
