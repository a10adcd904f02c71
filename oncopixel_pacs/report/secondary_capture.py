"""Secondary Capture of one image: a picture with its findings outlined (PS3.3 A.8.1).

For viewers that show neither segmentations nor structured reports. Written out rather than
taken from highdicom, whose class fills the patient and study attributes itself and leaves out
the reference to the source.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.domain import ImageResult
from oncopixel_pacs.errors import ResultRejected, UnreadableImage
from oncopixel_pacs.imaging.mammogram import read_mammogram
from oncopixel_pacs.imaging.overlay import draw_overlay
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.content_items import sop_reference
from oncopixel_pacs.report.provenance import Provenance, sign
from oncopixel_pacs.report.segmentation import ObjectUids
from oncopixel_pacs.report.source_header import SourceHeader

#: Enough to see where a finding lies; the original is what is read. Uncompressed, since that
#: is what every viewer shows, a picture has about 4 MB.
HEIGHT_PX = 1280


def series_description(image: ImageResult) -> str:
    """Series Description (0008,103E), such as ``AI PICTURE R MLO - RESEARCH USE ONLY``."""
    return f"AI PICTURE {image.facts.name} - RESEARCH USE ONLY"


def build_secondary_capture(
    source: SourceHeader,
    path: Path,
    image: ImageResult,
    labels: NDArray[np.uint8] | None,
    provenance: Provenance,
    uids: ObjectUids,
) -> Dataset:
    """Draw one image with its findings into a Secondary Capture.

    Parameters
    ----------
    source
        Header of the image.
    path
        Part 10 file of the image.
    image
        What the models say of it.
    labels
        ``(rows, columns)`` of stored pixels: 0 for background, ``k`` for finding ``k``.
        May be ``None`` when there is no finding.
    provenance
        Who made it.
    uids
        Identity of the new object.

    Returns
    -------
    Dataset
        8 bit RGB, `HEIGHT_PX` rows, without File Meta Information.

    Raises
    ------
    ResultRejected
        When the image cannot be drawn, or label map and image do not belong together.
    """
    if image.findings and labels is None:
        raise ResultRejected(
            f"Image {image.facts.name} has findings but no label map; analyse it again."
        )
    try:
        mammogram = read_mammogram(path)
    except UnreadableImage as exc:
        raise ResultRejected(
            f"Image {image.facts.name} cannot be drawn ({exc}); check its file."
        ) from exc
    if labels is not None and labels.shape != mammogram.pixels.shape:
        raise ResultRejected(
            f"The label map of image {image.facts.name} is {labels.shape}, the image "
            f"{mammogram.pixels.shape}; analyse it again."
        )
    picture = draw_overlay(mammogram, labels, _caption(image), HEIGHT_PX)
    dataset = Dataset()
    source.adopt(dataset)
    _identify(dataset, source.dataset, image, uids)
    _show(dataset, picture)
    _tell_compression(dataset, source.dataset)
    sign(dataset, source.dataset, provenance)
    return dataset


def _caption(image: ImageResult) -> str:
    score = "" if image.probability is None else f"  {image.probability:.0%}"
    outcome = "" if image.findings else "  no candidate"
    return f"AI {image.facts.name}{score}{outcome}"


def _identify(dataset: Dataset, header: Dataset, image: ImageResult, uids: ObjectUids) -> None:
    """Series, image and where it comes from."""
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = uids.sop_instance_uid
    dataset.Modality = "OT"
    dataset.SeriesInstanceUID = uids.series_instance_uid
    dataset.SeriesNumber = uids.series_number
    dataset.SeriesDescription = series_description(image)
    if image.facts.laterality is not None:
        dataset.Laterality = image.facts.laterality.value
    dataset.BodyPartExamined = "BREAST"
    if "RequestAttributesSequence" in header:
        dataset.RequestAttributesSequence = copy.deepcopy(header.RequestAttributesSequence)
    dataset.ConversionType = "WSD"
    dataset.InstanceNumber = 1
    dataset.PatientOrientation = header.PatientOrientation
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.DerivationDescription = (
        f"{RESEARCH_NOTICE} Reduced picture, {len(image.findings)} lesion candidate(s) outlined."
    )
    reference = sop_reference(header)
    reference.PurposeOfReferenceCodeSequence = [codes.code_item(codes.SOURCE_IMAGE)]
    dataset.SourceImageSequence = [reference]


def _show(dataset: Dataset, picture: NDArray[np.uint8]) -> None:
    """Write the pixels."""
    rows, columns, samples = picture.shape
    dataset.BurnedInAnnotation = "YES"
    dataset.SamplesPerPixel = samples
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation = 0
    pixels = picture.tobytes()
    dataset.add_new("PixelData", "OB", pixels + b"\0" * (len(pixels) % 2))


def _tell_compression(dataset: Dataset, header: Dataset) -> None:
    """Say what was once compressed with loss, also when drawn anew (PS3.3 C.7.6.1.1.5)."""
    dataset.LossyImageCompression = header.get("LossyImageCompression") or "00"
    if dataset.LossyImageCompression == "01":
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if keyword in header:
                dataset[keyword] = copy.deepcopy(header[keyword])
