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
from pydicom.uid import JPEGLSLossless, RLELossless

from oncopixel_pacs.domain import Laterality, ObjectKind, SegmentationForm, View
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report.segmentation import (
    MAP_LABEL,
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


def test_an_image_without_finding_gets_none_but_its_map(tmp_path: Path) -> None:
    study = case(tmp_path, {RIGHT_MLO: 0})
    assert [item.kind for item in study.build()] == [ObjectKind.SR]
    (dataset,) = segmentations(study, SegmentationForm.FRACTIONAL)
    (segment,) = dataset.SegmentSequence
    assert segment.SegmentLabel == MAP_LABEL
    assert "no lesion candidate(s) reached the operating point" in segment.SegmentDescription
    assert "TrackingUID" not in segment


def segmentations(study: Case, form: SegmentationForm) -> list[Dataset]:
    return [
        dcmread(io.BytesIO(item.part10))
        for item in study.build(forms=(form,))
        if item.kind is ObjectKind.SEG
    ]


def test_the_fractional_form_holds_the_probabilities_as_the_model_gave_them(
    tmp_path: Path,
) -> None:
    study = case(tmp_path, {RIGHT_MLO: 2})
    (dataset,) = segmentations(study, SegmentationForm.FRACTIONAL)
    (uid,) = study.labels
    labels, given = study.labels[uid], study.probabilities(uid)
    assert (dataset.SegmentationType, dataset.SegmentationFractionalType) == (
        "FRACTIONAL",
        "PROBABILITY",
    )
    assert dataset.MaximumFractionalValue == 255
    assert dataset.file_meta.TransferSyntaxUID == JPEGLSLossless
    frames = dataset.pixel_array
    for number in (1, 2):
        assert np.array_equal(frames[number - 1], np.where(labels == number, given, 0))
    assert np.array_equal(frames[2], given)
    assert [item.SegmentLabel for item in dataset.SegmentSequence][-1] == MAP_LABEL


def test_the_label_map_holds_the_number_of_each_finding_and_lists_no_background(
    tmp_path: Path,
) -> None:
    study = case(tmp_path, {RIGHT_MLO: 3})
    (dataset,) = segmentations(study, SegmentationForm.LABELMAP)
    (labels,) = study.labels.values()
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.7"
    assert dataset.file_meta.TransferSyntaxUID == RLELossless
    assert np.array_equal(dataset.pixel_array, labels)
    assert [item.SegmentNumber for item in dataset.SegmentSequence] == [1, 2, 3]
    assert dataset.PixelPaddingValue == 0


def test_a_probability_map_that_is_missing_or_of_another_size_is_refused(tmp_path: Path) -> None:
    study = case(tmp_path, {RIGHT_MLO: 1})
    (image,) = study.result.images
    source = read_source(next(iter(study.paths.values())))
    (labels,) = study.labels.values()
    for wrong in (None, np.zeros((3, 3), np.uint8)):
        with pytest.raises(ResultRejected, match="no probability map of its size"):
            build_segmentation(
                source, image, labels, PROVENANCE, UIDS, SegmentationForm.FRACTIONAL, wrong
            )


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
