"""What must not be taken over HTTP: bombs, lies, cut forms, any bytes at all. The server lives."""

from __future__ import annotations

import http.client
import io
import stat
import zipfile
import zlib
from pathlib import Path

import httpx
import numpy as np
import pytest
from api_builders import make_parts, serving
from conftest import Store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mammogram_builder import SCREENING
from PIL import Image
from upload_builders import archive, dicom, encoded, encrypted_archive, png

from oncopixel_pacs.domain import StudyState
from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.store.free_space import FreeSpace

HEADERS = {"X-Requested-With": "test"}
SMALL = {"max_bytes": 4 << 20, "max_unpacked_bytes": 64 << 20, "max_zip_entries": 50}


def post(client: httpx.Client, name: str, content: bytes) -> httpx.Response:
    return client.post("/api/v1/images", files={"file": (name, content)}, headers=HEADERS)


def refused(store: Store, client: httpx.Client, answer: httpx.Response, status: int) -> str:
    """Check that the answer is a problem, and that nothing is left of the upload."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert store.catalogue.counts() == {}
    assert list(store.files.incoming.iterdir()) == []
    assert client.get("/health/live").status_code == 200
    return str(answer.json()["detail"])


def png_bomb(side: int) -> bytes:
    """Announce side x side pixels of 16 bits, all zero, in a few kilobytes."""
    rows = zlib.compressobj(9)
    line = b"\0" * (1 + 2 * side)
    data = b"".join(rows.compress(line) for _ in range(min(side, 2000))) + rows.flush()
    header = side.to_bytes(4, "big") * 2 + b"\x10\0\0\0\0"

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + kind + body + check

    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def link_archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        info = zipfile.ZipInfo("a.dcm")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(info, "/etc/passwd")
    return out.getvalue()


ZEROS = b"\0" * (40 << 20)
HOSTILE = {
    "empty file": ("a.png", b"", 400, "empty"),
    "unknown ending": ("a.exe", b"MZ" + b"x" * 200, 415, ".exe"),
    "no kind": ("a", b"x" * 200, 415, "no known kind"),
    "name lies": ("a.png", encoded(Image.new("L", (9, 9)), "JPEG"), 415, "holds JPEG"),
    "bytes lie": ("a.dcm", b"x" * 200, 415, "does not begin as one"),
    "too many pixels": ("a.png", png_bomb(60_000), 413, "60000 x 60000"),
    "damaged picture": ("a.png", png()[:4000], 422, "damaged"),
    "DICOM cut in its header": ("a.dcm", b"\0" * 128 + b"DICM" + b"\2\0", 422, "parsed"),
    "not a zip": ("a.zip", b"PK\3\4" + b"x" * 99, 422, "damaged"),
    "zip bomb": ("a.zip", archive({"a.dcm": ZEROS}), 413, "times its size"),
    "zip too large": ("a.zip", archive({"a": ZEROS, "b": ZEROS}), 413, "64 MiB"),
    "zip of zip": ("a.zip", archive({"b.zip": archive({"a": b"x"})}), 422, "another archive"),
    "zip slip": ("a.zip", archive({"../../a.dcm": b"x"}), 422, "lead out"),
    "absolute name": ("a.zip", archive({"/etc/a.dcm": b"x"}), 422, "lead out"),
    "link": ("a.zip", link_archive(), 422, "links"),
    "encrypted": ("a.zip", encrypted_archive(b"x" * 200), 422, "encrypted"),
    "no DICOM in it": ("a.zip", archive({"a.txt": b"x"}), 422, "no DICOM file"),
    "many entries": ("a.zip", archive({str(n): b"x" for n in range(60)}), 413, "60 entries"),
    "strange method": ("a.zip", archive({"a.dcm": b"x"}, zipfile.ZIP_LZMA), 422, "deflate"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_it_is_refused_with_a_sentence_and_nothing_is_left(store: Store, case: str) -> None:
    name, content, status, word = HOSTILE[case]
    with serving(make_parts(store, upload=SMALL)) as client:
        assert word in refused(store, client, post(client, name, content), status)


def test_one_bad_file_refuses_the_good_ones_beside_it(store: Store) -> None:
    files = [("file", ("good.png", png())), ("file", ("bad.png", png()[:4000]))]
    with serving(make_parts(store)) as client:
        answer = client.post("/api/v1/images", files=files, headers=HEADERS)
        assert "bad.png" in refused(store, client, answer, 422)


def test_too_long_a_body_is_refused_before_and_while_it_comes(store: Store) -> None:
    with serving(make_parts(store, upload={"max_bytes": 100_000})) as client:
        answer = post(client, "a.png", b"x" * 200_000)
        assert "longer than" in refused(store, client, answer, 413)
        pieces = (b"--b\r\n" if n == 0 else b"x" * 50_000 for n in range(5))
        headers = {**HEADERS, "Content-Type": "multipart/form-data; boundary=b"}
        answer = client.post("/api/v1/images", content=pieces, headers=headers)
        assert answer.status_code in (400, 413)


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("multipart/form-data", b"", 400),
        ("multipart/form-data; boundary=b", b"", 400),
        ("multipart/form-data; boundary=b", b"nonsense", 400),
        ("multipart/form-data; boundary=b", b"--b\r\nX: y\r\n\r\nz\r\n--b--\r\n", 400),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\nhalf',
            400,
        ),
        ("multipart/form-data; boundary=b", b"--b--\r\n", 400),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="view"\r\n\r\n'
            + b"C" * 2000
            + b"\r\n--b--\r\n",
            413,
        ),
    ],
)
def test_a_form_that_is_none_is_refused(
    store: Store, content_type: str, body: bytes, status: int
) -> None:
    headers = {**HEADERS, "Content-Type": content_type}
    with serving(make_parts(store)) as client:
        answer = client.post("/api/v1/images", content=body, headers=headers)
        refused(store, client, answer, status)


def test_a_sender_that_falls_silent_is_told_so_and_leaves_nothing(store: Store) -> None:
    with serving(make_parts(store, upload={"stall_seconds": 0.3})) as client:
        line = http.client.HTTPConnection(client.base_url.host, client.base_url.port, timeout=20)
        line.putrequest("POST", "/api/v1/images")
        for name, value in {
            **HEADERS,
            "Content-Type": "multipart/form-data; boundary=b",
            "Content-Length": "100000",
        }.items():
            line.putheader(name, value)
        line.endheaders(b"--b\r\n")
        answer = line.getresponse()
        assert answer.status == 408
        line.close()
        assert list(store.files.incoming.iterdir()) == []


def test_without_room_nothing_is_read(store: Store) -> None:
    space = FreeSpace(store.files.data_dir, 1 << 30, ask=lambda _: 5)
    with pytest.raises(OutOfResources):
        space.require()
    with serving(make_parts(store, free_space=space)) as client:
        assert "Disk low" in refused(store, client, post(client, "a.png", png()), 507)


def test_more_uploads_at_a_time_than_allowed_are_told_to_come_again(store: Store) -> None:
    limits = {"at_once": 1, "stall_seconds": 20}
    with serving(make_parts(store, upload=limits)) as client:
        line = http.client.HTTPConnection(client.base_url.host, client.base_url.port, timeout=20)
        line.putrequest("POST", "/api/v1/images")
        line.putheader("X-Requested-With", "test")
        line.putheader("Content-Type", "multipart/form-data; boundary=b")
        line.putheader("Content-Length", "100000")
        line.endheaders(b"--b\r\n")
        answers = (post(client, "a.png", png()) for _ in range(100))
        busy = next(answer for answer in answers if answer.status_code == 503)
        assert busy.headers["Retry-After"]
        line.close()
        answers = (post(client, "a.png", png()) for _ in range(200))
        assert next(answer for answer in answers if answer.status_code == 202)


def test_a_form_of_another_site_uploads_nothing(store: Store) -> None:
    with serving(make_parts(store)) as client:
        files = {"file": ("a.png", png())}
        answer = client.post("/upload", files=files, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403
    assert store.catalogue.counts() == {}


STARTS = st.sampled_from(
    [b"", b"\0" * 128 + b"DICM", b"PK\3\4", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0"]
)
NAMES = st.sampled_from(["a", "a.dcm", "a.zip", "a.png", "a.jpg", "a.tif", "../../a", "é.DCM", ""])
BOUNDED = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def test_any_bytes_as_a_file_never_break_the_server(store: Store, tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    good = dicom(tmp_path / "good", SCREENING[0])
    with serving(make_parts(store, upload=SMALL)) as client:

        @BOUNDED
        @given(NAMES, STARTS, st.binary(max_size=400))
        def upload(name: str, start: bytes, rest: bytes) -> None:
            answer = post(client, name, start + rest)
            assert answer.status_code < 500, answer.text
            assert list(store.files.incoming.iterdir()) == []

        @BOUNDED
        @given(st.integers(0, len(good) - 1), st.binary(min_size=1, max_size=8))
        def upload_damaged(place: int, damage: bytes) -> None:
            content = good[: place % 2500] + damage + good[place % 2500 + len(damage) :]
            assert post(client, "a.dcm", content).status_code < 500

        upload()
        upload_damaged()
        assert post(client, "a.dcm", good).status_code == 202
    assert StudyState.RECEIVING in store.catalogue.counts()


def test_any_body_of_a_form_never_breaks_the_server(store: Store) -> None:
    headers = {**HEADERS, "Content-Type": "multipart/form-data; boundary=b"}
    pieces = st.lists(
        st.one_of(
            st.sampled_from([b"--b", b"--b--", b"\r\n", b"\r\n\r\n", b'filename="a"', b"\n"]),
            st.just(b'Content-Disposition: form-data; name="file"; filename="a.png"'),
            st.binary(max_size=30),
        ),
        max_size=20,
    )
    with serving(make_parts(store)) as client:

        @BOUNDED
        @given(pieces)
        def upload(body: list[bytes]) -> None:
            answer = client.post("/api/v1/images", content=b"".join(body), headers=headers)
            assert answer.status_code < 500, answer.text

        upload()
        assert list(store.files.incoming.iterdir()) == []


def test_a_picture_within_the_limit_of_pixels_is_taken_however_empty(store: Store) -> None:
    black = encoded(Image.fromarray(np.zeros((3000, 3000), np.uint16)), "PNG")
    with serving(make_parts(store)) as client:
        assert post(client, "black.png", black).status_code == 202
