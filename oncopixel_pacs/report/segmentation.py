"""DICOM Segmentation of one image: one segment for each finding (PS3.3 A.51, A.80).

Three forms, see `SegmentationForm`. The probabilities are the model's own, each stored pixel
with the value of the model's pixel that it lies in; nothing is smoothed.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from highdicom import AlgorithmIdentificationSequence, PixelMeasuresSequence
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    SegmentationFractionalTypeValues,
    SegmentationTypeValues,
    SegmentDescription,
)
from highdicom.seg import Segmentation as HighdicomSegmentation
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.domain import (
    Finding,
    ImageResult,
    Laterality,
    ModelTask,
    ObjectKind,
    SegmentationForm,
)
from oncopixel_pacs.domain.facts import MANUFACTURER
from oncopixel_pacs.domain.uids import derive_uid
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.imaging.geometry import window_of
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.provenance import (
    MODEL_NAME,
    Provenance,
    local_time,
    segment_algorithm,
    sign,
    transfer_syntax,
)
from oncopixel_pacs.report.segment_colours import display_colour
from oncopixel_pacs.report.source_header import SourceHeader
from oncopixel_pacs.report.tissue_segments import describe_tissues, tissue_segments

MAP_LABEL = "Lesion probability"
"""Label of the segment that holds the model's whole map."""
MAXIMUM_FRACTION = 255
"""Maximum Fractional Value (0062,000E): a probability of 1."""
_NAMES = {
    SegmentationForm.BINARY: "SEG",
    SegmentationForm.FRACTIONAL: "PROBABILITY",
    SegmentationForm.LABELMAP: "LABELMAP",
}
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


def series_description(image: ImageResult, form: SegmentationForm) -> str:
    """Series Description (0008,103E), such as ``AI SEG R MLO - RESEARCH USE ONLY``."""
    return f"AI {_NAMES[form]} {image.facts.name} - RESEARCH USE ONLY"


def has_segmentation(image: ImageResult, form: SegmentationForm) -> bool:
    """Whether an image gets a segmentation: where something was found, or for its map.

    That an image was searched and nothing was found stands in the report; a frame of zeros
    would say no more and take a sixteenth of the image.
    """
    if image.picture is not None:
        found, searched = bool(image.picture.tissues), image.picture.searched
    else:
        found, searched = bool(image.findings), True
    return image.analysed and searched and (found or form is SegmentationForm.FRACTIONAL)


def build_segmentation(
    source: SourceHeader,
    image: ImageResult,
    labels: NDArray[np.uint8] | None,
    provenance: Provenance,
    uids: ObjectUids,
    form: SegmentationForm = SegmentationForm.BINARY,
    probabilities: NDArray[np.uint8] | None = None,
) -> Dataset:
    """Write the segmentation of one image.

    Segment ``k`` holds finding ``k``. In the fractional form its pixels carry the probability,
    and one more segment, labelled `MAP_LABEL`, holds the map of the whole breast.

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
    probabilities
        ``(rows, columns)`` of stored pixels, `MAXIMUM_FRACTION` for a probability of 1; needed
        for the fractional form alone.

    Returns
    -------
    Dataset
        In the transfer syntax of `provenance.transfer_syntax`, without File Meta Information.

    Raises
    ------
    ResultRejected
        When maps, findings and image do not belong together, or there is nothing to segment.
    """
    algorithm = provenance.algorithm(ModelTask.SEGMENT)
    laterality, spacing_mm = image.facts.laterality, image.facts.spacing_mm
    if algorithm is None or (image.picture is None and None in (laterality, spacing_mm)):
        raise ResultRejected(
            f"Image {image.facts.name} cannot be segmented: segmenter, side or pixel size is "
            "missing; check the models and the image's header."
        )
    if not has_segmentation(image, form):
        raise ResultRejected(f"Image {image.facts.name} has no finding, so no segmentation.")
    header = source.dataset
    shape = (header.Rows, header.Columns)
    label_map = _checked(labels, image, shape)
    moment = local_time(provenance.created_at, header).replace(microsecond=0)
    identification = segment_algorithm(algorithm, provenance)
    dataset = HighdicomSegmentation(
        source_images=[source.anonymous()],
        pixel_array=_pixels(form, label_map, probabilities, image),
        segmentation_type=SegmentationTypeValues[form.name],
        fractional_type=SegmentationFractionalTypeValues.PROBABILITY,
        max_fractional_value=MAXIMUM_FRACTION,
        segment_descriptions=_segments(image, identification, form),
        **_identity(uids, image, form),
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL_NAME,
        software_versions=provenance.software_version,
        device_serial_number=provenance.serial_number,
        content_date=moment.date(),
        content_time=moment.time(),
        series_date=moment.date(),
        series_time=moment.time(),
        transfer_syntax_uid=transfer_syntax(ObjectKind.SEG, form),
        pixel_measures=spacing_mm and _pixel_measures(header, spacing_mm),
        omit_empty_frames=False,
        specific_character_set="ISO_IR 192",
    )
    source.adopt(dataset)
    _finish(dataset, header, image)
    sign(dataset, header, provenance)
    return dataset


