"""Archives that answer oddly, and pulls that cannot go on: each ends in words, and in time."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from dimse_builder import STUDY, mammogram, reception, utc_now, write
from pydicom.dataset import Dataset

from oncopixel_pacs.domain import ObjectKind, ResultObject
from oncopixel_pacs.domain.pulls import Pull, PullState
from oncopixel_pacs.receive.pull.puller import Puller
from oncopixel_pacs.store.ledger import Ledger

#: Path without its query to status, content type and body.
Answers = Mapping[str, tuple[int, str, bytes]]

JSON = "application/dicom+json"
MULTIPART = 'multipart/related; type="application/dicom"; boundary="frontier"'
INSTANCES = f"/dicom-web/studies/{STUDY}/instances"


@contextmanager
def archive(answers: Answers) -> Iterator[str]:
    """Answer each path as told, anything else with 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, body = answers.get(self.path.partition("?")[0], (404, "text/plain", b""))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            if status == 302:
                self.send_header("Location", "/dicom-web/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/dicom-web"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def part10(image: Dataset) -> bytes:
    buffer = io.BytesIO()
    image.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def listed(*images: Dataset) -> tuple[int, str, bytes]:
    """Answer a search as QIDO-RS does."""
    keywords = {"00080016": "SOPClassUID", "00080018": "SOPInstanceUID"}
    keywords["0020000E"] = "SeriesInstanceUID"
    found = [
        {tag: {"vr": "UI", "Value": [str(image[name].value)]} for tag, name in keywords.items()}
        for image in images
    ]
    return 200, JSON, json.dumps(found).encode()


def path_of(image: Dataset) -> str:
    series, uid = image.SeriesInstanceUID, image.SOPInstanceUID
    return f"/dicom-web/studies/{STUDY}/series/{series}/instances/{uid}"


def multipart(content: bytes, end: bytes = b"\r\n--frontier--\r\n") -> tuple[int, str, bytes]:
    head = b"--frontier\r\nContent-Type: application/dicom\r\n\r\n"
    return 200, MULTIPART, head + content + end


def pull_from(
    answers: Answers, folder: Path, *, results: tuple[str, ...] = (), **options: Any
) -> tuple[Pull, list[str]]:
    """Pull the study once; returns the pull, and the UIDs that are held then."""
    with archive(answers) as url:
        source = {"type": "dicomweb", "name": "web", "url": url}
        changed = {"pull": {"attempts": 1, "timeout_seconds": 5}, **options}
        with reception(folder, sources=(source,), **changed) as server:
            ledger = Ledger(server.database)
            for uid in results:
                make_result(server.catalogue, ledger, uid)
            parts = server.pull_parts()
            asked = parts.pulls.add(STUDY, "web", utc_now())
            assert Puller(parts).work_once()
            assert server.leftovers == []
            return parts.pulls.pull(asked.id), sorted(server.stored)


def test_images_that_are_held_under_another_study_are_no_complete_study(tmp_path: Path) -> None:
    """The archive gave the study another UID: here its images are those of the study before."""
    before, late = mammogram(StudyInstanceUID="2.25.5"), mammogram(SOPInstanceUID="2.25.6")
    moved = mammogram()
    with archive({INSTANCES: listed(moved, late), path_of(late): multipart(part10(late))}) as url:
        source = {"type": "dicomweb", "name": "web", "url": url}
        with reception(tmp_path, sources=(source,), pull={"timeout_seconds": 5}) as server:
            parts = server.pull_parts()
            parts.intake.accept_file(write(before, tmp_path / "before.dcm"))
            asked = parts.pulls.add(STUDY, "web", utc_now())
            assert Puller(parts).work_once()
            pull, study = parts.pulls.pull(asked.id), parts.catalogue.study(STUDY)
    assert pull.state is PullState.PARTIAL
    assert "1 of 2 objects are held here as images of study 2.25.5" in pull.error
    assert (len(study.images), study.declared_complete) == (1, False)


def make_result(catalogue: Any, ledger: Ledger, uid: str) -> None:
    """Have this server hold a result object of another study of its own."""
    from builders import NOON, make_instance

    from oncopixel_pacs.domain import StudyHeader

    catalogue.add_instance(make_instance(1, study="1.2.77"), StudyHeader())
    job = catalogue.settle(catalogue.study("1.2.77"), "d", "job", NOON, lambda *_: None)
    made = ResultObject(ObjectKind.SC, uid, "1.2", "1.2.77.9", "Picture", "x", "0" * 64, 1)
    ledger.add_objects(job.id, [made], {}, NOON, lambda *_: None)


IMAGE, OTHER = mammogram(1), mammogram(2)


def test_a_multipart_answer_is_unwrapped(tmp_path: Path) -> None:
    answers = {INSTANCES: listed(IMAGE), path_of(IMAGE): multipart(part10(IMAGE))}
    pull, held = pull_from(answers, tmp_path)
    assert (pull.state, held) == (PullState.DONE, [IMAGE.SOPInstanceUID])


def test_an_archive_that_sends_the_object_bare_is_understood(tmp_path: Path) -> None:
    bare = (200, "application/dicom", part10(IMAGE))
    pull, held = pull_from({INSTANCES: listed(IMAGE), path_of(IMAGE): bare}, tmp_path)
    assert (pull.state, held) == (PullState.DONE, [IMAGE.SOPInstanceUID])


BROKEN: list[tuple[tuple[int, str, bytes], str]] = [
    (multipart(part10(IMAGE), end=b""), "was cut short"),
    ((200, MULTIPART, b"no boundary at all"), "no multipart message"),
    ((200, "application/dicom", b"no DICOM"), "was not taken"),
    (multipart(part10(IMAGE)[:300]), "was not taken"),
    ((500, "text/plain", b"oops"), "HTTP 500"),
    ((302, "text/plain", b""), "HTTP 302"),
    ((403, "text/plain", b""), "refuses our login"),
]


@pytest.mark.parametrize(("answer", "sentence"), BROKEN)
def test_an_object_that_does_not_come_whole_is_told_and_not_kept(
    answer: tuple[int, str, bytes], sentence: str, tmp_path: Path
) -> None:
    answers = {
        INSTANCES: listed(OTHER, IMAGE),
        path_of(OTHER): multipart(part10(OTHER)),
        path_of(IMAGE): answer,
    }
    pull, held = pull_from(answers, tmp_path)
    assert (pull.state, pull.expected, pull.received) == (PullState.PARTIAL, 2, 1)
    assert held == [OTHER.SOPInstanceUID]
    assert sentence in pull.error


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((204, JSON, b""), "does not have it"),
        ((200, JSON, b"[]"), "does not have it"),
        ((200, JSON, b"{}"), "speaks no DICOM JSON"),
        ((200, "text/html", b"<html>"), "speaks no DICOM JSON"),
        ((200, JSON, b'["x"]'), "speaks no DICOM JSON"),
        ((200, JSON, b"[{}]"), "does not have it"),
        ((404, "text/plain", b""), "HTTP 404"),
    ],
)
def test_a_search_that_finds_nothing_or_nonsense_is_told(
    answer: tuple[int, str, bytes], sentence: str, tmp_path: Path
) -> None:
    pull, held = pull_from({INSTANCES: answer}, tmp_path)
    assert (pull.state, held) == (PullState.FAILED, [])
    assert sentence in pull.error


