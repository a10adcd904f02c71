"""Every error is a problem document (RFC 9457), in plain words, without our insides."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from api_builders import make_parts, serving
from conftest import Store
from structlog.testing import capture_logs

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.errors import NotFound, OncoPixelError, OutOfResources
from oncopixel_pacs.store.briefs import Briefs

SECRET = "DOE^JANE"  # noqa: S105


def check_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert body["type"] == "about:blank"
    assert body["title"]
    assert body["detail"].endswith(".")
    assert "Traceback" not in answer.text
    return body


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/nothing", 404, "There is nothing under this path"),
        ("GET", "/api/v1/studies/1.2.3", 404, "No image of study 1.2.3 was received."),
        ("GET", "/api/v1/jobs/nobody", 404, "There is no job nobody."),
        ("GET", "/api/v1/jobs/nobody/images/1.2/overlay.png", 404, "There is no job nobody."),
        ("DELETE", "/api/v1/studies", 405, "DELETE is not allowed here"),
        ("GET", "/api/v1/studies?limit=201", 422, "query.limit"),
        ("GET", "/api/v1/studies?limit=0", 422, "query.limit"),
        ("GET", "/api/v1/jobs?state=gone", 422, "query.state"),
        ("GET", f"/api/v1/studies/{'1' * 65}", 422, "path.study_instance_uid"),
        ("GET", "/api/v1/studies/1.2%003", 422, "path.study_instance_uid"),
        ("GET", "/api/v1/studies?cursor=nonsense", 404, "cursor"),
        ("GET", "/static/../parts.py", 404, "nothing"),
        ("GET", "/static/%2e%2e/parts.py", 404, "nothing"),
    ],
)
def test_errors_of_a_request(store: Store, method: str, path: str, status: int, words: str) -> None:
    with serving(make_parts(store)) as client:
        body = check_problem(
            client.request(method, path, headers={"X-Requested-With": "t"}), status
        )
    assert words in body["detail"]


def test_a_refused_method_says_which_are_allowed(store: Store) -> None:
    with serving(make_parts(store)) as client:
        assert client.put("/api/v1", headers={"X-Requested-With": "t"}).headers["allow"] == "GET"
        # Two routes share a path; the answer names what both allow.
        assert client.options("/api/v1/peers").headers["allow"] == "GET, POST"


def test_what_was_sent_is_not_repeated(store: Store) -> None:
    with serving(make_parts(store)) as client:
        answer = client.get("/api/v1/studies", params={"state": "<script>alert(1)</script>"})
    assert "script" not in answer.text
    assert check_problem(answer, 422)["errors"][0]["where"] == "query.state"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("There is no such thing."), 404),
        (OutOfResources("The database does not take a write now."), 503),
        (OncoPixelError("Something of ours went wrong."), 500),
    ],
)
def test_our_own_errors_keep_their_sentence(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: OncoPixelError, status: int
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(Briefs, "studies", fail)
    with serving(make_parts(store)) as client:
        assert check_problem(client.get("/api/v1/studies"), status)["detail"] == str(error)


def test_an_unexpected_error_says_nothing_and_logs_type_and_place_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError(SECRET)

    monkeypatch.setattr(Briefs, "studies", fail)
    with capture_logs() as logs, serving(make_parts(store)) as client:
        answer = client.get("/api/v1/studies")
        after = client.get("/api/v1")
    check_problem(answer, 500)
    assert SECRET not in answer.text
    (entry,) = [item for item in logs if item["event"] == "http.failed"]
    assert (entry["error"], entry["path"]) == ("ValueError", "/api/v1/studies")
    assert "studies.py" in entry["trace"]
    assert SECRET not in str(logs) + caplog.text
    assert after.status_code == 200


@pytest.mark.parametrize("path", ["/nothing", "/jobs/nobody", "/studies/1.2.3", "/?span=gone"])
def test_a_person_gets_a_page_and_a_program_a_document(store: Store, path: str) -> None:
    with serving(make_parts(store)) as client:
        page = client.get(path, headers={"Accept": "text/html,application/xhtml+xml"})
        document = client.get(path)
    assert page.status_code == document.status_code
    assert page.headers["content-type"].startswith("text/html")
    assert RESEARCH_NOTICE in page.text
    check_problem(document, page.status_code)


def test_the_api_answers_a_browser_with_a_document_too(store: Store) -> None:
    with serving(make_parts(store)) as client:
        check_problem(client.get("/api/v1/jobs/nobody", headers={"Accept": "text/html"}), 404)
