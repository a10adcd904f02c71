"""A real Chromium for tests of the pages, and axe, which looks for what WCAG forbids."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

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
AXE = "axe-core@4.14.1"
AXE_INTEGRITY = (
    "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
)
#: What WCAG 2.2 asks at the levels A and AA.
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
_RUN = """tags => axe.run(document, {runOnly: {type: 'tag', values: tags}}).then(found =>
  found.violations.map(item => `${item.id}: ${item.help} ` +
    item.nodes.map(node => node.target.join(' ')).slice(0, 5).join(' | ')))"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield started
        finally:
            started.close()


@contextmanager
def opened_page(browser: Browser, width: int = 1280, scheme: str = "light") -> Iterator[Page]:
    """Open a fresh page; whatever it complains about, or cannot load, fails the test."""
    page = browser.new_page(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page.set_default_timeout(20_000)
    complaints: list[str] = []
    # htmx tells of what it asked for when the page was left; what fails is told besides.
    page.on(
        "console",
        lambda message: (
            message.text.startswith("htmx:")
            or _is_late_icon(message.location["url"], message.text)
            or complaints.append(message.text)
        ),
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "requestfailed",
        # A picture that was still on its way when the page was left is no fault.
        lambda request: (
            request.failure == "net::ERR_ABORTED"
            or _is_late_icon(request.url, request.failure)
            or complaints.append(request.url)
        ),
    )
    try:
        yield page
    finally:
        page.close()
    assert not complaints, complaints


def _is_late_icon(url: str, failure: str | None) -> bool:
    """Whether the browser asked for the page's icon when its server had ended already.

    It does so some time after the page is loaded, and nothing waits for it.
    """
    return url.endswith("/icon.svg") and "ERR_CONNECTION_REFUSED" in (failure or "")


def violations(page: Page) -> list[str]:
    """List what axe finds against WCAG A and AA on the page as it is."""
    page.evaluate(_axe().read_text(encoding="utf-8"))
    found: list[str] = page.evaluate(_RUN, _RULES)
    return found


def _axe() -> Path:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    script = caches / "oncopixel-tests" / AXE / "axe.min.js"
    if not script.is_file():
        script.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=script.parent) as temporary:
            archive = npm_pack(AXE, AXE_INTEGRITY, Path(temporary))
            with tarfile.open(archive) as packed:
                packed.extract("package/axe.min.js", temporary, filter="data")
            (Path(temporary) / "package" / "axe.min.js").rename(script)
    return script


def npm_pack(package: str, integrity: str, folder: Path) -> Path:
    """Fetch a package of npm, and check that it is the one that was chosen."""
    npm = shutil.which("npm")
    if npm is None:
        unavailable(package, "npm is not installed (apt-get install npm)")
    packed = subprocess.run(
        [str(npm), "pack", package, "--silent"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )
    archives = list(folder.glob("*.tgz"))
    if packed.returncode != 0 or len(archives) != 1:
        unavailable(package, f"npm could not fetch it: {packed.stderr.strip()[-300:]}")
    digest = hashlib.sha512(archives[0].read_bytes()).digest()
    assert base64.b64encode(digest).decode() == integrity, f"{package} is not what it was"
    return archives[0]


def unavailable(what: str, why: str) -> NoReturn:
    """Skip, or fail where everything must be there."""
    if "CI" in os.environ:
        pytest.fail(f"{what} cannot be had: {why}")
    pytest.skip(f"{what} cannot be had: {why}")
