"""An unmodified OHIF lists and shows a study, with its results, from our own DICOMweb."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from api_builders import bearer, make_parts, serving
from conftest import opened
from dicomweb_builder import INSIDE, OUTSIDE, HeldStudy, hold_study
from ohif_viewer import Colour, Viewer, ohif_viewer
from report_builders import FOUR_VIEWS

pytestmark = [pytest.mark.slow, pytest.mark.chromium]
TOKEN = "letmein-by-the-token"  # noqa: S105


def is_red(colour: Colour) -> bool:
    return colour[0] - max(colour[1:]) > 40


def is_grey(colour: Colour) -> bool:
    return max(colour) > 40 and max(colour) - min(colour) < 8


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Viewer, HeldStudy]]:
    folder = tmp_path_factory.mktemp("held")
    for store in opened(f"sqlite:///{folder / 'oncopixel.sqlite'}", folder):
        held = hold_study(store, folder)
        with (
            serving(make_parts(store, tokens=[TOKEN])) as client,
            ohif_viewer(f"{client.base_url}/dicom-web", bearer(TOKEN)) as viewer,
        ):
            yield viewer, held
            assert viewer.complaints == []


def test_the_study_stands_in_the_list(shown: tuple[Viewer, HeldStudy]) -> None:
    viewer, _ = shown
    viewer.open_list()
    assert viewer.listed("Test")
    row = viewer.page.locator("tr", has_text="Test").first.text_content() or ""
    assert "MG" in row
    assert "SEG" in row


def test_every_finding_is_coloured_in_its_place_and_nothing_else_is(
    shown: tuple[Viewer, HeldStudy], tmp_path: Path
) -> None:
    viewer, held = shown
    viewer.open_study(held.study_instance_uid)
    viewer.wait_for_overlays(len(FOUR_VIEWS))
    for position, view in enumerate(FOUR_VIEWS):
        pane = viewer.pane_of(held.sop_instance_uid(*view))
        assert pane == position
        viewer.wait_for_colour(pane, INSIDE, is_red)
        viewer.wait_for_colour(pane, OUTSIDE, is_grey)
    viewer.screenshot(tmp_path / "four-views.png")


def test_without_overlays_nothing_is_coloured(shown: tuple[Viewer, HeldStudy]) -> None:
    viewer, held = shown
    viewer.open_study(held.study_instance_uid, overlay=False)
    for pane in range(len(FOUR_VIEWS)):
        viewer.wait_for_colour(pane, INSIDE, is_grey)


def test_the_report_draws_its_findings_with_their_values(
    shown: tuple[Viewer, HeldStudy], tmp_path: Path
) -> None:
    viewer, held = shown
    viewer.open_study(held.study_instance_uid, overlay=False)
    viewer.show("AI REPORT")
    viewer.wait_for_annotations(len(FOUR_VIEWS))
    assert "80" in viewer.wait_for_graphic_text("Probability of cancer")
    viewer.screenshot(tmp_path / "report.png")
