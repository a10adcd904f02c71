"""DICOM Segmentation of one image: one binary segment per finding (PS3.3 A.51)."""

from __future__ import annotations

import colorsys
import copy
from dataclasses import dataclass

import numpy as np
from highdicom import AlgorithmIdentificationSequence, PixelMeasuresSequence
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from highdicom.seg import Segmentation as HighdicomSegmentation
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.domain import Finding, ImageResult, Laterality, ModelTask
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.provenance import (
    MANUFACTURER,
    MODEL_NAME,
    Provenance,
    local_time,
    segment_algorithm,
    sign,
)
from oncopixel_pacs.report.source_header import SourceHeader
from oncopixel_pacs.uids import derive_uid

NO_FINDING_LABEL = "Searched - no lesion found"
_GOLDEN_ANGLE = 0.381966
# A projection has no thickness; viewers want a number all the same.
_UNKNOWN_THICKNESS_MM = 1.0


@dataclass(frozen=True, slots=True)
class ObjectUids:
    """Identity of a result object.

    Attributes
    ----------
    series_number
        Series Number (0020,0011).
    """

    sop_instance_uid: str
    series_instance_uid: str
    series_number: int


def series_description(image: ImageResult) -> str:
    """Series Description (0008,103E), such as ``AI SEG R MLO - RESEARCH USE ONLY``."""
    return f"AI SEG {image.facts.name} - RESEARCH USE ONLY"


def build_segmentation(
    source: SourceHeader,
    image: ImageResult,
    labels: NDArray[np.uint8] | None,
    provenance: Provenance,
    uids: ObjectUids,
) -> Dataset:
    """Write the segmentation of one image.

    Segment and frame ``k`` hold finding ``k``. An image without findings gets one segment
    without pixels, labelled `NO_FINDING_LABEL`: it was searched.

    Parameters
    ----------
    source
        Header of the image.
    image
        What the models say of it.
    labels
        ``(rows, columns)`` of stored pixels: 0 for background, ``k`` for finding ``k``.
        May be ``None`` when there is no finding.
    provenance
        Who made it; needs a segmenter.
    uids
        Identity of the new object.

    Returns
    -------
    Dataset
        Explicit VR Little Endian, without File Meta Information.

    Raises
    ------
    ResultRejected
        When label map, findings and image do not belong together.
    """
    algorithm = provenance.algorithm(ModelTask.SEGMENT)
    laterality, spacing_mm = image.facts.laterality, image.facts.spacing_mm
    if algorithm is None or laterality is None or spacing_mm is None:
        raise ResultRejected(
            f"Image {image.facts.name} cannot be segmented: segmenter, side or pixel size is "
            "missing; check the models and the image's header."
        )
    header = source.dataset
    label_map = _checked(labels, image, (header.Rows, header.Columns))
    moment = local_time(provenance.created_at, header)
    dataset = HighdicomSegmentation(
        source_images=[source.anonymous()],
        pixel_array=label_map[np.newaxis],
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=_segments(image.findings, segment_algorithm(algorithm)),
        series_instance_uid=uids.series_instance_uid,
        series_number=uids.series_number,
        sop_instance_uid=uids.sop_instance_uid,
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL_NAME,
        software_versions=provenance.software_version,
        device_serial_number=provenance.serial_number,
        content_label="AI_LESIONS",
        content_description=f"{RESEARCH_NOTICE} {image.facts.name}"[:64],
        content_creator_name="OncoPixel^AI",
        content_date=moment.date(),
        content_time=moment.time().replace(microsecond=0),
        series_date=moment.date(),
        series_time=moment.time().replace(microsecond=0),
        series_description=series_description(image),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        pixel_measures=_pixel_measures(header, spacing_mm),
        omit_empty_frames=False,
        specific_character_set="ISO_IR 192",
    )
    source.adopt(dataset)
    _finish(dataset, header, image.findings, laterality)
    sign(dataset, header, provenance)
    return dataset


