"""An admin makes users and tokens in a real browser, and everyone changes the own password."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from answering_server import http_server
from api_builders import bearer, finish, make_parts, serving
from browser import CHROMIUM, chromium, opened_page, violations
from builders import later
from conftest import Store
from playwright.sync_api import Browser, Page

from oncopixel_pacs.domain.access import AccessRole, User
from oncopixel_pacs.domain.webhooks import CallState
from oncopixel_pacs.passwords import hash_password
from oncopixel_pacs.settings import WebhookSettings
from oncopixel_pacs.store.accounts import Accounts
from oncopixel_pacs.store.webhooks import Webhooks

pytestmark = [
    pytest.mark.chromium,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
FIRST, SECOND = "four words that rhyme", "other words that do not"

REFRESH = """() => {
  const live = document.querySelector("[hx-get^='/?span=']");
  return Promise.race([
    htmx.ajax("get", live.getAttribute("hx-get"), { source: live, target: "#overview" }),
    new Promise((end) => setTimeout(end, 2000)),
  ]).then(() => null);
}"""
# The server has signed out, and the page is still there for as long as the test likes.
HOLD_SIGNING_OUT = """() => {
  window.signedOut = new Promise((end) => addEventListener("submit", async (event) => {
    event.preventDefault();
    await fetch("/logout", { method: "POST", redirect: "manual" });
    end();
  }));
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def server(store: Store) -> Iterator[httpx.Client]:
    """Serve a store in which an admin and a reader have passwords."""
    finish(store)
    accounts = Accounts(store.database)
    hashed = hash_password(FIRST)
    accounts.add(User("root", AccessRole.ADMIN, later(0), hashed))
    accounts.add(User("jane", AccessRole.VIEWER, later(0), hashed))
    with serving(make_parts(store)) as client:
        yield client


def sign_in(page: Page, client: httpx.Client, name: str, password: str, target: str) -> None:
    page.goto(f"{client.base_url}{target}")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(f"**{target}")


def test_an_admin_makes_a_token_which_works_and_is_shown_once(
    server: httpx.Client, browser: Browser
) -> None:
    with opened_page(browser) as page:
        sign_in(page, server, "root", FIRST, "/users")
        made = page.locator('form[action="/tokens"]')
        made.get_by_label("Name").fill("ris")
        made.get_by_label("Role").select_option("viewer")
        made.get_by_label("Days").fill("30")
        made.get_by_label("api", exact=True).check()
        made.get_by_role("button", name="Make the token").press("Enter")
        secret = page.locator("#token").inner_text()
        assert violations(page) == []
        keep(page, "token.png")
        answer = server.get("/api/v1/me", headers=bearer(secret)).json()
        assert (answer["name"], answer["role"], answer["areas"]) == ("ris", "viewer", ["api"])
        assert server.get("/dicom-web/studies", headers=bearer(secret)).status_code == 403
        page.goto(f"{server.base_url}/users")
        assert secret not in page.content()
        page.get_by_role("button", name="Revoke ris").click()
        page.get_by_text("No token was made").wait_for()
        assert server.get("/api/v1/me", headers=bearer(secret)).status_code == 401


def test_an_admin_adds_changes_and_removes_a_user(server: httpx.Client, browser: Browser) -> None:
    with opened_page(browser) as page:
        sign_in(page, server, "root", FIRST, "/users")
        form = page.locator('form[action="/users"]')
        form.get_by_label("Name").fill("Zoë Müller")
        form.get_by_label("Password").fill(SECOND)
        form.get_by_role("button", name="Add the user").click()
        page.get_by_label("Role of Zoë Müller").select_option("operator")
        page.get_by_role("button", name="Change Zoë Müller").click()
        page.wait_for_load_state()
        row = page.get_by_role("row").filter(has_text="Zoë Müller")
        assert row.get_by_role("cell").nth(1).inner_text() == "operator"
        assert page.get_by_role("button", name="Remove root").count() == 0
        page.get_by_role("button", name="Remove Zoë Müller").click()
        page.wait_for_load_state()
        assert page.get_by_text("Zoë Müller").count() == 0


def test_a_reader_changes_the_own_password_and_sees_nothing_of_others(
    server: httpx.Client, browser: Browser
) -> None:
    with opened_page(browser) as page:
        sign_in(page, server, "jane", FIRST, "/studies")
        assert page.get_by_role("link", name="Access").count() == 0
        page.get_by_role("link", name="Password").click()
        page.get_by_label("Password until now").fill(FIRST)
        page.get_by_label("New password, 15").fill(SECOND)
        page.get_by_label("New password again").fill(SECOND)
        assert violations(page) == []
        keep(page, "password.png")
        page.get_by_role("button", name="Change the password").click()
        page.wait_for_url(f"{server.base_url}/")
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/login")
        sign_in(page, server, "jane", SECOND, "/studies")


def test_who_signs_out_is_not_refused_what_the_page_still_asks(
    server: httpx.Client, browser: Browser
) -> None:
    """`opened_page` fails for a 401, which the page would tell of and the audit trail keep."""
    with opened_page(browser) as page:
        sign_in(page, server, "jane", FIRST, "/")
        page.evaluate(REFRESH)
        page.evaluate(HOLD_SIGNING_OUT)
        page.get_by_role("button", name="Sign out").click()
        page.evaluate("() => window.signedOut")
        page.evaluate(REFRESH)
        assert page.locator("#unfollowed").count() == 0
        page.reload()
        page.wait_for_url("**/login*")


def test_what_does_not_fit_is_said_and_another_site_changes_nothing(
    server: httpx.Client, store: Store
) -> None:
    origin = {"Origin": str(server.base_url).rstrip("/")}
    with httpx.Client(base_url=server.base_url, trust_env=False, timeout=20) as browser:
        form = {"user": "root", "password": FIRST}
        assert browser.post("/login", data=form, headers=origin).status_code == 303
        short = browser.post("/users", data={"name": "a", "password": "short"}, headers=origin)
        assert (short.status_code, "correct what does not fit" in short.text) == (422, True)
        twice = {"name": "jane", "password": SECOND}
        assert browser.post("/users", data=twice, headers=origin).status_code == 409
        days = {"name": "t", "days": "0"}
        assert browser.post("/tokens", data=days, headers=origin).status_code == 422
        wrong = {"current": "not my password at all", "new": SECOND, "again": SECOND}
        refused = browser.post("/password", data=wrong, headers=origin)
        assert "not the password until now" in refused.text
        differ = {"current": FIRST, "new": SECOND, "again": SECOND + "x"}
        assert browser.post("/password", data=differ, headers=origin).status_code == 422
        elsewhere = {"Origin": "https://evil.example"}
        for path in ("/users", "/tokens", "/password", "/users/jane/remove", "/users/jane/change"):
            assert browser.post(path, data=twice, headers=elsewhere).status_code == 403
    assert [item.name for item in Accounts(store.database).users()] == ["jane", "root"]


def keep(page: Page, name: str) -> None:
    """Keep a picture where somebody wants to look at it."""
    if folder := os.environ.get("ONCOPIXEL_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / name, full_page=True)


def test_a_receiver_of_webhooks_is_tried_and_a_call_sent_again(
    store: Store, browser: Browser
) -> None:
    webhooks = Webhooks(store.database)
    webhooks.note_ended("ris", later(0))
    finish(store)
    webhooks.note_ended("ris", later(100))
    [call] = webhooks.calls().items
    error = "ris answered 410."
    webhooks.record(replace(call, state=CallState.FAILED, attempts=1, status=410, error=error))
    with http_server({"/hook?key=secret": (204, b"")}) as url, opened_page(browser) as page:
        receiver = WebhookSettings(
            name="ris", url=f"{url}/hook?key=secret", secret=SECRET, networks=("127.0.0.0/8",)
        )
        parts = make_parts(store)
        settings = parts.settings.model_copy(update={"webhooks": (receiver,)})
        with serving(make_parts(store, settings=settings)) as client:
            page.goto(f"{client.base_url}/webhooks")
            page.get_by_role("button", name="Test call to ris").press("Enter")
            page.get_by_text("ris answered 204.").wait_for()
            assert violations(page) == []
            keep(page, "webhooks.png")
            page.get_by_role("button", name="Send again to ris").click()
            page.get_by_role("cell", name="waiting").wait_for()
    assert webhooks.call(call.id).state is CallState.WAITING
