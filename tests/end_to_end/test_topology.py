"""What compose describes, started natively from the same files, and looked at in Chromium.

PostgreSQL, Orthanc, the three roles, nginx with TLS, OHIF: a study goes into Orthanc, its results
come back into it.

Screenshots are kept in the folder that ``ONCOPIXEL_SCREENSHOTS`` names, if any.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from dimse_builder import association
from ohif_viewer import ARGUMENTS, CHROMIUM, UNCOVERED, Viewer, fetch_ohif
from playwright.sync_api import Browser, Page, sync_playwright
from pydicom import dcmread
from server_process import wait_until

ROOT = Path(__file__).parents[2]
SAMPLE = sorted((ROOT / "sample_dicom" / "tiny").glob("*.dcm"))
PROGRAMS = ("nginx", "envsubst", "Orthanc", "chromium", "openssl")
SEARCHED = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
missing = [name for name in PROGRAMS if shutil.which(name, path=SEARCHED) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.chromium,
    pytest.mark.orthanc,
    pytest.mark.skipif(
        bool(missing)
        or not Path("/usr/share/orthanc/plugins/libOrthancPython.so").exists()
        or not list(Path("/usr/lib/postgresql").glob("*/bin/postgres")),
        reason=f"needs Orthanc with plugins, PostgreSQL and {', '.join(missing) or 'no more'}",
    ),
]


@dataclass(frozen=True)
class Running:
    """The whole, and who may come in."""

    folder: Path
    ports: dict[str, int]
    secrets: dict[str, str]
    study: str

    @property
    def pages(self) -> httpx.Client:
        """OncoPixel through the TLS front, whose certificate is checked."""
        return self._client("front", ("any", self.secrets["ONCOPIXEL_TOKEN"]))

    @property
    def viewer(self) -> httpx.Client:
        """OHIF and Orthanc's DICOMweb through the TLS front."""
        return self._client("viewer", ("oncopixel", self.secrets["ORTHANC_PASSWORD"]))

    @property
    def orthanc(self) -> httpx.Client:
        login = ("oncopixel", self.secrets["ORTHANC_PASSWORD"])
        address = f"http://127.0.0.1:{self.ports['orthanc']}"
        return httpx.Client(base_url=address, auth=login, trust_env=False, timeout=60)

    def _client(self, port: str, login: tuple[str, str]) -> httpx.Client:
        trusted = ssl.create_default_context(cafile=self.folder / "secrets" / "certificate.pem")
        address = f"https://localhost:{self.ports[port]}"
        return httpx.Client(
            base_url=address, auth=login, verify=trusted, trust_env=False, timeout=60
        )


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    # pytest's folders are for their owner alone; PostgreSQL and nginx run as other users.
    parent = Path(tempfile.mkdtemp(prefix="oncopixel-topology-"))
    parent.chmod(0o755)
    folder = parent / "running"
    quick = {"COMPLETION__SETTLE_SECONDS": "0.5", "RECEIVE__LEAST_FREE_BYTES": "0"}
    environment = os.environ | {f"ONCOPIXEL_{name}": value for name, value in quick.items()}
    environment["PYTHONPATH"] = str(ROOT)
    script = ROOT / "deploy" / "native" / "topology.py"
    command = [sys.executable, str(script), "--folder", str(folder), "--ohif", str(fetch_ohif())]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        told = folder / "topology.json"
        wait_until(lambda: told.exists() or process.poll() is not None, 240, "it does not start")
        assert told.exists(), process.communicate()[0].decode()[-3000:]
        found = json.loads(told.read_text(encoding="utf-8"))
        images = [dcmread(path) for path in SAMPLE]
        syntaxes = tuple({image.file_meta.TransferSyntaxUID for image in images})
        port = found["ports"]["orthanc_dicom"]
        with association(port, called="ORTHANC", syntaxes=syntaxes) as sender:
            assert [sender.send_c_store(image).Status for image in images] == [0] * 4
        study = str(images[0].StudyInstanceUID)
        yield Running(folder, found["ports"], found["secrets"], study)
    finally:
        process.terminate()
        process.communicate(timeout=90)
        shutil.rmtree(parent)
    # It ended all that it started.
    assert not any(Path(f"/proc/{pid}").exists() for pid in found["processes"].values())


@pytest.fixture(scope="module")
def browser(running: Running) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@contextmanager
def page_of(browser: Browser, user: str, password: str) -> Iterator[Page]:
    context = browser.new_context(
        http_credentials={"username": user, "password": password},
        ignore_https_errors=True,  # of a certificate made for a trial
        viewport={"width": 1280, "height": 800},
    )
    page = context.new_page()
    page.set_default_timeout(90_000)
    try:
        yield page
    finally:
        context.close()


