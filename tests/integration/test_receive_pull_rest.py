"""One object that an archive cannot give, and an archive that falls silent, hold nothing up."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
from dimse_builder import STUDY, free_port, mammogram, reception, utc_now
from integration.test_receive_pull import pulling, source_of
from integration.test_receive_pull_odd import (
    INSTANCES,
    listed,
    multipart,
    part10,
    path_of,
    pull_from,
)
from orthanc_server import running_orthanc
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context

from oncopixel_pacs.domain.pulls import Pull, PullState
from oncopixel_pacs.errors import PullFailed
from oncopixel_pacs.receive.pull import echo
from oncopixel_pacs.receive.pull.cmove import FIND, MOVE
from oncopixel_pacs.receive.pull.puller import Puller
from oncopixel_pacs.settings import Settings

IMAGE, OTHER = mammogram(1), mammogram(2)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((500, "text/plain", b"oops"), "it answered HTTP 500; see its log"),
        ((404, "text/plain", b""), "it answered HTTP 404; see its log"),
        (multipart(part10(IMAGE), end=b""), "was cut short"),
    ],
)
def test_an_object_that_an_archive_cannot_give_is_named_and_the_next_one_comes(
    answer: tuple[int, str, bytes], sentence: str, tmp_path: Path
) -> None:
    answers = {
        INSTANCES: listed(IMAGE, OTHER),
        path_of(IMAGE): answer,
        path_of(OTHER): multipart(part10(OTHER)),
    }
    pull, held = pull_from(answers, tmp_path)
    assert (pull.state, held) == (PullState.PARTIAL, [OTHER.SOPInstanceUID])
    assert pull.error.startswith(f"web did not give an object ({IMAGE.SOPInstanceUID}: ")
    assert sentence in pull.error


@pytest.mark.orthanc
def test_a_file_that_orthanc_lost_is_named_and_the_others_come(tmp_path: Path) -> None:
    with running_orthanc(tmp_path, MaximumStorageCacheSize=0) as orthanc:
        orthanc.store([mammogram(number) for number in range(1, 4)])
        stored = [item for item in (tmp_path / "storage").rglob("*") if item.is_file()]
        listing = orthanc.client.get("/instances").json()
        lost = orthanc.client.get(f"/instances/{listing[0]}/simplified-tags").json()
        uid = str(lost["SOPInstanceUID"])
        next(item for item in stored if _is_image(item, uid)).unlink()
        with pulling(tmp_path / "data", orthanc, source_of(orthanc, "orthanc")) as works:
            pull = works.pull()
    assert (pull.state, pull.expected, pull.received) == (PullState.PARTIAL, 3, 2)
    assert f"{uid}: it answered HTTP 500; see its log" in pull.error


@pytest.mark.orthanc
def test_a_study_that_came_to_orthanc_under_two_patient_ids_is_fetched(tmp_path: Path) -> None:
    with running_orthanc(tmp_path) as orthanc:
        orthanc.store([mammogram(1), mammogram(2, PatientID="P-2")])
        with pulling(tmp_path / "data", orthanc, source_of(orthanc, "orthanc")) as works:
            pull = works.pull()
    assert (pull.state, pull.expected, pull.received) == (PullState.DONE, 2, 2)


@pytest.mark.orthanc
def test_the_move_destination_that_a_pacs_does_not_know_is_named(tmp_path: Path) -> None:
    with running_orthanc(tmp_path) as orthanc:
        orthanc.store([IMAGE])
        source = source_of(orthanc, "cmove", move_destination="NOBODY")
        with pulling(tmp_path / "data", orthanc, source) as works:
            pull = works.pull()
    assert "whether it has NOBODY with our address as move destination" in pull.error


@pytest.mark.orthanc
def test_a_pacs_that_our_own_listener_turns_away_is_named(tmp_path: Path) -> None:
    """Orthanc says of it what it says of an unknown destination."""
    with running_orthanc(tmp_path) as orthanc:
        orthanc.store([IMAGE])
        pull = _pulled(
            tmp_path / "data",
            source_of(orthanc, "cmove"),
            before=lambda port: orthanc.know("ONCOPIXEL", port),
            peers=({"ae_title": "ANOTHER"},),
        )
    assert "whether [[peers]] lets ARCHIVE in" in pull.error


@pytest.mark.orthanc
@pytest.mark.parametrize("kind", ["dicomweb", "orthanc"])
def test_objects_are_not_asked_for_in_a_content_coding(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Orthanc spends two seconds on an image of 17 MB to gzip it, and a tenth to send it."""
    asked: dict[str, str] = {}
    for client in (httpx.Client, requests.Session):
        monkeypatch.setattr(client, "send", _noting(client.send, asked))
    with running_orthanc(tmp_path) as orthanc:
        orthanc.store([IMAGE])
        with pulling(tmp_path / "data", orthanc, source_of(orthanc, kind)) as works:
            assert works.pull().state is PullState.DONE
    last_parts = ("/file", str(IMAGE.SOPInstanceUID))
    objects = [coding for url, coding in asked.items() if url.endswith(last_parts)]
    assert objects == ["identity"]


