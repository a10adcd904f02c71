"""A picture with the findings in it, for viewers that show nothing else."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from oncopixel_pacs.domain import Laterality, ObjectKind, View
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report.pictures import HEIGHT_PX
from tests.report_builders import COLUMNS, FOUR_VIEWS, ROWS, Case, case

RIGHT_MLO = (Laterality.RIGHT, View.MLO)


def bright_half(dataset: Dataset) -> None:
    """Right half of the stored pixels bright, left half air."""
    pixels = np.zeros((ROWS, COLUMNS), dtype="<u2")
    pixels[:, COLUMNS // 2 :] = 3000
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        pixels = 4095 - pixels
    dataset.PixelData = pixels.tobytes()


def picture(study: Case) -> np.ndarray:
    pixels: np.ndarray = dcmread(io.BytesIO(study.one(ObjectKind.SC).part10)).pixel_array
    return pixels.astype(int)


def colourful(pixels: np.ndarray) -> np.ndarray:
    """Where a picture is anything but grey."""
    return np.ptp(pixels, axis=-1) > 60


def test_it_is_a_derived_picture_of_its_image(tmp_path: Path) -> None:
    dataset = case(tmp_path, {RIGHT_MLO: 1}).one(ObjectKind.SC).dataset
    assert dataset.SOPClassUID.name == "Secondary Capture Image Storage"
    assert (dataset.Modality, dataset.ConversionType) == ("OT", "WSD")
    assert dataset.ImageType == ["DERIVED", "SECONDARY"]
    assert dataset.BurnedInAnnotation == "YES"
    assert dataset.Laterality == "R"
    assert dataset.PatientOrientation == ["P", "FL"]
    assert dataset.SeriesDescription == "AI PICTURE R MLO - RESEARCH USE ONLY"
    assert dataset.ContributingEquipmentSequence[0].DeviceUID
    assert (dataset.Rows, dataset.Columns) == (HEIGHT_PX, round(HEIGHT_PX * COLUMNS / ROWS))


def test_one_for_each_image_and_only_where_wanted(tmp_path: Path) -> None:
    study = case(tmp_path, dict.fromkeys(FOUR_VIEWS, 0))
    assert ObjectKind.SC not in [item.kind for item in study.build()]
    built = [i for i in study.build(wanted=(ObjectKind.SC,)) if i.kind is ObjectKind.SC]
    assert len(built) == len({item.series_instance_uid for item in built}) == 4
    shown = {str(i.dataset.SourceImageSequence[0].ReferencedSOPInstanceUID) for i in built}
    assert shown == set(study.paths)


def test_the_outline_lies_on_the_finding(tmp_path: Path) -> None:
    study = case(tmp_path, {RIGHT_MLO: 1})
    coloured = np.argwhere(colourful(picture(study)))
    scale = HEIGHT_PX / ROWS
    finding = study.result.images[0].findings[0]
    assert np.allclose(coloured.mean(axis=0) / scale - 0.5, finding.centre, atol=0.5)


def test_without_finding_nothing_is_outlined(tmp_path: Path) -> None:
    assert not colourful(picture(case(tmp_path, {RIGHT_MLO: 0}))).any()


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_air_is_dark_whatever_the_polarity(tmp_path: Path, photometric: str) -> None:
    study = case(tmp_path, {RIGHT_MLO: 0}, change=bright_half, photometric=photometric)
    pixels = picture(study)
    middle = pixels[HEIGHT_PX // 2]
    assert middle[: len(middle) // 4].max() < 10
    assert middle[-len(middle) // 4 :].min() > 150


def test_the_notice_is_burnt_in_away_from_the_breast(tmp_path: Path) -> None:
    study = case(tmp_path, {RIGHT_MLO: 0}, change=bright_half)
    lowest = picture(study)[-HEIGHT_PX // 15 :]
    assert (lowest[:, : lowest.shape[1] // 2].max(axis=-1) == 255).sum() > 500


def test_its_own_loss_is_told(tmp_path: Path) -> None:
    dataset = case(tmp_path, {RIGHT_MLO: 0}).one(ObjectKind.SC).dataset
    assert dataset.LossyImageCompression == "01"
    assert dataset.LossyImageCompressionMethod == "ISO_10918_1"
    assert float(dataset.LossyImageCompressionRatio) > 5


def test_an_image_that_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    def cut(dataset: Dataset) -> None:
        dataset.PixelData = dataset.PixelData[:100]

    broken = case(tmp_path, {RIGHT_MLO: 1}, change=cut)
    with pytest.raises(ResultRejected, match="R MLO cannot be drawn"):
        broken.build(wanted=(ObjectKind.SC,))
