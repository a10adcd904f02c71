"""A person lets a modality in: one click in a real browser, and it may send."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from api_builders import make_parts, serving
from conftest import Store
from dimse_builder import association, mammogram, reception, store, until
from playwright.sync_api import sync_playwright

from oncopixel_pacs.settings import PeerSettings
from oncopixel_pacs.store.ledger import Ledger

CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.chromium,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]


def may_send(port: int) -> bool:
    with association(port, calling="ROOM2") as assoc:
        return bool(assoc.is_established)


def test_one_click_lets_a_rejected_modality_in_and_one_takes_it_back(tmp_path: Path) -> None:
    peers = (PeerSettings(ae_title="ROOM1"),)
    with reception(tmp_path / "data", peers=peers) as received:
        assert not may_send(received.port)
        until(lambda: bool(received.callers.rejected()))
        ledger = Ledger(received.database)
        shelf = Store(received.database, received.files, received.catalogue, ledger)
        parts = make_parts(shelf, settings=received.settings)
        with serving(parts) as client, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
            )
            page = browser.new_page()
            page.goto(f"{client.base_url}/peers")
            row = page.get_by_role("row").filter(has_text="ROOM2")
            row.get_by_label("Port of ROOM2").fill("11112")
            row.get_by_role("button", name="Allow").click()
            page.wait_for_url("**/peers")
            until(lambda: may_send(received.port), 2)
            assert store(received.port, mammogram(), calling="ROOM2").Status == 0x0000
            known = page.get_by_role("row").filter(has_text="ROOM2")
            assert "port 11112" in known.inner_text()
            known.get_by_role("button", name="Remove").click()
            until(lambda: not may_send(received.port), 5)
            browser.close()