def keep(page: Page, running: Running, name: str) -> None:
    folder = Path(os.environ.get("ONCOPIXEL_SCREENSHOTS") or running.folder)
    page.screenshot(path=folder / f"topology-{name}.png")


def finished(running: Running) -> dict[str, Any]:
    """Wait for the job of the study, as the API tells it through the front."""
    with running.pages as pages:

        def ended() -> dict[str, Any] | None:
            jobs = pages.get("/api/v1/jobs").json()["items"]
            return jobs[0] if jobs and jobs[0]["finished_at"] else None

        found = wait_until(ended, 240, "the study is not finished", 0.3)
        assert found is not None
        job: dict[str, Any] = pages.get(f"/api/v1/jobs/{found['id']}").json()
        return job


def series_in_orthanc(running: Running) -> list[str]:
    with running.orthanc as orthanc:
        series = orthanc.get("/series", params={"expand": ""}).json()
    return sorted(item["MainDicomTags"]["Modality"] for item in series)


def test_a_study_in_orthanc_gets_its_results_once(running: Running) -> None:
    job = finished(running)
    assert job["state"] == "done", job["error"]
    kinds = [item["kind"] for item in job["objects"]]
    assert kinds.count("sr") == 1
    assert kinds.count("seg") >= 1
    assert series_in_orthanc(running) == sorted([*["MG"] * 4, *[kind.upper() for kind in kinds]])

    # The results came back into the study and were not forwarded again: no loop.
    with running.orthanc as orthanc, running.pages as pages:

        def at_rest() -> bool:
            state = orthanc.get("/oncopixel/state").json()
            return bool(state["position"] == state["last"] and not state["refused"])

        wait_until(at_rest, 60, "Orthanc does not come to rest")
        assert len(pages.get("/api/v1/jobs").json()["items"]) == 1
        study = pages.get(f"/api/v1/studies/{running.study}").json()
        assert study["image_count"] == 4


def test_the_explorer_leads_to_the_study_page(running: Running, browser: Browser) -> None:
    finished(running)
    with running.orthanc as orthanc:
        (identity,) = orthanc.get("/studies").json()
    with page_of(browser, "oncopixel", running.secrets["ORTHANC_PASSWORD"]) as page:
        page.goto(f"{orthanc.base_url}/app/explorer.html#study?uuid={identity}")
        button = page.locator("a.oncopixel", has_text="OncoPixel")
        button.wait_for()
        keep(page, running, "explorer")
        address = button.get_attribute("href") or ""
        assert page.locator("a.oncopixel", has_text="OHIF").count() == 1
    with page_of(browser, "any", "") as page:
        token = running.secrets["ONCOPIXEL_TOKEN"]
        page.set_extra_http_headers({"Authorization": f"Bearer {token}"})
        answer = page.goto(address)
        assert answer is not None
        assert answer.status == 200
        page.get_by_text("done").first.wait_for()
        keep(page, running, "study")


def test_ohif_shows_the_study_with_its_segmentations(running: Running, browser: Browser) -> None:
    overlays = [item["kind"] for item in finished(running)["objects"]].count("seg")
    with page_of(browser, "oncopixel", running.secrets["ORTHANC_PASSWORD"]) as page:
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.add_init_script(UNCOVERED)
        viewer = Viewer(page, f"https://localhost:{running.ports['viewer']}")
        viewer.open_study(running.study)
        viewer.wait_for_overlays(overlays)
        keep(page, running, "ohif")
        assert complaints == []


def test_the_doors_are_closed(running: Running) -> None:
    with running.pages as pages, running.viewer as viewer:
        assert pages.get("/", auth=None).status_code == 401
        assert pages.get("/api/v1/jobs", auth=None).status_code == 401
        assert pages.get("/health/live", auth=None).status_code == 200
        assert pages.get("/metrics").status_code == 404
        assert viewer.get("/", auth=None).status_code == 401
        assert viewer.get("/dicom-web/studies", auth=("oncopixel", "guess")).status_code == 401
        assert viewer.get("/dicom-web/studies").status_code == 200
        assert viewer.post("/dicom-web/studies", content=b"").status_code == 403
        for client in (pages, viewer):
            answer = client.get("/")
            assert answer.status_code == 200
            assert "max-age" in answer.headers["Strict-Transport-Security"]
            assert "nginx/" not in answer.headers["Server"]
