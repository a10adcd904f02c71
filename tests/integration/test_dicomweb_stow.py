"""Images sent by STOW-RS: each is safe or refused with its reason, whatever surrounds it."""

from __future__ import annotations

import socket
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from conftest import Store
from dicomweb_client import DICOMwebClient
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from report_builders import STUDY_UID, mammogram, save
from stow_builder import INSTANCE, OTHER, REFERENCED, RELATED, body_of, post, reasons, taking
from workflow_builder import until

from oncopixel_pacs.domain import Laterality, View
from oncopixel_pacs.receive.stow_parts import StowLimits
from oncopixel_pacs.store.free_space import FreeSpace
from oncopixel_pacs.store.search import Criteria, Search


def a_file(folder: Path, view: View = View.CC, **changes: Any) -> bytes:
    """Part 10 file of a mammogram; `changes` override attributes of its header."""
    dataset = mammogram(Laterality.RIGHT, view)
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    return save(dataset, folder).read_bytes()


def held(store: Store) -> set[str]:
    """SOP Instance UIDs that have a row, every one of them with its bytes."""
    found = Search(store.database).objects(Criteria())
    assert all(store.files.absolute(item.path).is_file() for item in found)
    return {item.sop_instance_uid for item in found}


def left_over(store: Store) -> list[Path]:
    return list(store.files.incoming.iterdir())


def test_a_client_stores_and_finds_what_it_stored(store: Store, tmp_path: Path) -> None:
    datasets = [dcmread(BytesIO(a_file(tmp_path, view))) for view in (View.CC, View.MLO)]
    with taking(store) as client:
        sender = DICOMwebClient(str(client.base_url).rstrip("/"))
        answer = sender.store_instances(datasets)
        assert answer.RetrieveURL.endswith(f"/dicom-web/studies/{STUDY_UID}")
        assert {item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence} == held(
            store
        )
        assert "FailedSOPSequence" not in answer
        for item in answer.ReferencedSOPSequence:
            fetched = client.get(
                str(item.RetrieveURL), headers={"Accept": "application/dicom; transfer-syntax=*"}
            )
            assert fetched.status_code == 200
        (found,) = sender.search_for_studies(search_filters={"PatientID": "P-1"})
        assert Dataset.from_json(found).NumberOfStudyRelatedInstances == 2
    assert left_over(store) == []


def test_a_resent_object_is_a_success_and_stays_one_object(store: Store, tmp_path: Path) -> None:
    file = a_file(tmp_path)
    with taking(store) as client:
        for _ in range(2):
            answer = post(client, body_of([file]))
            assert answer.status_code == 200
            assert len(answer.json()[REFERENCED]["Value"]) == 1
        both = post(client, body_of([file, file]))
        assert both.status_code == 200
    assert len(held(store)) == 1


