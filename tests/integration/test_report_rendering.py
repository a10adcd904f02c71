"""DCMTK renders an image through its presentation state as it renders the image alone."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from oncopixel_pacs.domain import ObjectKind
from tests.report_builders import COLUMNS, FOUR_VIEWS, ROWS, Case, case

pytestmark = [
    pytest.mark.dcmtk,
    pytest.mark.skipif(shutil.which("dcmp2pgm") is None, reason="not installed: dcmp2pgm"),
]


def gradient(dataset: Dataset) -> None:
    """Every stored value from 0 to 4095 somewhere."""
    values = np.linspace(0, 4095, ROWS * COLUMNS).astype("<u2")
    dataset.PixelData = values.tobytes()


def several_windows(dataset: Dataset) -> None:
    dataset.WindowCenter, dataset.WindowWidth = ["2653", "1713"], ["900", "750"]
    dataset.WindowCenterWidthExplanation = ["NORMAL", "SOFTER"]


def sigmoid(dataset: Dataset) -> None:
    several_windows(dataset)
    dataset.VOILUTFunction = "SIGMOID"


def voi_lut(dataset: Dataset) -> None:
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [1000, 1500, 12])
    table.LUTExplanation = "NORMAL"
    curve = 4095 * np.linspace(0, 1, 1000) ** 2
    table.add_new("LUTData", "OW", curve.astype("<u2").tobytes())
    dataset.VOILUTSequence = [table]


def rescaled(dataset: Dataset) -> None:
    dataset.RescaleSlope, dataset.RescaleIntercept = "2.5", "-100"
    dataset.WindowCenter, dataset.WindowWidth = "4000", "3000"


def without_rescale(dataset: Dataset) -> None:
    del dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType


def no_shape(dataset: Dataset) -> None:
    del dataset.PresentationLUTShape


def contradictory(dataset: Dataset) -> None:
    inverse = dataset.PhotometricInterpretation == "MONOCHROME1"
    dataset.PresentationLUTShape = "IDENTITY" if inverse else "INVERSE"


def untouched(_dataset: Dataset) -> None:
    """Nothing else."""


def rendered(image: Path, folder: Path, *options: str) -> np.ndarray:
    """Grey of a rendered image, ``(rows, columns)`` in 0 to 255."""
    bitmap = folder / "rendered.pgm"
    subprocess.run(["dcmp2pgm", *options, str(image), str(bitmap)], check=True, timeout=60)
    content = bitmap.read_bytes()
    magic, width, height = content.split(None, 3)[:3]
    assert (magic, int(width), int(height)) == (b"P5", COLUMNS, ROWS)
    return np.frombuffer(content[-ROWS * COLUMNS :], np.uint8).reshape(ROWS, COLUMNS)


def both(study: Case, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    (image,) = study.paths.values()
    state = folder / "state.dcm"
    state.write_bytes(study.one(ObjectKind.GSPS).part10)
    return rendered(image, folder), rendered(image, folder, "-p", str(state))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    "change",
    [untouched, several_windows, sigmoid, voi_lut, rescaled, without_rescale, no_shape],
)
def test_the_picture_is_the_same_with_and_without(
    tmp_path: Path, change: Callable[[Dataset], None], photometric: str
) -> None:
    def all_of_it(dataset: Dataset) -> None:
        gradient(dataset)
        change(dataset)

    study = case(tmp_path, {FOUR_VIEWS[2]: 2}, change=all_of_it, photometric=photometric)
    alone, through = both(study, tmp_path)
    assert np.ptp(alone) > 200
    # A VOI LUT is stretched to 16 bits, which may round the other way.
    most = 1 if change is voi_lut else 0
    assert np.abs(alone.astype(int) - through).max() <= most
    assert (alone[0, 0] > alone[-1, -1]) == (photometric == "MONOCHROME1")


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_where_the_header_contradicts_itself(tmp_path: Path, photometric: str) -> None:
    def all_of_it(dataset: Dataset) -> None:
        gradient(dataset)
        contradictory(dataset)

    study = case(tmp_path, {FOUR_VIEWS[2]: 2}, change=all_of_it, photometric=photometric)
    _, through = both(study, tmp_path)
    assert (through[0, 0] > through[-1, -1]) == (photometric == "MONOCHROME1")
