"""The Django example posts an image to a real server and shows the answer."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from answering_server import http_server
from dimse_builder import free_port, mammogram
from pydicom.dataset import Dataset
from server_process import ServerProcess, wait_until
from upload_builders import PHANTOM_MM, phantom_png

EXAMPLE = Path(__file__).parents[2] / "examples" / "django"
TOKEN = "letmein-by-the-token"  # noqa: S105
SAID = {"laterality": "R", "view": "CC", "pixel_spacing_mm": PHANTOM_MM, "patient_id": "P-9"}


@pytest.fixture(scope="module")
def browser(upload_server: ServerProcess) -> Iterator[Any]:
    """Run Django with the example's settings; gives its test client."""
    sys.path.insert(0, str(EXAMPLE))
    patch = pytest.MonkeyPatch()
    patch.setenv("DJANGO_SETTINGS_MODULE", "example_settings")
    patch.setenv("ONCOPIXEL_URL", upload_server.url)
    patch.setenv("ONCOPIXEL_TOKEN", TOKEN)
    patch.setenv("TZ", "UTC")  # Django puts the time zone of its settings in its place
    import django
    from django.core.files.uploadedfile import SimpleUploadedFile
    from django.test import Client

    django.setup()
    client = Client(enforce_csrf_checks=True)

    class Person:
        def look(self, path: str) -> Any:
            return client.get(path)

        def send(self, name: str, content: bytes, **said: str) -> Any:
            page = client.get("/").content.decode()
            found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
            assert found
            image = SimpleUploadedFile(name, content)
            return client.post("/", {"image": image, "csrfmiddlewaretoken": found[1], **said})

    yield Person()
    patch.undo()
    time.tzset()
    sys.path.remove(str(EXAMPLE))


def test_an_image_is_sent_and_the_answer_is_shown(browser: Any) -> None:
    sent = browser.send("r-cc.png", phantom_png("R-CC"), **SAID)
    assert sent.status_code == 302, sent.content
    shown = wait_until(lambda: answered(browser, sent["Location"]), 60, "no answer is shown")
    assert "<h1>done</h1>" in shown
    assert "Research use only" in shown
    assert "<h2>R CC</h2>" in shown
    found = re.search(r'<img src="(/pictures/[^"]+)"', shown)
    assert found
    picture = browser.look(found[1])
    assert picture["Content-Type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")


def test_what_the_server_refuses_stands_in_the_form(browser: Any) -> None:
    page = browser.send("notes.txt", b"hello", **SAID)
    assert page.status_code == 200
    assert "Files that end in .txt are not taken" in page.content.decode()


def test_what_is_not_there_is_not_found(browser: Any) -> None:
    assert browser.look("/answers/0123/").status_code == 404
    assert browser.look("/pictures/0123/1.2.3.png").status_code == 404


def test_what_was_left_out_is_named_on_the_answer_page(browser: Any) -> None:
    """Another image under a known UID is in no study, so no study would say why."""
    image = mammogram(7, StudyInstanceUID="1.2.77", SOPInstanceUID="1.2.77.7")
    assert browser.send("first.dcm", part10(image)).status_code == 302
    image.PatientID = "P-2"
    sent = browser.send("second.dcm", part10(image))
    shown = browser.look(sent["Location"]).content.decode()
    assert "second.dcm: Another image is held under its SOP Instance UID" in shown


def test_a_server_that_is_away_is_asked_again(browser: Any) -> None:
    from django.test import override_settings

    with override_settings(ONCOPIXEL_URL=f"http://127.0.0.1:{free_port()}"):
        page = browser.look("/answers/0123/")
        assert page.status_code == 503
        assert "The server cannot be reached." in page.content.decode()
        assert 'http-equiv="refresh"' in page.content.decode()
        assert browser.look("/pictures/0123/1.2.3.png").status_code == 503
        assert "cannot be reached" in browser.send("a.dcm", b"x").content.decode()


def test_what_a_proxy_says_is_told_in_words(browser: Any) -> None:
    from django.test import override_settings

    page = (502, b"<html>Bad Gateway</html>")
    with (
        http_server({"/api/v1/images": page, "/api/v1/uploads/0123": page}) as url,
        override_settings(ONCOPIXEL_URL=url),
    ):
        assert "cannot answer now (HTTP 502)" in browser.look("/answers/0123/").content.decode()
        assert "cannot answer now (HTTP 502)" in browser.send("a.dcm", b"x").content.decode()


class Turns(dict[str, tuple[int, bytes]]):
    """Answers the first of these, then the next, whatever the path."""

    def __init__(self, *answers: tuple[int, bytes]) -> None:
        self.left = list(answers)

    def __getitem__(self, path: str) -> tuple[int, bytes]:
        return self.left.pop(0)


def test_an_upload_comes_again_while_the_server_takes_others(browser: Any) -> None:
    from django.test import override_settings

    busy = (503, b'{"detail": "Enough uploads are under way; send it again."}')
    turns = Turns(busy, busy, (202, b'{"id": "0123"}'))
    with http_server(turns, Retry_After="0") as url, override_settings(ONCOPIXEL_URL=url):
        sent = browser.send("a.dcm", b"x")
    assert sent.status_code == 302, sent.content
    assert not turns.left


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_not_taken_is_the_site_s_to_mend(
    browser: Any, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    from django.test import override_settings

    page = (status, b'{"detail": "Sign in: send Authorization: Bearer with a token."}')
    with http_server({"/api/v1/images": page}) as url, override_settings(ONCOPIXEL_URL=url):
        sent = browser.send("a.dcm", b"x").content.decode()
    assert "does not let this site in" in sent
    assert "Bearer" not in sent
    assert "ONCOPIXEL_TOKEN" in caplog.text


def part10(image: Dataset) -> bytes:
    buffer = io.BytesIO()
    image.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def answered(browser: Any, path: str) -> str:
    """Return the answer page once it no longer asks to be loaded again."""
    page = str(browser.look(path).content.decode())
    return "" if 'http-equiv="refresh"' in page else page
