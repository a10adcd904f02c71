"""Rules for secondary captures."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset

from oncopixel_pacs.report.dataset_rules import decoded
from oncopixel_pacs.report.parsed_object import ParsedItem, ParsedObject


def pictured_uid(dataset: ParsedItem) -> str:
    """SOP Instance UID of the image that a secondary capture shows."""
    return str(dataset.SourceImageSequence[0].ReferencedSOPInstanceUID)


def picture_problems(dataset: ParsedObject, source: Dataset) -> Iterator[str]:
    """Check that it shows something, on its source's side, and says that it is no original."""
    if len(dataset.SourceImageSequence) != 1:
        yield "it refers to more than one image"
    if list(dataset.ImageType[:2]) != ["DERIVED", "SECONDARY"]:
        yield "its Image Type does not say that it is derived"
    if dataset.Modality != "OT":
        yield "its modality is not OT"
    if dataset.BurnedInAnnotation != "YES":
        yield "it does not say that text is burnt in"
    side = source.get("ImageLaterality")
    if side and dataset.get("Laterality") != side:
        yield "Laterality differs from its source"
    if list(dataset.get("PatientOrientation") or ()) != list(source.PatientOrientation or ()):
        yield "Patient Orientation differs from its source"
    if (dataset.LossyImageCompression, dataset.get("LossyImageCompressionMethod")) != (
        "01",
        "ISO_10918_1",
    ):
        yield "it does not say that it was compressed with loss"
    form = (dataset.PhotometricInterpretation, dataset.SamplesPerPixel, dataset.BitsAllocated)
    if form != ("YBR_FULL_422", 3, 8):
        yield "it is not in colour of 8 bits"
        return
    shown = decoded(dataset)
    if shown is None:
        yield "its picture cannot be decoded"
        return
    if shown.shape != (dataset.Rows, dataset.Columns, 3):
        yield "its pixel data do not have the size of the picture"
    elif shown.max() < 64:
        yield "its picture is black"
