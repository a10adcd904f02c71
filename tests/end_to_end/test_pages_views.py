"""The views of a study in a real browser: place by pixels, window, zoom, jump, live update."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from api_builders import (
    JOB,
    analyse,
    answer,
    finish,
    make_parts,
    queue,
    receive,
    serving,
    write,
)
from browser import CHROMIUM, chromium, opened_page, violations
from builders import NOON, STUDY_UID, later, make_algorithm, make_clock, make_finding
from conftest import Store, opened
from mammogram_builder import SCREENING, View2D, write_mammogram
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Locator, Page
from pydicom import dcmread
from server_process import wait_until

from oncopixel_pacs.domain import (
    DeliveryState,
    ImageResult,
    JobState,
    Laterality,
    ModelTask,
    StudyResult,
)
from oncopixel_pacs.domain.pulls import PullState
from oncopixel_pacs.receive.intake import Intake
from oncopixel_pacs.store.pulls import Pulls

pytestmark = [
    pytest.mark.chromium,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]

#: Stored rows and columns of a bright block, and of the finding that outlines it.
BLOCK = (100, 180, 40, 90)
HELD = "2.25.1000"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, str]]:
    """Hold four black images with one white block each, outlined by its finding, and serve it."""
    folder = tmp_path_factory.mktemp("views")
    for store in opened(f"sqlite:///{folder / 'oncopixel.sqlite'}", folder):
        intake = Intake(store.files, store.catalogue, make_clock(NOON))
        for view in SCREENING:
            intake.accept_file(block_image(folder, view), "MODALITY")
        study = store.catalogue.study(HELD)
        store.catalogue.settle(study, "d" * 64, JOB, later(60), lambda *_: None)
        top, bottom, left, right = BLOCK
        outline = ((top, left), (top, right), (bottom, right), (bottom, left), (top, left))
        images = tuple(
            ImageResult(
                item.facts,
                probability=0.7,
                findings=(
                    make_finding(
                        outline=outline, centre=(140.0, 65.0), tracking_uid=f"2.25.{number}"
                    ),
                ),
            )
            for number, item in enumerate(study.instances)
        )
        models = (make_algorithm(ModelTask.SEGMENT),)
        breasts = {Laterality.RIGHT: 0.7, Laterality.LEFT: 0.7}
        store.ledger.save_result(JOB, StudyResult(HELD, 1, models, images, breasts, 0.7))
        store.ledger.finish(JOB, JobState.DONE, later(70))
        with serving(make_parts(store)) as client:
            yield store, str(client.base_url).rstrip("/")


def block_image(folder: Path, view: View2D) -> Path:
    """Write an image, one of them stored the other way round, as some units do."""
    path = write_mammogram(folder, view)
    dataset = dcmread(path)
    top, bottom, left, right = BLOCK
    pixels = np.zeros((dataset.Rows, dataset.Columns), np.uint16)
    pixels[top : bottom + 1, left : right + 1] = 4000
    dataset.PixelData = pixels.tobytes()
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    towards = "A" if (view.laterality is Laterality.LEFT) != (view.number == 1) else "P"
    dataset.PatientOrientation = [towards, "L" if view.laterality is Laterality.RIGHT else "R"]
    dataset.save_as(path)
    return path


def shot(sheet: Locator) -> NDArray[np.int16]:
    """Colours of a view on screen, without its rim, which may hold some of its neighbours."""
    picture = Image.open(io.BytesIO(sheet.screenshot())).convert("RGB")
    return np.asarray(picture, np.int16)[3:-3, 3:-3]


def extent(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """First and last row and column of what is in a mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return rows[0], rows[-1], columns[0], columns[-1]


