"""Segments of a picture: one for each kind of tissue that was found."""

from __future__ import annotations

from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.domain import ImageResult, PictureAnswer, SegmentationForm
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.segment_colours import display_colour
from oncopixel_pacs.report.sentences import tissue_name

MAP_LABEL = "Tissue probability"
"""Label of the segment that holds the probability of each pixel's own class."""


def tissue_segments(
    image: ImageResult,
    answer: PictureAnswer,
    algorithm: AlgorithmIdentificationSequence,
    form: SegmentationForm,
) -> list[SegmentDescription]:
    """Describe the segments; the fractional form has one more for the map.

    Raises
    ------
    ResultRejected
        When the models do not say which organ they read.
    """
    if answer.site is None:
        raise ResultRejected("The models do not say which organ they read; correct the bundle.")
    kinds: list[tuple[Code, str, str | None, str | None]] = [
        (codes.code_of(item.concept), item.name, tissue_name(image, item), item.tracking_uid)
        for item in answer.tissues
    ]
    if form is SegmentationForm.FRACTIONAL:
        kinds.append((codes.TISSUE, MAP_LABEL, None, None))
    return [
        SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.TISSUE,
            segmented_property_type=kind,
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            tracking_id=tracking_id,
            tracking_uid=tracking_uid,
            anatomic_regions=[codes.code_of(answer.site)],
            display_color=display_colour(number),
        )
        for number, (kind, label, tracking_id, tracking_uid) in enumerate(kinds, start=1)
    ]


def describe_tissues(dataset: Dataset, answer: PictureAnswer) -> None:
    """Say in words how much of the picture each segment is."""
    for segment, tissue in zip(dataset.SegmentSequence, answer.tissues, strict=False):
        segment.SegmentDescription = f"{RESEARCH_NOTICE} {tissue.share:.1%} of the picture."
    last = dataset.SegmentSequence[-1]
    if last.SegmentLabel == MAP_LABEL:
        last.SegmentDescription = (
            f"{RESEARCH_NOTICE} How probable the model holds the class that it gives each pixel."
        )
