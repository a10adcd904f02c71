"""Pictures uploaded to a real server: by a program, and by a person in a browser."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from pydicom import dcmread
from server_process import ServerProcess, wait_until
from upload_builders import PHANTOM_MM, phantom_png

TOKEN = "letmein-by-the-token"  # noqa: S105
CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--disable-dev-shm-usage"]


@pytest.fixture(scope="module")
def client(upload_server: ServerProcess) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(
        base_url=upload_server.url, headers=headers, timeout=60, trust_env=False
    ) as client:
        yield client


def ended(client: httpx.Client, path: str) -> dict:
    def answer() -> dict | None:
        body = client.get(path).json()
        return None if body["state"] in ("waiting", "analysing") else body

    found = wait_until(answer, 60, "the upload has no answer")
    assert found is not None
    return found


def test_a_picture_is_analysed_and_everything_can_be_fetched(client: httpx.Client) -> None:
    files = [("file", (f"{name}.png", phantom_png(name))) for name in ("L-CC", "L-MLO")]
    files += [("file", (f"{name}.png", phantom_png(name))) for name in ("R-CC", "R-MLO")]
    said = {
        "laterality": ["L", "L", "R", "R"],
        "view": ["CC", "MLO", "CC", "MLO"],
        "pixel_spacing_mm": PHANTOM_MM,
    }
    taken = client.post("/api/v1/images", files=files, data=said)
    assert taken.status_code == 202, taken.text
    body = ended(client, taken.headers["Location"])
    assert body["state"] == "done", body
    (study,) = body["studies"]
    images = study["result"]["images"]
    assert [item["view"] for item in images] == ["CC", "CC", "MLO", "MLO"]
    findings = [item for image in images for item in image["findings"]]
    assert findings
    assert all(item["outline"][0] == item["outline"][-1] for item in findings)
    for image in images:
        picture = Image.open(io.BytesIO(client.get(image["overlay"]).content))
        assert picture.size[1] == 1024
    kinds = set()
    for item in study["objects"]:
        answer = client.get(item["href"])
        assert answer.headers["content-type"] == "application/dicom"
        written = dcmread(io.BytesIO(answer.content))
        assert written.SOPInstanceUID == item["sop_instance_uid"]
        assert written.StudyInstanceUID == study["study_instance_uid"]
        kinds.add(item["kind"])
    assert kinds >= {"seg", "sr"}
    again = client.post("/api/v1/images", files=files, data=said).json()
    assert (again["id"], again["state"]) == (body["id"], "done")
    jobs = client.get("/api/v1/jobs", params={"study_instance_uid": study["study_instance_uid"]})
    assert len(jobs.json()["items"]) == 1


def test_a_picture_without_a_breast_named_is_not_analysed_and_says_so(client: httpx.Client) -> None:
    files = {"file": ("x.png", phantom_png("L-CC"))}
    taken = client.post("/api/v1/images", files=files, data={"view": "CC"})
    body = ended(client, taken.headers["Location"])
    assert body["state"] == "not-analysed"
    (study,) = body["studies"]
    assert "Laterality" in study["reason"]
    assert study["result"]["images"][0]["reason"] == "no-laterality"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


def page_of(browser: Browser, address: str, *, script: bool = True) -> Page:
    """Open a page of the server, signed in with the token."""
    context = browser.new_context(
        java_script_enabled=script, viewport={"width": 1280, "height": 900}
    )
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.goto(address)
    page.get_by_text("Sign in with a token").click()
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Sign in with the token").click()
    page.wait_for_url(address)
    return page


#: Drops files as a hand would: the page reads them from the event alone.
DROP = """async ([name, content]) => {
  const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name));
  const target = document.getElementById("drop");
  for (const kind of ["dragenter", "dragover", "drop"])
    target.dispatchEvent(
      new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}));
}"""


def new_png(name: str, grey: int) -> bytes:
    """Make a picture that no other test uploads: it has no answer yet."""
    picture, made = Image.open(io.BytesIO(phantom_png(name))), io.BytesIO()
    picture.putpixel((0, 0), grey)
    picture.save(made, "PNG")
    return made.getvalue()


@pytest.mark.chromium
@needs_chromium
def test_a_person_drops_a_picture_and_sees_the_answer(
    upload_server: ServerProcess, browser: Browser, tmp_path: Path
) -> None:
    page = page_of(browser, f"{upload_server.url}/")
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.get_by_role("link", name="Upload", exact=True).click()
    page.evaluate(DROP, ["r-cc.png", base64.b64encode(new_png("R-CC", 1)).decode()])
    page.get_by_text("1 file chosen").wait_for()
    row = page.get_by_role("listitem").filter(has_text="r-cc.png")
    row.get_by_label("Breast").select_option("R")
    row.get_by_label("View").select_option("CC")
    page.get_by_label("Pixel size (mm)").fill(PHANTOM_MM)
    page.get_by_label("Pixel size (mm)").press("Enter")
    page.wait_for_url("**/uploads/*")
    page.get_by_role("heading", name="done").wait_for()
    picture = page.get_by_role("img", name="R CC with its findings outlined")
    picture.wait_for()
    page.wait_for_function("() => document.images[1].naturalWidth > 0")
    page.screenshot(path=tmp_path / "answer.png", full_page=True)
    assert page.get_by_role("link", name="SR", exact=True).count() == 1
    assert complaints == []
    page.context.close()


@pytest.mark.chromium
@needs_chromium
def test_without_a_script_it_is_a_plain_form(
    upload_server: ServerProcess, browser: Browser, tmp_path: Path
) -> None:
    picture = tmp_path / "l-mlo.png"
    picture.write_bytes(new_png("L-MLO", 2))
    page = page_of(browser, f"{upload_server.url}/upload", script=False)
    page.locator("#file").set_input_files(picture)
    page.get_by_label("Breast").select_option("L")
    page.get_by_label("View").select_option("MLO")
    page.get_by_label("Pixel size (mm)").fill(PHANTOM_MM)
    page.get_by_role("button", name="Upload and analyse").click()
    page.wait_for_url("**/uploads/*")
    page.get_by_role("heading", name="done").wait_for()
    assert page.get_by_role("img", name="L MLO with its findings outlined").is_visible()
    page.context.close()


@pytest.mark.chromium
@needs_chromium
def test_a_refusal_stands_on_the_page(upload_server: ServerProcess, browser: Browser) -> None:
    page = page_of(browser, f"{upload_server.url}/upload")
    page.locator("#file").set_input_files(
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"hello"}
    )
    page.get_by_role("button", name="Upload and analyse").click()
    page.get_by_text("Files that end in .txt are not taken").wait_for()
    assert page.get_by_role("button", name="Upload and analyse").is_enabled()
    page.context.close()
