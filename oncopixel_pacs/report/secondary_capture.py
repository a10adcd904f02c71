"""Secondary Capture of one image: a picture with its findings outlined (PS3.3 A.8.1).

For viewers that show neither segmentations nor structured reports. Written out rather than
taken from highdicom, whose class fills the patient and study attributes itself and leaves out
the reference to the source.
"""

from __future__ import annotations

import copy
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import SecondaryCaptureImageStorage

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.domain import ImageResult
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.content_items import sop_reference
from oncopixel_pacs.report.provenance import Provenance, sign
from oncopixel_pacs.report.segmentation import ObjectUids
from oncopixel_pacs.report.source_header import SourceHeader

#: Outlines and captions stay sharp; noise of the grey is what goes.
_QUALITY = 88


def series_description(image: ImageResult) -> str:
    """Series Description (0008,103E), such as ``AI PICTURE R MLO - RESEARCH USE ONLY``."""
    return f"AI PICTURE {image.facts.name} - RESEARCH USE ONLY"


def build_secondary_capture(
    source: SourceHeader,
    image: ImageResult,
    picture: NDArray[np.uint8],
    provenance: Provenance,
    uids: ObjectUids,
) -> Dataset:
    """Write the picture of one image as a Secondary Capture.

    Parameters
    ----------
    source
        Header of the image.
    image
        What the models say of it.
    picture
        uint8 ``(height, width, 3)``, see `Pictures.draw`.
    provenance
        Who made it.
    uids
        Identity of the new object.

    Returns
    -------
    Dataset
        JPEG Baseline of 8 bits, without File Meta Information.
    """
    dataset = Dataset()
    source.adopt(dataset)
    _identify(dataset, source.dataset, image, uids)
    _show(dataset, picture)
    sign(dataset, source.dataset, provenance)
    return dataset


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
    elif image.picture is not None:
        dataset.Laterality = ""  # Type 2C: the organ may be a paired one
    if image.picture is None:
        dataset.BodyPartExamined = "BREAST"
    if "RequestAttributesSequence" in header:
        dataset.RequestAttributesSequence = copy.deepcopy(header.RequestAttributesSequence)
    dataset.ConversionType = "WSD"
    dataset.InstanceNumber = 1
    dataset.PatientOrientation = header.PatientOrientation
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.DerivationDescription = f"{RESEARCH_NOTICE} Reduced picture, {_marked(image)} outlined."
    reference = sop_reference(header)
    reference.PurposeOfReferenceCodeSequence = [codes.code_item(codes.SOURCE_IMAGE)]
    dataset.SourceImageSequence = [reference]


def _marked(image: ImageResult) -> str:
    if image.picture is None:
        return f"{len(image.findings)} lesion candidate(s)"
    return f"{len(image.picture.tissues)} kind(s) of tissue"


def _show(dataset: Dataset, picture: NDArray[np.uint8]) -> None:
    """Write the pixels, compressed, and say that they were (PS3.3 C.7.6.1.1.5)."""
    rows, columns, samples = picture.shape
    out = io.BytesIO()
    # 4:2:2 is what YBR_FULL_422 promises (PS3.3 C.7.6.3.1.2).
    Image.fromarray(picture, "RGB").save(out, "JPEG", quality=_QUALITY, subsampling="4:2:2")
    dataset.BurnedInAnnotation = "YES"
    dataset.SamplesPerPixel = samples
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation = 0
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionRatio = f"{picture.size / out.tell():.2f}"
    dataset.LossyImageCompressionMethod = "ISO_10918_1"
    dataset.add_new("PixelData", "OB", encapsulate([out.getvalue()]))
    dataset["PixelData"].is_undefined_length = True
