"""The Django example posts an image to a real server and shows the answer."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
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


def answered(browser: Any, path: str) -> str:
    """Return the answer page once it no longer asks to be loaded again."""
    page = str(browser.look(path).content.decode())
    return "" if 'http-equiv="refresh"' in page else page