def test_good_objects_are_stored_beside_bad_ones_each_with_its_reason(
    store: Store, tmp_path: Path
) -> None:
    good = a_file(tmp_path)
    foreign_class = a_file(tmp_path, SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1")
    no_study = dcmread(BytesIO(a_file(tmp_path, View.MLO)))
    del no_study.StudyInstanceUID
    out = BytesIO()
    dcmwrite(out, no_study)
    files = [foreign_class, b"no DICOM at all", good, out.getvalue(), good[:900]]
    with taking(store) as client:
        answer = post(client, body_of(files))
    assert answer.status_code == 202
    assert answer.headers["content-type"] == "application/dicom+json"
    assert reasons(answer) == [0x0122, 0xC000]
    assert reasons(answer, OTHER) == [0xC000, 0xC000]
    (stored,) = answer.json()[REFERENCED]["Value"]
    assert {stored[INSTANCE]["Value"][0]} == held(store)
    assert left_over(store) == []


def test_when_no_object_is_taken_it_is_a_conflict(store: Store) -> None:
    with taking(store) as client:
        answer = post(client, body_of([b"nothing"]))
    assert answer.status_code == 409
    assert reasons(answer, OTHER) == [0xC000]


def test_an_object_of_another_study_fails(store: Store, tmp_path: Path) -> None:
    with taking(store) as client:
        other = post(client, body_of([a_file(tmp_path)]), "/studies/1.2.3")
        same = post(client, body_of([a_file(tmp_path)]), f"/studies/{STUDY_UID}")
    assert (other.status_code, reasons(other)) == (409, [43264])
    assert same.status_code == 200


@pytest.mark.parametrize(
    ("content_type", "content", "status"),
    [
        ("application/json", b"{}", 415),
        ("multipart/form-data; boundary=frontier", b"", 415),
        ('multipart/related; type="application/dicom+json"; boundary=frontier', b"", 415),
        ('multipart/related; type="application/dicom"', b"", 400),
        (RELATED, b"", 400),
        (RELATED, b"--frontier--\r\n", 400),
        (RELATED, b"--other\r\n\r\nx\r\n--other--\r\n", 400),
        (RELATED, b"--frontier\r\nContent-Type: application/dicom\r\n\r\nhalf an obj", 400),
        (RELATED, b"--frontier\r\nbad header\r\n\r\nx\r\n--frontier--\r\n", 400),
        (RELATED, b"--frontier\r\nA: " + b"a" * 100_000 + b"\r\n\r\nx\r\n--frontier--", 400),
        (RELATED, body_of([b"x"], "application/dicom+xml"), 415),
        (f"multipart/related; boundary={'b' * 300}", b"--" + b"b" * 300, 400),
    ],
)
def test_what_is_no_such_body_is_a_problem(
    store: Store, content_type: str, content: bytes, status: int
) -> None:
    with taking(store) as client:
        answer = client.post(
            "/studies",
            content=content,
            headers={"Content-Type": content_type, "X-Requested-With": "test"},
        )
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert held(store) == set()
    assert left_over(store) == []


def test_what_was_complete_before_an_error_stays_and_is_told(store: Store, tmp_path: Path) -> None:
    broken = body_of([a_file(tmp_path), a_file(tmp_path, View.MLO)])[:-100]
    with taking(store) as client:
        answer = post(client, broken)
    assert answer.status_code == 400
    assert "1 object before was stored." in answer.json()["detail"]
    assert len(held(store)) == 1
    assert left_over(store) == []


def test_a_sender_that_leaves_in_the_middle_leaves_nothing_half(
    store: Store, tmp_path: Path
) -> None:
    file = a_file(tmp_path)
    other = a_file(tmp_path, View.MLO) + bytes(3 << 20)
    sent = body_of([file, other])[: -(2 << 20)]
    with taking(store) as client:
        port = client.base_url.port
        assert port is not None
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.sendall(
                f"POST /dicom-web/studies HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                f"Content-Type: {RELATED}\r\nContent-Length: {len(sent) + 1000}\r\n\r\n".encode()
                + sent
            )
            until(lambda: len(held(store)) == 1 and left_over(store))
        until(lambda: left_over(store) == [])
    assert len(held(store)) == 1


def test_a_sender_that_stops_in_the_middle_is_not_waited_for(store: Store, tmp_path: Path) -> None:
    with taking(store, limits=StowLimits(idle_seconds=0.2)) as client:
        port = client.base_url.port
        assert port is not None
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.sendall(
                f"POST /dicom-web/studies HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                f"Content-Type: {RELATED}\r\nContent-Length: 1000\r\n\r\n--frontier".encode()
            )
            line.settimeout(10)
            assert b" 408 " in line.recv(200)
    assert left_over(store) == []


def test_a_sender_that_goes_on_byte_by_byte_is_not_waited_for_either(store: Store) -> None:
    """Eight of them kept everybody out, each with a byte a minute."""
    with taking(store, limits=StowLimits(idle_seconds=0.5)) as client:
        port = client.base_url.port
        assert port is not None
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.sendall(
                f"POST /dicom-web/studies HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                f"Content-Type: {RELATED}\r\nContent-Length: 1000\r\n\r\n--frontier".encode()
            )
            line.settimeout(0.1)  # between one byte and the next
            assert b" 408 " in answer_to(line, b"x" * 100)
    assert left_over(store) == []


def answer_to(line: socket.socket, content: bytes) -> bytes:
    """Send byte by byte until there is an answer."""
    for byte in content:
        line.sendall(bytes([byte]))
        with suppress(TimeoutError):
            return line.recv(200)
    raise AssertionError("it was never answered")


def test_too_much_is_refused_and_no_more_is_read(store: Store, tmp_path: Path) -> None:
    file = a_file(tmp_path)
    whole = body_of([file])
    limits = StowLimits(total_bytes=len(whole), parts=1, part_bytes=len(file))
    with taking(store, limits=limits) as client:
        assert post(client, whole).status_code == 200
        assert post(client, whole + b"x").status_code == 413
        chunked = post(client, iter([whole, b"x" * 100]))
        assert chunked.status_code == 413
    more = StowLimits(parts=1)
    with taking(store, limits=more) as client:
        answer = post(client, body_of([file, file]))
        assert answer.status_code == 413
        assert "1 object before was stored." in answer.json()["detail"]
    assert left_over(store) == []


def test_an_object_that_is_too_large_fails_and_the_next_is_stored(
    store: Store, tmp_path: Path
) -> None:
    file = a_file(tmp_path)
    with taking(store, limits=StowLimits(part_bytes=len(file))) as client:
        answer = post(client, body_of([bytes(len(file) + 1), file]))
    assert answer.status_code == 202
    assert reasons(answer, OTHER) == [42752]
    assert len(held(store)) == 1
    assert left_over(store) == []


def test_low_disk_refuses_before_anything_is_read_and_later_by_object(
    store: Store, tmp_path: Path
) -> None:
    file = a_file(tmp_path)
    free = iter([0, 10, 10, 0])
    space = FreeSpace(store.files.data_dir, 5, lambda _: next(free))
    with taking(store, space=space) as client:
        refused = post(client, body_of([file]))
        assert refused.status_code == 503
        assert "Disk low" in refused.json()["detail"]
        partly = post(client, body_of([file, file]))
    assert partly.status_code == 202
    assert reasons(partly, OTHER) == [42752]
    assert len(held(store)) == 1


def test_a_disk_that_fails_is_told_and_nothing_is_acknowledged(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.files, "place", full)
    with taking(store) as client:
        answer = post(client, body_of([a_file(tmp_path)]))
    assert (answer.status_code, reasons(answer)) == (409, [42752])
    assert held(store) == set()
    assert left_over(store) == []


def test_a_page_of_another_site_cannot_store(store: Store, tmp_path: Path) -> None:
    body = body_of([a_file(tmp_path)])
    with taking(store) as client:
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            assert post(client, body, **headers).status_code == 403
    assert held(store) == set()


def test_parts_come_out_whole_however_the_body_is_cut(store: Store, tmp_path: Path) -> None:
    # Bytes that look like the beginning of a boundary, across every cut.
    tricky = b"\r\n--frontie\r\n--frontier"[:-1] + b"\r" * 7 + b"\r\n-" * 5
    dataset = dcmread(BytesIO(a_file(tmp_path)))
    dataset.add_new(0x00091001, "UN", tricky + b" " * (len(tricky) % 2))
    dataset.add_new(0x00090010, "LO", "TEST")
    out = BytesIO()
    dcmwrite(out, dataset)
    whole = body_of([out.getvalue(), a_file(tmp_path, View.MLO)])
    at = whole.index(tricky)
    with taking(store) as client:
        for cut in range(at - 3, at + len(tricky) + 3, 2):
            assert post(client, iter([whole[:cut], whole[cut:]])).status_code == 200
    assert len(held(store)) == 2


def test_a_large_object_is_never_in_memory_as_a_whole(store: Store, tmp_path: Path) -> None:
    head, _, _ = body_of([a_file(tmp_path) + b"\0\0"]).rpartition(b"\r\n--")
    mebibyte = bytes(1 << 20)

    def body() -> Iterator[bytes]:
        # What follows the pixels is one more element, 64 MiB long.
        element = b"\xfc\xff\xfc\xffOB\0\0" + (64 << 20).to_bytes(4, "little")
        yield head[:-2] + element
        for _ in range(64):
            yield mebibyte
        yield b"\r\n--frontier--\r\n"

    with taking(store) as client:
        tracemalloc.start()
        answer = post(client, body())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert answer.status_code == 200
    assert max(item.stat().st_size for item in tmp_path.rglob("*.dcm")) > 64 << 20
    assert peak < 16 << 20
