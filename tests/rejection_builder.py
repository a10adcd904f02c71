"""Builds rejection notes as archives and units write them (IHE IOCM, PS3.16 TID 2010)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mammogram_builder import STUDY_UID
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    KeyObjectSelectionDocumentStorage,
)

QUALITY, SAFETY, WORKLIST, EXPIRED = "113001", "113037", "113038", "113039"
OF_INTEREST = "113000"


def rejection_note(
    uids: Sequence[str], title: str = QUALITY, *, number: int = 1, study: str = STUDY_UID
) -> Dataset:
    """Key Object Selection Document that names images by their SOP Instance UIDs."""
    note = Dataset()
    note.SOPClassUID = KeyObjectSelectionDocumentStorage
    note.SOPInstanceUID = f"{study}.88.{number}"
    note.StudyInstanceUID, note.SeriesInstanceUID = study, f"{study}.88"
    note.Modality, note.InstanceNumber = "KO", number
    note.PatientID = "P-1"
    note.ValueType, note.ContinuityOfContent = "CONTAINER", "SEPARATE"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = title, "DCM", "Title"
    note.ConceptNameCodeSequence = [code]
    text = Dataset()
    text.RelationshipType, text.ValueType, text.TextValue = "CONTAINS", "TEXT", "Wrong side"
    note.ContentSequence = [text, *map(_image, uids)]
    note.file_meta = FileMetaDataset()
    note.file_meta.MediaStorageSOPClassUID = note.SOPClassUID
    note.file_meta.MediaStorageSOPInstanceUID = note.SOPInstanceUID
    note.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return note


def write_note(folder: Path, note: Dataset) -> Path:
    """Write a note as a Part 10 file."""
    path = folder / f"{note.SOPInstanceUID}.dcm"
    note.save_as(path, enforce_file_format=True)
    return path


def _image(uid: str) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "IMAGE"
    reference = Dataset()
    reference.ReferencedSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    reference.ReferencedSOPInstanceUID = uid
    item.ReferencedSOPSequence = [reference]
    return item