def coloured(picture: NDArray[np.int16]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = picture.max(2) - picture.min(2) > 60
    return found


def open_study(page: Page, address: str) -> None:
    page.goto(f"{address}/studies/{HELD}")
    for sheet in page.locator(".sheet").all():
        block_of(sheet)


def block_of(sheet: Locator) -> tuple[int, int, int, int]:
    """Where the white block is seen, once the picture is drawn."""
    wait_until(lambda: bool((shot(sheet).min(2) > 128).any()), 20, "no picture is drawn")
    return extent(shot(sheet).min(2) > 128)


def test_the_overlay_lies_on_what_it_outlines_also_when_the_image_is_turned(
    held: tuple[Store, str], browser: Browser
) -> None:
    with opened_page(browser) as page:
        open_study(page, held[1])
        names = page.locator(".pane figcaption b").all_inner_texts()
        assert names == ["R CC", "L CC", "R MLO", "L MLO"]
        sides = []
        for sheet in page.locator(".sheet").all():
            page.get_by_label("Overlay").uncheck()
            block = block_of(sheet)
            width = shot(sheet).shape[1]
            assert not coloured(shot(sheet)).any()
            page.get_by_label("Overlay").check()
            drawn = extent(coloured(shot(sheet)))
            assert np.abs(np.subtract(block, drawn)).max() <= 3, (block, drawn)
            sides.append((block[2] + block[3]) / 2 / width < 0.5)
        # The first image is stored mirrored: its block hangs on the other side.
        assert sides == [False, True, True, True]


def test_opacity_window_and_zoom_change_what_is_seen(
    held: tuple[Store, str], browser: Browser
) -> None:
    with opened_page(browser) as page:
        open_study(page, held[1])
        sheet = page.locator(".sheet").nth(1)
        page.get_by_label("Opacity").fill("100")
        assert coloured(shot(sheet)).mean() > 0.01
        page.get_by_label("Overlay").uncheck()
        before = shot(sheet)
        with page.expect_response(lambda answer: "window=3500" in answer.url):
            page.get_by_label("Centre").fill("3500")
            page.get_by_label("Centre").press("Enter")
        page.wait_for_function("() => !document.querySelectorAll('.pixels')[1].style.filter")
        assert shot(sheet).max() < before.max() - 60
        page.get_by_role("button", name="Reset").click()
        page.get_by_label("Overlay").check()
        small = coloured(shot(sheet)).sum()
        sheet.focus()
        for _ in range(3):
            sheet.press("+")
        assert page.locator(".sheet").nth(1).get_attribute("viewBox") != page.locator(".sheet").nth(
            3
        ).get_attribute("viewBox")
        sheet.press("0")
        assert abs(int(coloured(shot(sheet)).sum()) - int(small)) < small / 10


def test_a_finding_in_the_list_is_jumped_to(held: tuple[Store, str], browser: Browser) -> None:
    with opened_page(browser) as page:
        open_study(page, held[1])
        page.locator(".lesion").nth(2).click()
        sheet = page.locator(".sheet").nth(2)
        picture = shot(sheet)
        top, bottom, left, right = extent(coloured(picture))
        height, width = picture.shape[:2]
        assert abs((top + bottom) / 2 - height / 2) < height * 0.05
        assert abs((left + right) / 2 - width / 2) < width * 0.05
        assert right - left > width * 0.15
        assert page.locator(".mark.chosen").count() == 1


def test_the_page_fills_while_the_study_is_worked_on(store: Store, browser: Browser) -> None:
    receive(store, 2)
    store.catalogue.note_waiting({STUDY_UID: "views R MLO, L MLO"})
    with serving(make_parts(store)) as client, opened_page(browser) as page:
        page.goto(f"{client.base_url}/studies/{STUDY_UID}")
        page.get_by_text("Waits for views R MLO, L MLO").first.wait_for()
        finish(store)
        page.get_by_role("heading", name="Mammogram").get_by_text("done").wait_for()
        page.locator(".timeline").get_by_text("deliver").wait_for()
        page.locator(".lesion").nth(3).wait_for()
        assert page.locator("#objects").get_by_text("accepted").count() == 2


def test_the_list_shows_a_study_when_it_arrives(store: Store, browser: Browser) -> None:
    with serving(make_parts(store)) as client, opened_page(browser) as page:
        page.goto(f"{client.base_url}/studies")
        page.get_by_text("No study here yet").wait_for()
        receive(store, 1)
        page.get_by_role("link", name="Screening mammogram").wait_for()
        queue(store)
        analyse(store)
        write(store)
        answer(store, DeliveryState.ACCEPTED, finished_at=later(67))
        page.get_by_role("link", name="done").wait_for()


def test_the_page_of_a_job_fills_while_it_is_worked_on(store: Store, browser: Browser) -> None:
    receive(store, 1)
    queue(store)
    with serving(make_parts(store)) as client, opened_page(browser) as page:
        page.goto(f"{client.base_url}/jobs/{JOB}")
        page.get_by_role("heading", name="queued").wait_for()
        analyse(store)
        write(store)
        answer(store, DeliveryState.ACCEPTED, finished_at=later(67))
        page.get_by_role("heading", name="done").wait_for()
        assert page.locator("[hx-trigger]").count() == 0


def test_the_list_of_pulls_fills_while_one_is_fetched(store: Store, browser: Browser) -> None:
    pulls = Pulls(store.database)
    pull = pulls.add(STUDY_UID, "archive", NOON)
    with serving(make_parts(store)) as client, opened_page(browser) as page:
        page.goto(f"{client.base_url}/pulls")
        page.get_by_role("cell", name="queued").wait_for()
        pulls.claim("host", NOON, timedelta(minutes=1))
        pulls.finish(pull.id, "host", PullState.DONE, later(5))
        page.get_by_role("cell", name="done").wait_for()


def test_a_conflict_is_settled_by_a_click(store: Store, browser: Browser, tmp_path: Path) -> None:
    intake = Intake(store.files, store.catalogue, lambda: NOON)
    for name in ("DOE^JAN", "DOE^JANE"):
        for view in SCREENING[:2]:
            path = write_mammogram(tmp_path, view)
            with dcmread(path) as image:
                image.PatientName = name
                image.save_as(path)
            intake.accept_file(path, "MODALITY")
    (study,) = store.catalogue.studies().items
    with serving(make_parts(store)) as client, opened_page(browser) as page:
        page.goto(f"{client.base_url}/studies/{study.study_instance_uid}")
        page.get_by_role("cell", name="PatientName").first.wait_for()
        page.screenshot(path=tmp_path / "conflicts.png", full_page=True)
        page.get_by_role("button", name="Keep what is held").first.click()
        page.get_by_text("1 object came under").wait_for()
        page.get_by_role("button", name="Take what came later").click()
        page.get_by_text("DOE^JANE").wait_for()
        assert page.get_by_text("came under a SOP Instance UID").count() == 0


def test_studies_are_found_while_one_types(store: Store, browser: Browser) -> None:
    finish(store)
    receive(store, 1, study="1.2.3")
    with serving(make_parts(store)) as client, opened_page(browser) as page:
        page.goto(f"{client.base_url}/studies")
        assert page.locator("#rows tbody tr").count() == 2
        page.get_by_label("least").fill("60")
        page.wait_for_function("() => document.querySelectorAll('#rows tbody tr').length === 1")
        page.get_by_label("most").fill("65")
        page.get_by_text("No study fits").wait_for()
        assert "score_from=60" in page.url


def test_a_click_accepts_a_finding_and_the_view_stays_as_it_is(
    held: tuple[Store, str], browser: Browser
) -> None:
    with opened_page(browser) as page:
        open_study(page, held[1])
        page.get_by_role("button", name="Zoom in").click()
        zoomed = page.locator(".sheet").first.get_attribute("viewBox")
        first = page.locator(".lesions li").first
        first.get_by_role("button", name="Accept").click()
        first.get_by_text("accepted by someone").wait_for()
        first.get_by_role("button", name="Reject").focus()
        page.keyboard.press("Enter")
        first.get_by_text("rejected by someone").wait_for()
        assert page.locator(".sheet").first.get_attribute("viewBox") == zoomed
        assert page.locator('.opinion [aria-pressed="true"]').count() == 1
        assert violations(page) == []
        first.get_by_role("button", name="Reject").click()
        first.get_by_text("rejected by someone").wait_for(state="detached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_on_the_pages_is_against_wcag_aa(
    held: tuple[Store, str], browser: Browser, scheme: str
) -> None:
    paths = ["/", "/studies", f"/studies/{HELD}", "/upload", "/jobs", f"/jobs/{JOB}", "/pulls"]
    paths += [
        "/destinations",
        "/peers",
        "/models",
        "/alarms",
        "/audit",
        "/settings",
        "/users",
        "/webhooks",
        "/password",
        "/routing",
        "/docs",
    ]
    with opened_page(browser, scheme=scheme) as page:
        for path in paths:
            page.goto(f"{held[1]}{path}")
            assert violations(page) == [], path