def test_an_archive_that_sends_another_object_than_asked_for_is_found_out(
    tmp_path: Path,
) -> None:
    answers = {INSTANCES: listed(IMAGE), path_of(IMAGE): multipart(part10(OTHER))}
    pull, held = pull_from(answers, tmp_path)
    assert (pull.state, pull.received) == (PullState.FAILED, 0)
    assert "did not send 1 of 1 objects" in pull.error
    assert held == [OTHER.SOPInstanceUID]


def test_what_we_made_ourselves_is_left_there(tmp_path: Path) -> None:
    ours = mammogram(5, SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    answers = {INSTANCES: listed(IMAGE, ours), path_of(IMAGE): multipart(part10(IMAGE))}
    pull, held = pull_from(answers, tmp_path, results=(str(ours.SOPInstanceUID),))
    assert (pull.state, pull.expected) == (PullState.DONE, 1)
    assert IMAGE.SOPInstanceUID in held


def test_classes_that_are_not_taken_are_not_expected(tmp_path: Path) -> None:
    seg = mammogram(5, SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4")
    pull, _ = pull_from({INSTANCES: listed(seg)}, tmp_path)
    assert pull.state is PullState.FAILED
    assert "holds no image of it that is taken here" in pull.error


def test_nothing_is_begun_without_room(tmp_path: Path) -> None:
    answers = {INSTANCES: listed(IMAGE), path_of(IMAGE): multipart(part10(IMAGE))}
    full = {"least_free_bytes": 1 << 60}
    pull, held = pull_from(answers, tmp_path, receive=full, pull={"attempts": 2})
    assert (pull.state, held) == (PullState.QUEUED, [])
    assert "free" in pull.error
    assert pull.next_attempt_at is not None


def test_a_source_that_is_no_longer_configured_is_told(tmp_path: Path) -> None:
    with reception(tmp_path) as server:
        parts = server.pull_parts()
        asked = parts.pulls.add(STUDY, "gone", utc_now())
        Puller(parts).work_once()
        pull = parts.pulls.pull(asked.id)
    assert pull.state is PullState.FAILED
    assert pull.error.startswith("Source gone is not configured")


def test_a_defect_ends_one_pull_and_not_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from oncopixel_pacs.receive.pull import dicomweb

    def defect(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(dicomweb, "find", defect)
    pull, _ = pull_from({}, tmp_path)
    assert pull.state is PullState.FAILED
    assert "Unexpected ZeroDivisionError" in pull.error
