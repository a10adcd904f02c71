"""Results go to a real Orthanc through its REST API."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from answering_server import http_server
from dimse_builder import free_port, mammogram, silent_listener, until, write

from oncopixel_pacs.deliver import OutgoingObject, echo, send
from oncopixel_pacs.deliver.outcome import Outcome
from oncopixel_pacs.errors import DeliveryFailed
from oncopixel_pacs.settings import OrthancDestination


def destination(url: str, **login: Any) -> OrthancDestination:
    return OrthancDestination(type="orthanc", name="orthanc", url=url, **login)


def deliver(items: list[OutgoingObject], target: OrthancDestination) -> list[Outcome]:
    return list(send(items, target, calling_ae_title="ONCOPIXEL", timeout_seconds=20))


def an_object(folder: Path) -> OutgoingObject:
    image = mammogram()
    path = write(image, folder / "a.dcm")
    return OutgoingObject(image.SOPInstanceUID, image.SOPClassUID, path)


PASSWORD = "pixel"  # noqa: S105
SYSTEM = (200, b'{"Version": "1.12"}')


@pytest.mark.parametrize(
    ("answer", "accepted", "permanent", "status"),
    [
        ((200, b'{"ID": "x", "Status": "Success"}'), True, False, "HTTP 200 Success"),
        ((200, b'{"ID": "x", "Status": "AlreadyStored"}'), True, False, "HTTP 200 AlreadyStored"),
        ((200, b'{"ID": "x", "Status": "FilteredOut"}'), False, True, "HTTP 200 FilteredOut"),
        ((200, b"{}"), False, False, ""),
        ((200, b"<html>"), False, False, ""),
        ((400, b'{"OrthancStatus": 15}'), False, True, "HTTP 400"),
        ((507, b""), False, False, "HTTP 507"),
        ((401, b""), False, False, "HTTP 401"),
    ],
)
def test_what_orthanc_says_decides(
    tmp_path: Path, answer: tuple[int, bytes], accepted: bool, permanent: bool, status: str
) -> None:
    with http_server({"/system": SYSTEM, "/instances": answer}) as url:
        (outcome,) = deliver([an_object(tmp_path)], destination(url))
    assert (outcome.accepted, outcome.permanent, outcome.status) == (accepted, permanent, status)
    assert bool(outcome.error) != accepted


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((401, b""), "check user and password"),
        ((404, b""), "HTTP 404"),
        ((200, b"<html>"), "no Orthanc"),
    ],
)
def test_what_is_no_orthanc_of_ours_is_a_passing_failure(
    tmp_path: Path, answer: tuple[int, bytes], sentence: str
) -> None:
    with (
        http_server({"/system": answer}) as url,
        pytest.raises(DeliveryFailed, match=sentence) as caught,
    ):
        deliver([an_object(tmp_path)], destination(url))
    assert not caught.value.permanent


def test_nothing_there_is_a_passing_failure(tmp_path: Path) -> None:
    with pytest.raises(DeliveryFailed, match="nothing answers there"):
        deliver([an_object(tmp_path)], destination(f"http://127.0.0.1:{free_port()}"))


def test_a_listener_that_says_nothing_is_left_after_the_timeout() -> None:
    with silent_listener() as port, pytest.raises(DeliveryFailed, match="nothing answers there"):
        echo(destination(f"http://127.0.0.1:{port}"), calling_ae_title="A", timeout_seconds=0.4)


def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    item = an_object(tmp_path)
    item.path.unlink()
    with http_server({"/system": SYSTEM}) as url:
        (outcome,) = deliver([item], destination(url))
    assert "cannot be read" in outcome.error


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = shutil.which("Orthanc", path=f"/usr/sbin{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("needs the orthanc package")
    folder = tmp_path_factory.mktemp("orthanc")
    port = free_port()
    configuration = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"onco": PASSWORD},
        "Plugins": [],
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        target = destination(f"http://127.0.0.1:{port}", user="onco", password=PASSWORD)
        until(lambda: _answers(target), 60)
        yield target.url
    finally:
        process.terminate()
        process.wait(30)


def _answers(target: OrthancDestination) -> bool:
    try:
        return bool(echo(target, calling_ae_title="A", timeout_seconds=5))
    except DeliveryFailed:
        return False


@pytest.mark.orthanc
def test_a_real_orthanc_stores_an_object_once(orthanc: str, tmp_path: Path) -> None:
    target = destination(orthanc, user="onco", password=PASSWORD)
    item = an_object(tmp_path)
    assert [outcome.status for outcome in deliver([item, item], target)] == [
        "HTTP 200 Success",
        "HTTP 200 AlreadyStored",
    ]


@pytest.mark.orthanc
def test_a_real_orthanc_says_what_is_wrong(orthanc: str, tmp_path: Path) -> None:
    target = destination(orthanc, user="onco", password=PASSWORD)
    assert "Orthanc 1." in echo(target, calling_ae_title="A", timeout_seconds=5)
    with pytest.raises(DeliveryFailed, match="check user and password"):
        echo(destination(orthanc), calling_ae_title="A", timeout_seconds=5)
    path = tmp_path / "b.dcm"
    path.write_bytes(b"no DICOM")
    (outcome,) = deliver([OutgoingObject("1.2.3", "1.2", path)], target)
    assert (outcome.accepted, outcome.permanent, outcome.status) == (False, True, "HTTP 400")
