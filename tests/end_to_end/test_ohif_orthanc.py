"""A real OHIF on a real Orthanc: overlays in their place, values of the report, the pictures.

Screenshots are kept in the folder that ``ONCOPIXEL_SCREENSHOTS`` names, else in pytest's own.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from mirror_builder import PLACES, ReadStudy, mirror, read_screening
from ohif_viewer import Colour, Viewer, ohif_viewer
from pydicom import dcmread
from server_process import free_port

from oncopixel_pacs.demo.archives import OrthancArchive
from oncopixel_pacs.domain import Laterality, ObjectKind, View

ORTHANC = shutil.which("Orthanc") or shutil.which("/usr/sbin/Orthanc")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
KINDS = (ObjectKind.SEG, ObjectKind.SR, ObjectKind.SC, ObjectKind.CAD_SR, ObjectKind.GSPS)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.chromium,
    pytest.mark.orthanc,
    pytest.mark.skipif(
        ORTHANC is None or not PLUGIN.exists(), reason="orthanc or orthanc-dicomweb is missing"
    ),
]


class DicomWebOrthanc(OrthancArchive):
    """An archive with DICOMweb; the demonstration needs none."""

    def _configuration(self) -> dict[str, object]:
        return {
            **super()._configuration(),
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }


@dataclass(frozen=True)
class Shown:
    """What the tests look at."""

    viewer: Viewer
    plain: ReadStudy
    mirrored: ReadStudy
    screenshots: Path

    def keep(self, name: str) -> None:
        """Keep what is seen."""
        self.viewer.screenshot(self.screenshots / f"{name}.png")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    assert ORTHANC is not None
    folder = tmp_path_factory.mktemp("orthanc")
    screenshots = Path(os.environ.get("ONCOPIXEL_SCREENSHOTS") or folder / "screenshots")
    screenshots.mkdir(parents=True, exist_ok=True)
    studies = [
        read_screening(folder / "plain"),
        read_screening(folder / "mirrored", mirrored=True),
    ]
    archive = DicomWebOrthanc(ORTHANC, folder / "archive", "ORTHANC", free_port(), free_port())
    archive.start()
    try:
        for study in studies:
            images = [path.read_bytes() for path in study.paths.values()]
            for part10 in (*images, *(item.part10 for item in study.build(*KINDS))):
                stored = httpx.post(f"{archive.url}/instances", content=part10, timeout=60)
                assert stored.status_code == 200, stored.text
        with ohif_viewer(f"{archive.url}/dicom-web") as viewer:
            yield Shown(viewer, studies[0], studies[1], screenshots)
    finally:
        archive.stop()


def is_red(colour: Colour) -> bool:
    return colour[0] - max(colour[1:]) > 40


def is_grey(colour: Colour) -> bool:
    return max(colour) > 40 and max(colour) - min(colour) < 8


def not_red(colour: Colour) -> bool:
    return max(colour) - min(colour) < 8


@pytest.mark.parametrize("mirrored", [False, True], ids=["as acquired", "mirrored"])
def test_each_overlay_lies_on_its_mass_and_nowhere_else(shown: Shown, mirrored: bool) -> None:
    study = shown.mirrored if mirrored else shown.plain
    viewer = shown.viewer
    viewer.open_study(study.result.study_instance_uid)
    viewer.wait_for_overlays(len(PLACES))
    for position, name in enumerate(PLACES):
        pane = viewer.pane_of(study.sop_instance_uid(name))
        assert pane == position
        row, column = study.masses[name]
        for inside in ((row, column), (row - 12, column), (row, column + 12)):
            viewer.wait_for_colour(pane, inside, is_red)
        # Where the mass would be if left and right, or top and bottom, were swapped.
        for swapped in (mirror((row, column)), (479 - row + 60, column)):
            viewer.wait_for_colour(pane, swapped, not_red)
        viewer.wait_for_colour(pane, (row + 40, column), is_grey)
    shown.keep("segmentations-mirrored" if mirrored else "segmentations")


def test_without_overlays_a_mass_is_grey(shown: Shown) -> None:
    viewer, study = shown.viewer, shown.plain
    viewer.open_study(study.result.study_instance_uid, overlay=False)
    for pane, name in enumerate(PLACES):
        viewer.wait_for_colour(pane, study.masses[name], is_grey)
    shown.keep("images-alone")


@pytest.mark.parametrize("times", [1, 6], ids=["fast", "slow computer"])
def test_the_report_opens_with_graphics_and_probability(shown: Shown, times: int) -> None:
    viewer, study = shown.viewer, shown.plain
    viewer.open_study(study.result.study_instance_uid, overlay=False)
    for number, place in enumerate(
        PLACES
    ):  # a pane taken away from what it still loads is an error
        viewer.wait_for_colour(number, study.masses[place], is_grey)
    with viewer.on_a_slow_computer(times):
        viewer.show("AI REPORT")
        viewer.wait_for_annotations(len(PLACES))
        # No mouse moves over the image: what is drawn later than the image must come by itself.
        assert "Probability of cancer" in viewer.wait_for_graphic_text("Probability of cancer")
    wrong = viewer.page.get_by_text("Something went wrong")
    assert wrong.all_text_contents() == [], viewer.complaints
    shown.keep("report")


def test_a_picture_shows_its_outline_in_colour(shown: Shown) -> None:
    viewer, study = shown.viewer, shown.plain
    viewer.open_study(study.result.study_instance_uid, overlay=False)
    for number, place in enumerate(PLACES):  # what is still being loaded would come over it
        viewer.wait_for_colour(number, study.masses[place], is_grey)
    viewer.show("AI PICTURE R CC")
    name = (Laterality.RIGHT, View.CC)
    (picture,) = (
        item
        for item in study.build(ObjectKind.SC)
        if item.kind is ObjectKind.SC and item.series_description.startswith("AI PICTURE R CC")
    )
    pixels = dcmread(io.BytesIO(picture.part10)).pixel_array.astype(int)
    row, column = study.masses[name]
    coloured = pixels.max(axis=2) - pixels.min(axis=2) > 60
    scale = pixels.shape[0] / 480
    top = max(int((row - 45) * scale), 0)
    here = [
        (r, c)
        for r, c in zip(*coloured.nonzero(), strict=True)
        if top < r < (row + 45) * scale and abs(c - column * scale) < 60 * scale
    ]
    assert here, "the picture has no outline around the mass"
    point = here[len(here) // 2]
    viewer.page.wait_for_function(
        "uid => window.cornerstone.getRenderingEngines()[0].getViewports()"
        ".some(v => (v.getCurrentImageId?.() ?? '').includes(uid))",
        arg=picture.sop_instance_uid,
    )
    pane = viewer.pane_of(picture.sop_instance_uid)
    viewer.wait_for_colour(pane, (float(point[0]), float(point[1])), lambda c: max(c) - min(c) > 25)
    shown.keep("picture")


def test_the_page_raised_no_error(shown: Shown) -> None:
    assert shown.viewer.complaints == []
