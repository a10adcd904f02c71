"""Rules for segmentations, and what a segmentation says of its findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from oncopixel_pacs.report.segmentation import NO_FINDING_LABEL


@dataclass(frozen=True, slots=True)
class Marked:
    """One finding as a result object tells it; SEG and SR must tell the same.

    Attributes
    ----------
    side
        Code value of its laterality.
    """

    tracking_id: str
    tracking_uid: str
    number: int
    side: str
    segmentation_uid: str
    source_uid: str


def source_uid(dataset: Dataset) -> str:
    """SOP Instance UID of the image that a segmentation was made from."""
    series = dataset.ReferencedSeriesSequence[0]
    return str(series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID)


def marked_findings(dataset: Dataset) -> set[Marked]:
    """Read the findings of a segmentation."""
    return {
        Marked(
            tracking_id=str(segment.TrackingID),
            tracking_uid=str(segment.TrackingUID),
            number=int(segment.SegmentNumber),
            side=_side(segment),
            segmentation_uid=str(dataset.SOPInstanceUID),
            source_uid=source_uid(dataset),
        )
        for segment in dataset.SegmentSequence
        if "TrackingUID" in segment
    }


def segmentation_problems(dataset: Dataset, source: Dataset) -> Iterator[str]:
    """Geometry is the source's, and frame ``k`` is segment ``k`` with pixels in it."""
    for keyword in ("Rows", "Columns"):
        if dataset[keyword].value != source[keyword].value:
            yield f"{keyword} differs from its source"
    if list(dataset.get("PatientOrientation") or ()) != list(source.PatientOrientation or ()):
        yield "Patient Orientation differs from its source"
    side = source.get("ImageLaterality")
    if side and dataset.get("ImageLaterality") != side:
        yield "Image Laterality differs from its source"
    if "FrameOfReferenceUID" in dataset:
        yield "it has a Frame of Reference, its source has no plane in one"
    if dataset.SegmentationType != "BINARY":
        yield "it is not binary"
    if not dataset.SharedFunctionalGroupsSequence[0].get("PlaneOrientationSequence"):
        yield "Plane Orientation is missing, so viewers cannot place it"
    series = dataset.ReferencedSeriesSequence
    if len(series) != 1 or len(series[0].ReferencedInstanceSequence) != 1:
        yield "it refers to more than one image"
    yield from _frame_problems(dataset)


def _frame_problems(dataset: Dataset) -> Iterator[str]:
    numbers = [int(segment.SegmentNumber) for segment in dataset.SegmentSequence]
    frames = [
        int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        for frame in dataset.PerFrameFunctionalGroupsSequence
    ]
    expected = list(range(1, len(numbers) + 1))
    if numbers != expected or frames != expected or int(dataset.NumberOfFrames) != len(expected):
        yield "its frames do not follow its segments"
        return
    size = dataset.Rows * dataset.Columns
    stored = np.frombuffer(dataset.PixelData, dtype=np.uint8)
    if len(stored) < (size * len(expected) + 7) // 8:
        yield "its pixel data are too short"
        return
    for index, segment in enumerate(dataset.SegmentSequence):
        searched = segment.SegmentLabel == NO_FINDING_LABEL
        if searched == _any_bit(stored, index * size, (index + 1) * size):
            yield f"segment {index + 1} has " + ("pixels" if searched else "no pixels")
        if searched and len(expected) > 1:
            yield "it says that nothing was found beside a finding"


def _any_bit(stored: np.ndarray, start: int, stop: int) -> bool:
    """Whether a bit is set in ``[start, stop)``; frames need not begin at a byte."""
    covering = stored[start // 8 : (stop + 7) // 8]
    bits = np.unpackbits(covering, bitorder="little")
    return bool(bits[start % 8 : start % 8 + stop - start].any())


def _side(segment: Dataset) -> str:
    region = segment.AnatomicRegionSequence[0]
    return str(region.AnatomicRegionModifierSequence[0].CodeValue)
