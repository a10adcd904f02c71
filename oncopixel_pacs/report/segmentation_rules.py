"""Rules for segmentations, and what a segmentation says of its findings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array

from oncopixel_pacs.domain import SegmentationForm
from oncopixel_pacs.report.dataset_rules import decoded
from oncopixel_pacs.report.parsed_object import ParsedItem, ParsedObject
from oncopixel_pacs.report.segmentation import MAP_LABEL, MAXIMUM_FRACTION
from oncopixel_pacs.report.tissue_segments import MAP_LABEL as TISSUE_MAP_LABEL

_MAPS = (MAP_LABEL, TISSUE_MAP_LABEL)

Box = tuple[int, int, int, int]


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


def source_uid(dataset: ParsedItem) -> str:
    """SOP Instance UID of the image that a segmentation was made from."""
    series = dataset.ReferencedSeriesSequence[0]
    return str(series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID)


def marked_findings(dataset: ParsedItem) -> set[Marked]:
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


def segmentation_problems(dataset: ParsedObject, source: Dataset) -> Iterator[str]:
    """Geometry is the source's, and frame ``k`` is segment ``k`` with pixels in it."""
    for keyword in ("Rows", "Columns"):
        if getattr(dataset, keyword) != source[keyword].value:
            yield f"{keyword} differs from its source"
    if list(dataset.get("PatientOrientation") or ()) != list(source.PatientOrientation or ()):
        yield "Patient Orientation differs from its source"
    side = source.get("ImageLaterality")
    if side and dataset.get("ImageLaterality") != side:
        yield "Image Laterality differs from its source"
    if "FrameOfReferenceUID" in dataset:
        yield "it has a Frame of Reference, its source has no plane in one"
    if dataset.SegmentationType not in tuple(form.name for form in SegmentationForm):
        yield "its form is none that we write"
        return
    if not dataset.SharedFunctionalGroupsSequence[0].get("PlaneOrientationSequence"):
        yield "Plane Orientation is missing, so viewers cannot place it"
    series = dataset.ReferencedSeriesSequence
    if len(series) != 1 or len(series[0].ReferencedInstanceSequence) != 1:
        yield "it refers to more than one image"
    yield from _frame_problems(dataset)


def stated_probabilities(dataset: ParsedItem) -> dict[str, float]:
    """Probability in the description of each finding's segment, in percent, by tracking UID."""
    found = {}
    for segment in dataset.SegmentSequence:
        stated = re.search(r"([0-9.]+)%", str(segment.get("SegmentDescription", "")))
        if "TrackingUID" in segment and stated is not None:
            found[str(segment.TrackingUID)] = float(stated[1])
    return found


def marked_boxes(dataset: ParsedObject) -> dict[str, Box]:
    """Box ``(top, left, bottom, right)`` of each finding's pixels by its tracking UID."""
    boxes = {}
    for segment in dataset.SegmentSequence:
        if "TrackingUID" in segment:
            box = _box(_mask(dataset, int(segment.SegmentNumber)))
            if box is not None:
                boxes[str(segment.TrackingUID)] = box
    return boxes


def _frame_problems(dataset: ParsedObject) -> Iterator[str]:
    numbers = [int(segment.SegmentNumber) for segment in dataset.SegmentSequence]
    expected = list(range(1, len(numbers) + 1))
    if dataset.SegmentationType == "LABELMAP":
        yield from _label_problems(dataset, numbers)
        return
    frames = [
        int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        for frame in dataset.PerFrameFunctionalGroupsSequence
    ]
    if numbers != expected or frames != expected or int(dataset.NumberOfFrames) != len(expected):
        yield "its frames do not follow its segments"
        return
    fractional = dataset.SegmentationType == "FRACTIONAL"
    size = dataset.Rows * dataset.Columns
    if not fractional and len(dataset.PixelData) < (size * len(expected) + 7) // 8:
        yield "its pixel data are too short"
        return
    labels = [str(segment.SegmentLabel) for segment in dataset.SegmentSequence]
    if (labels[-1] in _MAPS) != fractional or any(label in _MAPS for label in labels[:-1]):
        yield "the map of probabilities is not its last segment"
    if fractional:
        scale = (dataset.SegmentationFractionalType, int(dataset.MaximumFractionalValue))
        if scale != ("PROBABILITY", MAXIMUM_FRACTION):
            yield "its values are not probabilities"
    for number, label in zip(numbers, labels, strict=True):
        if label not in _MAPS and not _mask(dataset, number).any():
            yield f"segment {number} has no pixels"


def _label_problems(dataset: ParsedObject, numbers: list[int]) -> Iterator[str]:
    if int(dataset.NumberOfFrames) != 1:
        yield "its label map has more than one frame"
        return
    labels = decoded(dataset)
    if labels is None:
        yield "its label map cannot be decoded"
        return
    held = np.flatnonzero(np.bincount(labels.ravel())).tolist()
    if [number for number in held if number] != numbers:
        yield "its label map does not hold what its segments say"


def _mask(dataset: ParsedObject, number: int) -> NDArray[np.bool_]:
    """Pixels of a segment, ``(rows, columns)``."""
    if dataset.SegmentationType == "LABELMAP":
        labels = decoded(dataset)
        return np.zeros((1, 1), np.bool_) if labels is None else labels == number
    if dataset.SegmentationType == "FRACTIONAL":
        several = int(dataset.NumberOfFrames) > 1
        index = number - 1 if several else None
        values = pixel_array(dataset.dataset, index=index)
        positive: NDArray[np.bool_] = values > 0
        return positive
    size = dataset.Rows * dataset.Columns
    start, stop = (number - 1) * size, number * size
    # Frames of single bits need not begin at a byte.
    covering = np.frombuffer(dataset.PixelData, np.uint8)[start // 8 : (stop + 7) // 8]
    bits = np.unpackbits(covering, bitorder="little")[start % 8 :][:size]
    return bits.astype(bool).reshape(dataset.Rows, dataset.Columns)


def _box(mask: NDArray[np.bool_]) -> Box | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return int(rows[0]), int(columns[0]), int(rows[-1]), int(columns[-1])


def _side(segment: ParsedItem) -> str:
    modifiers = segment.AnatomicRegionSequence[0].get("AnatomicRegionModifierSequence")
    return str(modifiers[0].CodeValue) if modifiers else ""
