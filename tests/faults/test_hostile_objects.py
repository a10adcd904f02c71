"""Objects that lie about themselves: answered with a reason or cut off, and kept nowhere."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from dimse_builder import Reception, mammogram, reception, store, until
from pydicom.uid import (
    ComprehensiveSRStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalMammographyXRayImageStorageForProcessing,
)
from pynetdicom.dsutils import encode

from benchmarks.attackers import (
    MIB,
    answer_to,
    associate,
    closing_all,
    connect,
    request_association,
    resident_bytes,
    store_request,
)
from oncopixel_pacs.receive.limits import Limits

#: The server silences these when it starts; each test begins with the filters of pytest.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

UID = str(mammogram().SOPInstanceUID)
LONG = "1." * 40 + "1"


@pytest.fixture(scope="module")
def received(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reception]:
    limits = Limits(pdu_seconds=2.0, idle_seconds=1.5, dataset_bytes=4 * MIB)
    with reception(tmp_path_factory.mktemp("lied-to"), limits) as running:
        yield running


def body(**changes: Any) -> bytes:
    """Encode a mammogram in Explicit VR Little Endian, values as they are."""
    image = mammogram()
    for keyword, value in changes.items():
        image[keyword]._value = value
    encoded = encode(image, False, True)
    assert encoded
    return encoded


def nested(depth: int) -> bytes:
    """Encode a mammogram with sequences in sequences before its pixels."""
    image = mammogram()
    del image.PixelData
    head = encode(image, False, True) or b""
    begin = struct.pack(
        "<HH2sHLHHL", 0x4008, 0x0050, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    end = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return head + begin * depth + end * depth


#: Data set and command of a C-STORE, and the answers that are right; None: the line is cut.
HOSTILE: dict[str, tuple[bytes, dict[str, bytes], set[int | None]]] = {
    "path as UID in the command": (body(), {"instance": b"../../../etc/passwd"}, {0xC000, None}),
    "absolute path in the command": (body(), {"instance": b"/tmp/x"}, {0xC000, None}),
    "UID over 64 characters in the command": (body(), {"instance": LONG.encode()}, {0xC000, None}),
    "zero byte in a UID of the command": (
        body(),
        {"instance": b"1.2\0/.3"},
        {0xC000, 0xA900, None},
    ),
    "no UID in the command": (body(), {"instance": b""}, {0xC000, 0xA900, None}),
    "text as UID in the command": (body(), {"instance": b"\xff\xfe<b>"}, {0xC000, None}),
    "another UID in the command": (body(), {"instance": b"1.2.3"}, {0xA900}),
    "another class in the command": (
        body(),
        {"sop_class": DigitalMammographyXRayImageStorageForProcessing.encode()},
        {0xA900, 0x0122, None},
    ),
    "another class in the data set": (
        body(SOPClassUID=DigitalMammographyXRayImageStorageForProcessing),
        {},
        {0xA900},
    ),
    "a class that was not negotiated": (
        body(SOPClassUID=ComprehensiveSRStorage),
        {"sop_class": ComprehensiveSRStorage.encode()},
        {0xA900, 0x0122, None},
    ),
    "path as study UID": (body(StudyInstanceUID="../../x"), {}, {0xC000}),
    "study UID over 64 characters": (body(StudyInstanceUID=LONG), {}, {0xC000}),
    "odd characters in the series UID": (body(SeriesInstanceUID="1.2;DROP"), {}, {0xC000}),
    "path as UID in both": (
        body(SOPInstanceUID="../x"),
        {"instance": b"../x"},
        {0xC000, None},
    ),
    "sequences 300 deep": (nested(300), {}, {0xC000}),
    "sequences 20000 deep": (nested(20_000), {}, {0xC000}),
    "an empty data set": (b"", {}, {0xC000, 0xA700, None}),
    "junk": (bytes(range(256)) * 64, {}, {0xC000}),
    "compressed junk": (zlib.compress(bytes(MIB)), {}, {0xC000}),
    "over the limit": (body() + bytes(5 * MIB), {}, {0xA700}),
    "data set that ends in its header": (body()[:200], {}, {0xC000}),
    "pixels that end too early": (body()[:-1000], {}, {0x0000, 0xC000}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_object_is_refused_and_harms_nothing(received: Reception, name: str) -> None:
    dataset, command, answers = HOSTILE[name]
    command = {"instance": UID.encode(), **command}
    before = every_file(received)
    memory = resident_bytes()
    with closing_all([associate(received.port)]) as (sock,):
        sock.sendall(store_request(dataset, **command))
        assert answer_to(sock) in answers
    until(lambda: not received.leftovers)
    assert resident_bytes() - memory < 60 * MIB
    if 0x0000 not in answers:
        assert every_file(received) == before
    assert store(received.port, mammogram(2)).Status == 0x0000


def every_file(received: Reception) -> set[Path]:
    folder = received.files.data_dir.parent
    return {path for path in folder.rglob("*") if path.is_file() and "sqlite" not in path.name} - {
        received.files.absolute(path)
        for path in received.files.stored_paths()
        if "instances" in str(path)
    }


def test_a_deflate_bomb_does_no_harm(received: Reception) -> None:
    """A megabyte that inflates to a gigabyte: refused at negotiation, or inflated with bounds."""
    bomb = zlib.compressobj(9, wbits=-15)
    stream = BytesIO(bomb.compress(body()))
    stream.seek(0, 2)
    for _ in range(1024):
        stream.write(bomb.compress(bytes(MIB)))
    stream.write(bomb.flush())
    memory = resident_bytes()
    with closing_all([connect(received.port)]) as (sock,):
        if request_association(sock, DeflatedExplicitVRLittleEndian):
            sock.sendall(store_request(stream.getvalue(), instance=UID.encode()))
            assert answer_to(sock) not in (None, 0xC001)
    assert resident_bytes() - memory < 60 * MIB
    assert store(received.port, mammogram(2)).Status == 0x0000
