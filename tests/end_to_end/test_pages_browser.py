"""The pages in a real browser: they are seen, they hold nothing that runs, their button works."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from api_builders import HEADER, JOB, fail, finish, make_parts, receive, serving
from builders import STUDY_UID, later
from conftest import Store
from playwright.sync_api import Browser, Page, sync_playwright

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.domain import JobState
from oncopixel_pacs.domain.access import AccessRole, User
from oncopixel_pacs.passwords import hash_password
from oncopixel_pacs.store.accounts import Accounts

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
HOSTILE = "<script>document.title='owned'</script>EXAMPLE"

pytestmark = [
    pytest.mark.chromium,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Open a fresh page; whatever it complains about, or cannot load, fails the test."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(10_000)
    complaints: list[str] = []
    # htmx tells of what it asked for when the page was left; what fails is told besides.
    # A page that listens for changes calls again when its server ended before it.
    ended = ("Failed to load resource: net::ERR_CONNECTION_REFUSED", "[object Event]")
    opened.on(
        "console",
        lambda message: (
            message.text.startswith(("htmx:", *ended)) or complaints.append(message.text)
        ),
    )
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on(
        "requestfailed",
        # A picture that was still on its way when the page was left is no fault.
        lambda request: (
            request.failure in ("net::ERR_ABORTED", "net::ERR_CONNECTION_REFUSED")
            or complaints.append(request.url)
        ),
    )
    yield opened
    opened.close()
    assert complaints == []


def test_studies_and_a_job_are_seen_and_a_script_in_a_name_does_nothing(
    store: Store, page: Page, tmp_path: Path
) -> None:
    receive(store, 1, study="1.2.3", header=replace(HEADER, patient_name=HOSTILE))
    finish(store)
    with serving(make_parts(store)) as client:
        page.goto(f"{client.base_url}/studies")
        assert page.get_by_text(RESEARCH_NOTICE).first.is_visible()
        assert page.get_by_text(HOSTILE).is_visible()
        assert page.title() == "Studies · OncoPixel PACS"
        row = page.get_by_role("row").filter(has_text="EXAMPLE^JANE")
        row.get_by_role("link", name="done").click()
        assert page.url.endswith(f"/jobs/{JOB}")
        assert page.get_by_role("heading", name="Steps").is_visible()
        assert page.get_by_text("accepted").first.is_visible()
        picture = page.get_by_role("img", name="R CC with its findings outlined")
        picture.scroll_into_view_if_needed()
        page.wait_for_function(
            "() => [...document.images].filter(i => i.complete && i.naturalWidth > 0).length >= 2"
        )
        shot = tmp_path / "job.png"
        page.screenshot(path=shot, full_page=True)
        assert shot.stat().st_size > 10_000


def test_the_style_is_applied_in_light_and_in_dark(store: Store, page: Page) -> None:
    finish(store)
    seen = []
    with serving(make_parts(store)) as client:
        page.goto(f"{client.base_url}/")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            seen.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    light, dark = (sum(map(int, item.strip("rgb()").split(","))) for item in seen)
    assert light > 600
    assert dark < 150


def test_nothing_is_wider_than_a_small_window(store: Store, page: Page) -> None:
    finish(store)
    page.set_viewport_size({"width": 420, "height": 800})
    with serving(make_parts(store)) as client:
        for path in (
            "/",
            "/studies",
            "/jobs",
            f"/jobs/{JOB}",
            f"/studies/{STUDY_UID}",
            "/peers",
            "/models",
            "/settings",
            "/alarms",
            "/audit",
            "/users",
            "/webhooks",
            "/password",
            "/destinations",
            "/docs",
        ):
            page.goto(f"{client.base_url}{path}")
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= 420, path


def test_the_views_of_a_job_hang_as_in_reading_rooms_and_in_one_row(
    store: Store, page: Page, tmp_path: Path
) -> None:
    finish(store)
    result = store.ledger.job(JOB).result
    assert result is not None
    # Whatever order their UIDs have.
    shuffled = [result.images[index] for index in (3, 1, 0, 2)]
    store.ledger.save_result(JOB, replace(result, images=tuple(shuffled)))
    page.set_viewport_size({"width": 1100, "height": 900})
    with serving(make_parts(store)) as client:
        page.goto(f"{client.base_url}/jobs/{JOB}")
        page.screenshot(path=tmp_path / "views.png", full_page=True)
        names = page.locator(".views figcaption b").all_inner_texts()
        tops = page.locator(".views figure").evaluate_all(
            "figures => figures.map(item => item.getBoundingClientRect().top)"
        )
    assert names == ["R CC", "L CC", "R MLO", "L MLO"]
    assert len(set(tops)) == 1


def test_who_signs_in_lands_on_the_page_and_can_retry_if_the_role_allows(
    store: Store, browser: Browser
) -> None:
    fail(store)
    accounts = Accounts(store.database)
    for role in (AccessRole.VIEWER, AccessRole.OPERATOR):
        accounts.add(User(str(role), role, later(0), hash_password("four words that rhyme")))
    with serving(make_parts(store)) as client:
        for role in ("viewer", "operator"):
            context = browser.new_context()
            opened = context.new_page()
            opened.goto(f"{client.base_url}/jobs/{JOB}")
            opened.get_by_label("Name").fill(role)
            opened.get_by_label("Password").fill("four words that rhyme")
            opened.get_by_role("button", name="Sign in", exact=True).click()
            opened.wait_for_url(f"**/jobs/{JOB}")
            assert opened.get_by_text(role).first.is_visible()
            retry = opened.get_by_role("button", name="Retry")
            assert retry.count() == (role == "operator")
            if retry.count():
                retry.click()
                opened.wait_for_url(f"**/jobs/{JOB}")
                assert opened.get_by_text("queued").first.is_visible()
            opened.get_by_role("button", name="Sign out").click()
            opened.wait_for_url("**/login")
            context.close()
    assert store.ledger.job(JOB).state is JobState.QUEUED


def test_the_button_that_ends_the_wait_works_in_a_browser(store: Store, page: Page) -> None:
    receive(store, 2)
    store.catalogue.note_waiting({STUDY_UID: "views R MLO, L MLO, or quiet until 12:01:00 UTC"})
    with serving(make_parts(store)) as client:
        page.goto(f"{client.base_url}/studies/{STUDY_UID}")
        page.get_by_role("button", name="Analyse now").click()
        page.wait_for_url(f"**/studies/{STUDY_UID}")
        assert page.get_by_role("button", name="Analyse now").count() == 0
    assert store.catalogue.study(STUDY_UID).declared_complete


def test_any_number_of_tabs_listen_over_one_connection(store: Store, browser: Browser) -> None:
    # A browser opens six connections to a server at most; who reads opens many studies.
    finish(store)
    context = browser.new_context()
    with serving(make_parts(store)) as client:
        tabs = [context.new_page() for _ in range(8)]
        for tab in tabs:
            tab.goto(f"{client.base_url}/studies", timeout=10_000)
        tabs.append(context.new_page())
        tabs[-1].goto(f"{client.base_url}/studies/{STUDY_UID}", timeout=10_000)
        receive(store, 1, study="1.2.3", header=replace(HEADER, patient_name="NEWCOMER"))
        for tab in tabs[:-1]:
            tab.get_by_text("NEWCOMER").wait_for(timeout=10_000)
        assert client.get("/health/live").is_success
        context.close()


def test_the_list_of_jobs_follows(store: Store, page: Page) -> None:
    fail(store)
    with serving(make_parts(store)) as client:
        page.goto(f"{client.base_url}/jobs?state=failed")
        page.locator(f'a[href="/jobs/{JOB}"]').wait_for()
        store.ledger.restart(JOB, lambda *_: None)
        page.get_by_text("No job here.").wait_for(timeout=10_000)


def test_a_page_that_is_no_longer_followed_says_so(store: Store, page: Page) -> None:
    # On the wall of a reading room it would say for ever that all is well.
    finish(store)
    with serving(make_parts(store)) as client:
        page.goto(f"{client.base_url}/studies")
        page.get_by_role("link", name="done").wait_for()
        assert page.locator("#unfollowed").count() == 0
    told = page.get_by_role("alert").filter(has_text="gives no answer")
    told.wait_for()
    assert "does not change" in told.inner_text()


def test_who_is_signed_out_meanwhile_is_told(store: Store, browser: Browser) -> None:
    finish(store)
    accounts = Accounts(store.database)
    accounts.add(User("jane", AccessRole.VIEWER, later(0), hash_password("four words that rhyme")))
    opened = browser.new_page()
    with serving(make_parts(store)) as client:
        opened.goto(f"{client.base_url}/studies")
        opened.get_by_label("Name").fill("jane")
        opened.get_by_label("Password").fill("four words that rhyme")
        opened.get_by_role("button", name="Sign in", exact=True).click()
        opened.get_by_role("link", name="done").wait_for()
        accounts.remove("jane")
        receive(store, 1, study="1.2.3")
        opened.get_by_role("alert").filter(has_text="You are signed out").wait_for(timeout=10_000)
        opened.close()


def test_a_form_of_another_site_cannot_press_it(store: Store, browser: Browser) -> None:
    fail(store)
    opened = browser.new_page()
    with serving(make_parts(store)) as client:
        form = f"<form method=post action='{client.base_url}/jobs/{JOB}/retry'><button>Go</button>"
        opened.set_content(form)
        with opened.expect_navigation():
            opened.get_by_role("button", name="Go").click()
        assert "Forbidden" in opened.content()
    opened.close()
    assert store.ledger.job(JOB).state is JobState.FAILED