def _checked(
    labels: NDArray[np.uint8] | None, image: ImageResult, shape: tuple[int, int]
) -> NDArray[np.uint8]:
    """Label map that fits image and findings."""
    name = image.facts.name
    if labels is None:
        if image.findings:
            raise ResultRejected(f"Image {name} has findings but no label map; analyse it again.")
        return np.zeros(shape, dtype=np.uint8)
    if labels.shape != shape:
        raise ResultRejected(
            f"The label map of image {name} is {labels.shape}, the image {shape}; analyse it again."
        )
    held = np.flatnonzero(np.bincount(labels.ravel(), minlength=1)[1:]) + 1
    numbers = [finding.number for finding in image.findings]
    if held.tolist() != numbers or numbers != list(range(1, len(numbers) + 1)):
        raise ResultRejected(
            f"The label map of image {name} holds regions {held.tolist()}, "
            f"the findings are {numbers}; analyse it again."
        )
    return labels


def _pixel_measures(header: Dataset, spacing_mm: tuple[float, float]) -> PixelMeasuresSequence:
    thickness_mm = float(header.get("BodyPartThickness") or _UNKNOWN_THICKNESS_MM)
    return PixelMeasuresSequence(pixel_spacing=spacing_mm, slice_thickness=thickness_mm)


def _segments(
    findings: tuple[Finding, ...], algorithm: AlgorithmIdentificationSequence
) -> list[SegmentDescription]:
    """Describe one segment for each finding, or one that says that none was found."""
    if not findings:
        return [_segment(1, NO_FINDING_LABEL, algorithm)]
    return [
        _segment(item.number, f"Lesion candidate {item.number}", algorithm, item)
        for item in findings
    ]


def _segment(
    number: int,
    label: str,
    algorithm: AlgorithmIdentificationSequence,
    finding: Finding | None = None,
) -> SegmentDescription:
    return SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=codes.ABNORMAL_STRUCTURE,
        segmented_property_type=codes.LESION,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_id=None if finding is None else finding.tracking_id,
        tracking_uid=None if finding is None else finding.tracking_uid,
        anatomic_regions=[codes.BREAST],
        display_color=display_colour(number),
    )


def display_colour(number: int) -> CIELabColor:
    """Colour of a segment; neighbours in number lie far apart on the colour circle."""
    red, green, blue = colorsys.hsv_to_rgb((number - 1) * _GOLDEN_ANGLE % 1.0, 1.0, 1.0)
    return CIELabColor.from_rgb(round(red * 255), round(green * 255), round(blue * 255))


def _finish(
    dataset: Dataset, header: Dataset, findings: tuple[Finding, ...], laterality: Laterality
) -> None:
    """Add what the standard, its validators and viewers ask for and the library leaves out."""
    # Type 2C of General Image, since there is no plane in a Frame of Reference.
    dataset.PatientOrientation = header.PatientOrientation
    dataset.ImageLaterality = laterality.value
    dataset.BodyPartExamined = "BREAST"
    if "RequestAttributesSequence" in header:
        dataset.RequestAttributesSequence = copy.deepcopy(header.RequestAttributesSequence)
    # OHIF places segments by plane orientation even where there is no Frame of Reference.
    orientation = Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared = dataset.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence = [orientation]
    # The library shares the segment of a lone frame; viewers look for it in the frame.
    if "SegmentIdentificationSequence" in shared:
        frame = dataset.PerFrameFunctionalGroupsSequence[0]
        frame.SegmentIdentificationSequence = shared.SegmentIdentificationSequence
        del shared.SegmentIdentificationSequence
    organization_uid = derive_uid("dimension organization", dataset.SOPInstanceUID)
    dataset.DimensionOrganizationSequence[0].DimensionOrganizationUID = organization_uid
    for index in dataset.DimensionIndexSequence:
        index.DimensionOrganizationUID = organization_uid
    side = codes.SIDES[laterality]
    for segment in dataset.SegmentSequence:
        region = segment.AnatomicRegionSequence[0]
        region.AnatomicRegionModifierSequence = [codes.code_item(side)]
    for segment, finding in zip(dataset.SegmentSequence, findings, strict=False):
        segment.SegmentDescription = (
            f"{RESEARCH_NOTICE} Probability of malignancy {finding.probability:.1%}."
        )
    if not findings:
        dataset.SegmentSequence[
            0
        ].SegmentDescription = (
            f"{RESEARCH_NOTICE} The image was searched; no lesion candidate was found."
        )