def _identity(uids: ObjectUids, image: ImageResult, form: SegmentationForm) -> dict[str, Any]:
    """Name the object, as arguments of the library."""
    return {
        "series_instance_uid": uids.series_instance_uid,
        "series_number": uids.series_number,
        "sop_instance_uid": uids.sop_instance_uid,
        "instance_number": 1,
        "series_description": series_description(image, form),
        "content_label": "AI_LESIONS" if image.picture is None else "AI_TISSUES",
        "content_description": f"{RESEARCH_NOTICE} {image.facts.name}"[:64],
        "content_creator_name": "OncoPixel^AI",
    }


def _pixels(
    form: SegmentationForm,
    labels: NDArray[np.uint8],
    probabilities: NDArray[np.uint8] | None,
    image: ImageResult,
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Pixels as the library takes them: ``(1, rows, columns)`` or, fractional, with segments."""
    if form is not SegmentationForm.FRACTIONAL:
        return labels[np.newaxis]
    if probabilities is None or probabilities.shape != labels.shape:
        raise ResultRejected(
            f"Image {image.facts.name} has no probability map of its size; analyse it again."
        )
    whole = probabilities.astype(np.float32) / np.float32(MAXIMUM_FRACTION)
    parts = [np.where(labels == number, whole, np.float32(0)) for number in _numbers(image)]
    return np.stack([*parts, whole], axis=-1)[np.newaxis]


def _checked(
    labels: NDArray[np.uint8] | None, image: ImageResult, shape: tuple[int, int]
) -> NDArray[np.uint8]:
    """Label map that fits image and findings."""
    name = image.facts.name
    numbers = _numbers(image)
    if labels is None:
        if numbers:
            raise ResultRejected(f"Image {name} has findings but no label map; analyse it again.")
        return np.zeros(shape, dtype=np.uint8)
    if labels.shape != shape:
        raise ResultRejected(
            f"The label map of image {name} is {labels.shape}, the image {shape}; analyse it again."
        )
    held = np.flatnonzero(np.bincount(labels[window_of(labels)].ravel(), minlength=1)[1:]) + 1
    if held.tolist() != numbers or numbers != list(range(1, len(numbers) + 1)):
        raise ResultRejected(
            f"The label map of image {name} holds regions {held.tolist()}, "
            f"the findings are {numbers}; analyse it again."
        )
    return labels


def _pixel_measures(header: Dataset, spacing_mm: tuple[float, float]) -> PixelMeasuresSequence:
    thickness_mm = float(header.get("BodyPartThickness") or _UNKNOWN_THICKNESS_MM)
    return PixelMeasuresSequence(pixel_spacing=spacing_mm, slice_thickness=thickness_mm)


def _numbers(image: ImageResult) -> list[int]:
    """Numbers of what was found, as the label map has them."""
    found = image.findings if image.picture is None else image.picture.tissues
    return [item.number for item in found]


def _segments(
    image: ImageResult, algorithm: AlgorithmIdentificationSequence, form: SegmentationForm
) -> list[SegmentDescription]:
    """Describe one segment for each finding, and one for the map of the fractional form."""
    answer = image.picture
    if answer is not None:
        return tissue_segments(image, answer, algorithm, form)
    segments = [
        _segment(item.number, f"Lesion candidate {item.number}", algorithm, item)
        for item in image.findings
    ]
    if form is SegmentationForm.FRACTIONAL:
        segments.append(_segment(len(segments) + 1, MAP_LABEL, algorithm))
    return segments


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


def _finish(dataset: Dataset, header: Dataset, image: ImageResult) -> None:
    """Add what the standard, its validators and viewers ask for and the library leaves out."""
    # Type 2C of General Image, since there is no plane in a Frame of Reference.
    dataset.PatientOrientation = header.PatientOrientation
    if image.facts.laterality is not None and image.picture is None:
        dataset.ImageLaterality = image.facts.laterality.value
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
    # A label map lists its background too, which viewers take for the first segment.
    dataset.SegmentSequence = [item for item in dataset.SegmentSequence if item.SegmentNumber]
    organization_uid = derive_uid("dimension organization", dataset.SOPInstanceUID)
    dataset.DimensionOrganizationSequence[0].DimensionOrganizationUID = organization_uid
    for index in dataset.DimensionIndexSequence:
        index.DimensionOrganizationUID = organization_uid
    if image.picture is not None:
        describe_tissues(dataset, image.picture)
    elif image.facts.laterality is not None:
        _describe(dataset, image.findings, image.facts.laterality)


def _describe(dataset: Dataset, findings: tuple[Finding, ...], laterality: Laterality) -> None:
    """Write side and probability into the segments of a mammogram."""
    side = codes.SIDES[laterality]
    for segment in dataset.SegmentSequence:
        region = segment.AnatomicRegionSequence[0]
        region.AnatomicRegionModifierSequence = [codes.code_item(side)]
    for segment, finding in zip(dataset.SegmentSequence, findings, strict=False):
        segment.SegmentDescription = (
            f"{RESEARCH_NOTICE} Probability of malignancy {finding.probability:.1%}."
        )
    if dataset.SegmentSequence[-1].SegmentLabel == MAP_LABEL:
        dataset.SegmentSequence[-1].SegmentDescription = (
            f"{RESEARCH_NOTICE} What the model answered for each of its pixels inside the breast; "
            f"{len(findings) or 'no'} lesion candidate(s) reached the operating point."
        )
