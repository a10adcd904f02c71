"""OHIF as the product installs and serves it: checked, at its path, against our own DICOMweb."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_builders import make_parts
from browser import CHROMIUM
from conftest import opened
from dicomweb_builder import INSIDE, OUTSIDE, hold_study
from ohif_viewer import ARGUMENTS, UNCOVERED, Viewer, ohif_archive
from playwright.sync_api import sync_playwright
from report_builders import FOUR_VIEWS

from oncopixel_pacs.api.application import create_app
from oncopixel_pacs.api.http_server import HttpServer
from oncopixel_pacs.api.ohif import ohif_router
from oncopixel_pacs.domain import SegmentationForm
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.viewer import configuration, install_viewer, installed_viewer

pytestmark = [pytest.mark.slow, pytest.mark.chromium]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    found = tmp_path_factory.mktemp("beside")
    install_viewer(found, ohif_archive())
    yield found


def test_a_study_page_leads_into_the_viewer_with_its_overlays_attached(folder: Path) -> None:
    for store in opened(f"sqlite:///{folder / 'oncopixel.sqlite'}", folder):
        # One archive takes them binary, others as probabilities and as label maps.
        held = hold_study(store, folder, forms=tuple(SegmentationForm))
        viewer = installed_viewer(folder)
        assert viewer is not None
        parts = make_parts(store, viewer=viewer)
        app = create_app(parts, [ohif_router(viewer, configuration())])
        server = HttpServer(app, "127.0.0.1", 0)
        address = f"http://127.0.0.1:{server.start()}"
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            try:
                page = browser.new_page(viewport={"width": 1280, "height": 800})
                page.set_default_timeout(90_000)
                page.add_init_script(UNCOVERED)
                said: list[str] = []
                page.on("console", lambda message, into=said: into.append(message.text))
                missing: list[str] = []
                page.on(
                    "response",
                    lambda answer, into=missing: (
                        into.append(answer.url) if answer.status >= 400 else None
                    ),
                )
                page.goto(f"{address}/studies/{held.study_instance_uid}")
                page.get_by_role("link", name="Open in OHIF").click()
                shown = Viewer(page, f"{address}/ohif")
                shown.wait_for_images(len(FOUR_VIEWS))
                shown.wait_for_overlays(len(FOUR_VIEWS))
                for position, view in enumerate(FOUR_VIEWS):
                    pane = shown.pane_of(held.sop_instance_uid(*view))
                    assert pane == position
                    shown.wait_for_colour(pane, INSIDE, lambda c: c[0] - max(c[1:]) > 40)
                    shown.wait_for_colour(pane, OUTSIDE, lambda c: max(c) - min(c) < 8)
                assert "/ohif/viewer" in page.url
                assert shown.page.evaluate("window.oncopixelOverlays.attached") == len(FOUR_VIEWS)
                assert missing == []
                assert [text for text in said if "Content Security Policy" in text] == []
                assert [text for text in said if "not attached" in text] == []
            finally:
                browser.close()
                server.stop()


def test_another_package_is_not_installed(tmp_path: Path) -> None:
    archive = tmp_path / "ohif-app-3.13.2.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(__file__, "package/dist/index.html")
    with pytest.raises(ConfigurationError, match="SHA-512 differs"):
        install_viewer(tmp_path / "data", archive)
    assert installed_viewer(tmp_path / "data") is None
    assert list((tmp_path / "data" / "viewer").iterdir()) == []