def test_an_orthanc_that_falls_silent_is_given_up_in_time(tmp_path: Path) -> None:
    """It is stopped, or its disk hangs: connections are taken, and nothing is answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        source = {"type": "orthanc", "name": "archive", "url": url}
        settings = Settings(sources=(source,))
        with pytest.raises(PullFailed, match="cannot be reached"):
            echo(
                settings.sources[0],
                calling_ae_title="ONCOPIXEL",
                timeout_seconds=1,
                tls=settings.tls,
            )
        pull = _pulled(tmp_path, source)
    assert pull.state is PullState.FAILED
    assert "cannot be reached" in pull.error


def test_a_series_that_cannot_be_moved_holds_no_other_up(tmp_path: Path) -> None:
    """An image is lost in the archive; each image of a mammogram is often a series of its own."""
    first = mammogram(1, SeriesInstanceUID=f"{STUDY}.1")
    second = mammogram(2, SeriesInstanceUID=f"{STUDY}.2")
    listener = free_port()
    with _archive_that_lost(first, second, sends_to=listener) as port:
        source = {"type": "cmove", "name": "archive", "host": "127.0.0.1", "ae_title": "ARCHIVE"}
        pull = _pulled(tmp_path, {**source, "port": port}, dimse_port=listener)
    assert (pull.state, pull.expected, pull.received) == (PullState.PARTIAL, 2, 1)
    assert "it could not send to us" in pull.error


def _noting(send: Callable[..., Any], asked: dict[str, str]) -> Callable[..., Any]:
    def noting(client: Any, request: Any, **how: Any) -> Any:
        asked[str(request.url)] = request.headers["Accept-Encoding"]
        return send(client, request, **how)

    return noting


def _is_image(path: Path, uid: str) -> bool:
    content = path.read_bytes()
    return content[128:132] == b"DICM" and uid.encode() in content


@contextmanager
def _archive_that_lost(lost: Dataset, held: Dataset, *, sends_to: int) -> Iterator[int]:
    """Run an archive that finds two images, each a series of its own, and can send the second."""
    images = {str(item.SeriesInstanceUID): item for item in (lost, held)}

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset]]:
        query = event.identifier
        for uid, image in images.items():
            if query.SeriesInstanceUID in ("", uid):
                found = Dataset()
                found.SeriesInstanceUID = uid
                found.SOPInstanceUID = image.SOPInstanceUID
                found.SOPClassUID = image.SOPClassUID
                yield 0xFF00, found

    def move(event: evt.Event) -> Iterator[Any]:
        contexts = [build_context(str(held.SOPClassUID), held.file_meta.TransferSyntaxUID)]
        yield "127.0.0.1", sends_to, {"contexts": contexts}
        yield 1
        if event.identifier.SeriesInstanceUID == lost.SeriesInstanceUID:
            yield 0xA702, None
        else:
            yield 0xFF00, held

    entity = AE("ARCHIVE")
    entity.supported_contexts = [build_context(item) for item in (FIND, MOVE)]
    handlers = [(evt.EVT_C_FIND, find), (evt.EVT_C_MOVE, move)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


def _pulled(
    folder: Path,
    source: dict[str, Any],
    before: Callable[[int], None] = lambda _port: None,
    **options: Any,
) -> Pull:
    pull = {"attempts": 1, "timeout_seconds": 1}
    with reception(folder, sources=(source,), pull=pull, **options) as server:
        before(server.port)
        parts = server.pull_parts()
        asked = parts.pulls.add(STUDY, "archive", utc_now())
        assert Puller(parts).work_once()
        return parts.pulls.pull(asked.id)
