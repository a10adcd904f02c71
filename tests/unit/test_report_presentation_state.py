"""A presentation state: the image in its own grey, outlines and labels over it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from oncopixel_pacs.domain import Laterality, ObjectKind, View
from oncopixel_pacs.report.source_presentation import read_presentation
from tests.report_builders import COLUMNS, FOUR_VIEWS, ROWS, Change, case, mammogram, save

RIGHT_MLO = (Laterality.RIGHT, View.MLO)


def state(folder: Path, findings: int, change: Change = lambda _d: None) -> Dataset:
    return case(folder, {RIGHT_MLO: findings}, change=change).one(ObjectKind.GSPS).dataset


def texts(dataset: Dataset) -> list[str]:
    (annotation,) = dataset.GraphicAnnotationSequence
    return [str(item.UnformattedTextValue) for item in annotation.TextObjectSequence]


def test_it_belongs_to_its_image(tmp_path: Path) -> None:
    study = case(tmp_path, {RIGHT_MLO: 1})
    dataset = study.one(ObjectKind.GSPS).dataset
    (series,) = dataset.ReferencedSeriesSequence
    (image,) = series.ReferencedImageSequence
    assert [image.ReferencedSOPInstanceUID] == list(study.paths)
    assert (dataset.Modality, dataset.Laterality) == ("PR", "R")
    assert dataset.SeriesDescription == "AI OUTLINES R MLO - RESEARCH USE ONLY"
    assert dataset.ContentLabel == "AI_RESEARCH_ONLY"
    assert dataset.ContentDescription == "Research use only. Not for diagnosis. R MLO"
    assert dataset.ContributingEquipmentSequence[0].DeviceUID
    assert (dataset.PresentationCreationDate, dataset.PresentationCreationTime) == (
        "20260110",
        "110000",
    )


def test_one_for_each_image_in_a_series_of_its_own(tmp_path: Path) -> None:
    study = case(tmp_path, dict.fromkeys(FOUR_VIEWS, 1))
    built = [i for i in study.build(wanted=(ObjectKind.GSPS,)) if i.kind is ObjectKind.GSPS]
    assert len(built) == len({item.series_instance_uid for item in built}) == 4


def test_outlines_are_the_findings_with_pixel_corners_at_zero(tmp_path: Path) -> None:
    study = case(tmp_path, {RIGHT_MLO: 2})
    (annotation,) = study.one(ObjectKind.GSPS).dataset.GraphicAnnotationSequence
    findings = study.result.images[0].findings
    for item, finding in zip(annotation.GraphicObjectSequence, findings, strict=True):
        assert (item.GraphicType, item.GraphicAnnotationUnits) == ("POLYLINE", "PIXEL")
        assert (item.TrackingID, item.TrackingUID) == (finding.tracking_id, finding.tracking_uid)
        points = np.reshape(item.GraphicData, (-1, 2))
        assert np.array_equal(points[:, ::-1] - 0.5, finding.outline)


def test_labels_say_which_finding_and_how_probable(tmp_path: Path) -> None:
    notice, *labels = texts(state(tmp_path, 2))
    assert notice == "AI. Research use only. Not for diagnosis."
    assert labels == ["R MLO 1  80%", "R MLO 2  70%"]


def test_an_image_without_finding_was_searched(tmp_path: Path) -> None:
    dataset = state(tmp_path, 0)
    assert texts(dataset) == [
        "AI. Research use only. Not for diagnosis.\r\nSearched - no lesion found"
    ]
    assert "GraphicObjectSequence" not in dataset.GraphicAnnotationSequence[0]


def test_labels_stay_inside_where_the_outline_is_at_the_edge(tmp_path: Path) -> None:
    study = case(tmp_path, {RIGHT_MLO: 1})
    (image,) = study.result.images
    top, bottom, left, right = ROWS - 5.0, ROWS - 1.0, COLUMNS - 9.0, COLUMNS - 1.0
    outline = ((top, left), (top, right), (bottom, right), (bottom, left), (top, left))
    moved = replace(image, findings=(replace(image.findings[0], outline=outline),))
    study = replace(study, result=replace(study.result, images=(moved,)))
    label = study.one(ObjectKind.GSPS).dataset.GraphicAnnotationSequence[0].TextObjectSequence[1]
    x, y = label.BoundingBoxTopLeftHandCorner
    far_x, far_y = label.BoundingBoxBottomRightHandCorner
    assert 0 <= x < far_x <= left
    assert 0 <= y < far_y <= ROWS


def test_only_the_first_window_with_its_function(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        dataset.WindowCenter, dataset.WindowWidth = ["2653", "1713"], ["900", "750"]
        dataset.VOILUTFunction = "SIGMOID"

    (item,) = state(tmp_path, 0, change).SoftcopyVOILUTSequence
    assert (item.WindowCenter, item.WindowWidth) == (2653, 900)
    assert item.VOILUTFunction == "SIGMOID"


@pytest.mark.parametrize(
    ("photometric", "shape"), [("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "IDENTITY")]
)
def test_polarity_is_that_of_the_image(tmp_path: Path, photometric: str, shape: str) -> None:
    study = case(tmp_path, {RIGHT_MLO: 0}, photometric=photometric)
    assert study.one(ObjectKind.GSPS).dataset.PresentationLUTShape == shape


def table(descriptor: list[int], vr: str, entries: bytes) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", vr, descriptor)
    item.add_new("LUTData", "OW", entries)
    return item


def test_a_voi_lut_goes_before_windows_and_is_stretched_to_16_bits(tmp_path: Path) -> None:
    entries = np.linspace(0, 4095, 256).astype("<u2")

    def change(dataset: Dataset) -> None:
        dataset.VOILUTSequence = [table([256, 7, 12], "US", entries.tobytes())]

    (item,) = state(tmp_path, 0, change).SoftcopyVOILUTSequence
    assert "WindowCenter" not in item
    (written,) = item.VOILUTSequence
    assert written.LUTDescriptor == [256, 7, 16]
    assert np.allclose(np.frombuffer(written.LUTData, "<u2"), entries * (65535 / 4095), atol=0.51)


def test_a_signed_voi_lut_keeps_its_first_value(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        dataset.PixelRepresentation = 1
        dataset.VOILUTSequence = [table([256, -7, 12], "SS", np.arange(256, dtype="<u2").tobytes())]

    (item,) = state(tmp_path, 0, change).SoftcopyVOILUTSequence
    assert item.VOILUTSequence[0].LUTDescriptor == [256, -7, 16]


def test_a_full_table_is_counted_as_zero(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        dataset.VOILUTSequence = [table([0, 0, 16], "US", np.arange(65536).astype("<u2").tobytes())]

    (item,) = state(tmp_path, 0, change).SoftcopyVOILUTSequence
    assert item.VOILUTSequence[0].LUTDescriptor == [0, 0, 16]
    assert len(item.VOILUTSequence[0].LUTData) == 2 * 65536


def test_a_modality_lut_takes_the_place_of_rescale(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        dataset.ModalityLUTSequence = [
            table([4096, 0, 12], "US", np.arange(4096).astype("<u2").tobytes())
        ]

    dataset = state(tmp_path, 0, change)
    assert "RescaleSlope" not in dataset
    (written,) = dataset.ModalityLUTSequence
    assert written.ModalityLUTType == "US"
    assert written.LUTDescriptor == [4096, 0, 16]
    assert written.LUTData == np.arange(4096).astype("<u2").tobytes()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda d: setattr(d, "WindowWidth", "0"), id="no width"),
        pytest.param(lambda d: delattr(d, "WindowCenter"), id="no centre"),
    ],
)
def test_an_unusable_window_is_left_out(tmp_path: Path, change: Change) -> None:
    assert "SoftcopyVOILUTSequence" not in state(tmp_path, 0, change)


def test_a_window_that_is_no_number_is_left_out(tmp_path: Path) -> None:
    path = save(mammogram(), tmp_path)
    assert read_presentation(path).window == (2047, 4096, "LINEAR")
    path.write_bytes(path.read_bytes().replace(b"2047", b"wide"))
    assert read_presentation(path).window is None


def test_an_unusable_rescale_is_left_out(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        dataset.RescaleSlope = "0"

    dataset = mammogram()
    change(dataset)
    assert read_presentation(save(dataset, tmp_path)).rescale is None
    assert "RescaleSlope" not in state(tmp_path, 0, change)
