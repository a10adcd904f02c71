"""The segmentation of one image."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from highdicom.seg import segread
from pydicom import dcmread
from pydicom.dataset import Dataset

from oncopixel_pacs.domain import Laterality, ObjectKind, View
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report.segmentation import (
    NO_FINDING_LABEL,
    ObjectUids,
    build_segmentation,
    display_colour,
)
from oncopixel_pacs.report.source_header import read_source
from tests.report_builders import CLASSIFIER, COLUMNS, PROVENANCE, ROWS, Case, case

RIGHT_MLO = (Laterality.RIGHT, View.MLO)
UIDS = ObjectUids("2.25.1", "2.25.2", 901)


def only_segmentation(study: Case) -> tuple[Dataset, bytes]:
    (built,) = (item for item in study.build() if item.kind is ObjectKind.SEG)
    return dcmread(io.BytesIO(built.part10)), built.part10


@pytest.mark.parametrize("count", [1, 2, 3])
def test_segment_k_holds_the_pixels_of_finding_k(tmp_path: Path, count: int) -> None:
    study = case(tmp_path, {RIGHT_MLO: count})
    dataset, _ = only_segmentation(study)
    (labels,) = study.labels.values()
    frames = dataset.pixel_array.reshape(count, ROWS, COLUMNS)
    for number in range(1, count + 1):
        assert np.array_equal(frames[number - 1], labels == number)
    (image,) = study.result.images
    told = [(s.SegmentNumber, s.TrackingUID, s.TrackingID) for s in dataset.SegmentSequence]
    assert told == [(f.number, f.tracking_uid, f.tracking_id) for f in image.findings]


@pytest.mark.parametrize("laterality", list(Laterality))
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_geometry_side_and_study_are_those_of_the_source(
    tmp_path: Path, laterality: Laterality, photometric: str
) -> None:
    study = case(tmp_path, {(laterality, View.CC): 1}, photometric=photometric)
    dataset, _ = only_segmentation(study)
    source = dcmread(next(iter(study.paths.values())))
    for keyword in (
        "Rows",
        "Columns",
        "PatientOrientation",
        "ImageLaterality",
        "StudyInstanceUID",
        "PatientID",
        "PatientName",
        "AccessionNumber",
        "SpecificCharacterSet",
    ):
        assert dataset[keyword].value == source[keyword].value, keyword
    modifier = dataset.SegmentSequence[0].AnatomicRegionSequence[0].AnatomicRegionModifierSequence
    assert modifier[0].CodeMeaning == {"R": "Right", "L": "Left"}[laterality]
    assert dataset.RequestAttributesSequence == source.RequestAttributesSequence


def test_viewers_and_readers_find_what_they_need(tmp_path: Path) -> None:
    dataset, part10 = only_segmentation(case(tmp_path, {RIGHT_MLO: 1}))
    shared = dataset.SharedFunctionalGroupsSequence[0]
    assert list(shared.PlaneOrientationSequence[0].ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]
    assert shared.PixelMeasuresSequence[0].SliceThickness == 52
    (frame,) = dataset.PerFrameFunctionalGroupsSequence
    assert frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1
    assert (
        frame.DerivationImageSequence[0].SourceImageSequence[0].SpatialLocationsPreserved == "YES"
    )
    assert len(dataset.ReferencedSeriesSequence) == 1
    assert "FrameOfReferenceUID" not in dataset
    assert segread(io.BytesIO(part10)).number_of_segments == 1


def test_an_image_without_finding_gets_one_segment_without_pixels(tmp_path: Path) -> None:
    dataset, _ = only_segmentation(case(tmp_path, {RIGHT_MLO: 0}))
    (segment,) = dataset.SegmentSequence
    assert segment.SegmentLabel == NO_FINDING_LABEL
    assert "no lesion candidate was found" in segment.SegmentDescription
    assert "TrackingUID" not in segment
    assert not dataset.pixel_array.any()


def test_research_use_stands_at_the_head(tmp_path: Path) -> None:
    dataset, _ = only_segmentation(case(tmp_path, {RIGHT_MLO: 2}))
    assert dataset.SeriesDescription == "AI SEG R MLO - RESEARCH USE ONLY"
    assert dataset.ContentDescription == "Research use only. Not for diagnosis. R MLO"
    assert all(
        segment.SegmentDescription.startswith("Research use only.")
        for segment in dataset.SegmentSequence
    )


def test_algorithm_is_named_with_threshold_and_digests(tmp_path: Path) -> None:
    dataset, _ = only_segmentation(case(tmp_path, {RIGHT_MLO: 1}))
    algorithm = dataset.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmName == "lesion-segmenter"
    assert "threshold=0.5" in algorithm.AlgorithmParameters
    assert "a" * 64 in algorithm.AlgorithmParameters
    assert "c" * 64 in algorithm.AlgorithmParameters


def test_twenty_segments_have_twenty_colours() -> None:
    colours = {display_colour(number).value for number in range(1, 21)}
    assert len(colours) == 20


def test_label_map_of_another_shape_or_with_other_regions_is_refused(tmp_path: Path) -> None:
    study = case(tmp_path, {RIGHT_MLO: 2})
    (image,) = study.result.images
    (labels,) = study.labels.values()
    source = read_source(next(iter(study.paths.values())))
    for wrong in (labels.T.copy(), np.where(labels == 2, 0, labels), np.where(labels, 3, 0), None):
        with pytest.raises(ResultRejected, match="analyse it again"):
            build_segmentation(source, image, wrong, PROVENANCE, UIDS)


def test_without_a_segmenter_there_is_no_segmentation(tmp_path: Path) -> None:
    study = case(tmp_path, {RIGHT_MLO: 0})
    only_classifier = replace(PROVENANCE, algorithms=(CLASSIFIER,))
    assert [item.kind for item in study.build(only_classifier)] == [ObjectKind.SR]
    (image,) = study.result.images
    source = read_source(next(iter(study.paths.values())))
    with pytest.raises(ResultRejected, match="segmenter"):
        build_segmentation(source, image, None, only_classifier, UIDS)
