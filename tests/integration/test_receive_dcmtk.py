"""dcmtk's storescu as a modality, and the order of system calls behind its success."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dimse_builder import Reception, cut, mammogram, reception, until, write
from pydicom.uid import ImplicitVRLittleEndian, JPEGLosslessSV1

# pynetdicom installs a script of the same name beside the interpreter.
_SCRIPTS = Path(sys.executable).parent
_PATH = os.pathsep.join(
    item for item in os.get_exec_path() if Path(item).resolve() != _SCRIPTS.resolve()
)
STORESCU = shutil.which("storescu", path=_PATH)

pytestmark = [
    pytest.mark.dcmtk,
    pytest.mark.skipif(STORESCU is None, reason="needs the dcmtk package"),
]


@pytest.fixture
def received(tmp_path: Path) -> Iterator[Reception]:
    with reception(tmp_path / "data") as running:
        yield running


def storescu(port: int, *arguments: str | Path, called: str = "ONCOPIXEL") -> tuple[int, str]:
    assert STORESCU is not None
    command = [STORESCU, "-v", "-aet", "ROOM1", "-aec", called, "127.0.0.1", str(port)]
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_images_are_stored(received: Reception, tmp_path: Path) -> None:
    paths = [write(mammogram(number), tmp_path / f"{number}.dcm") for number in range(1, 6)]
    code, output = storescu(received.port, *paths)
    assert code == 0, output
    assert output.count("Received Store Response (Success)") == 5
    assert len(received.stored) == 5


def test_implicit_vr_is_stored(received: Reception, tmp_path: Path) -> None:
    image = mammogram()
    image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    code, output = storescu(received.port, write(image, tmp_path / "a.dcm"))
    assert code == 0, output
    (instance,) = received.catalogue.studies().items[0].instances
    assert instance.facts.rows == 32


def test_a_sender_that_breaks_off_leaves_nothing(received: Reception, tmp_path: Path) -> None:
    # storescu sees only while it sends that the pixels are cut short, and aborts.
    path = cut(write(mammogram(), tmp_path / "a.dcm"), 500)
    code, output = storescu(received.port, path)
    assert code != 0
    assert "Aborting Association" in output
    until(lambda: not received.leftovers)
    assert not received.stored


def test_an_object_without_a_study_is_refused_with_the_status(
    received: Reception, tmp_path: Path
) -> None:
    image = mammogram(StudyInstanceUID=None)
    _, output = storescu(received.port, write(image, tmp_path / "a.dcm"))
    assert re.search("0xc000|CannotUnderstand", output, re.IGNORECASE), output
    assert not received.stored


def test_a_wrong_called_title_is_told(received: Reception, tmp_path: Path) -> None:
    code, output = storescu(received.port, write(mammogram(), tmp_path / "a.dcm"), called="OTHER")
    assert code != 0
    assert "Called AE Title Not Recognized" in output


DATA = os.environ.get("ONCOPIXEL_DATA")


@pytest.mark.skipif(DATA is None, reason="ONCOPIXEL_DATA names no folder with data sets")
def test_a_real_mammogram_in_lossless_jpeg_is_stored(received: Reception) -> None:
    assert DATA is not None
    code, output = storescu(received.port, "-xs", Path(DATA, "dicom_mg", "fo-dicom_GH133.dcm"))
    assert code == 0, output
    (instance,) = received.catalogue.studies().items[0].instances
    assert instance.facts.transfer_syntax_uid == JPEGLosslessSV1
    assert instance.facts.has_pixel_data


SERVER = """
import sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from dimse_builder import reception
with reception(Path(sys.argv[1])) as received:
    print(received.port, flush=True)
    sys.stdin.readline()
"""


def _can_trace() -> bool:
    strace = shutil.which("strace")
    if strace is None:
        return False
    return subprocess.run([strace, "-o", "/dev/null", "true"], check=False).returncode == 0


def _found(step: str, log: str, begin: int) -> int:
    """Where a step of the trace ends."""
    found = re.compile(step).search(log, begin)
    assert found, f"{step} is missing, or came too early"
    return found.end()


@pytest.mark.skipif(not _can_trace(), reason="needs strace and the right to trace")
def test_success_leaves_only_after_file_name_folder_and_row_are_on_disk(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    calls = "fsync,fdatasync,link,linkat,rename,renameat,renameat2,sendto,openat"
    server = subprocess.Popen(
        ["strace", "-f", "-y", "-s", "300", "-e", f"trace={calls}", "-o", trace]
        + [sys.executable, "-c", SERVER, str(tmp_path / "data"), str(Path(__file__).parents[1])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    port = int(server.stdout.readline())
    code, output = storescu(port, write(mammogram(), tmp_path / "a.dcm"))
    server.communicate("\n", timeout=60)
    assert code == 0, output
    log = trace.read_text(errors="replace")
    # The name first: no promise yet, and a journal takes name and bytes in one go.
    link = re.search(r"link\w*\(.*/incoming/(?P<file>\w+)\.part.*/instances/", log)
    assert link, "no name is given to the file"
    file = link["file"]
    wal = _found(r"f(?:data)?sync\(\d+<[^>]*oncopixel\.sqlite-wal>", log, link.end())
    # Bytes and folder are synced by two threads, either of them first.
    for step in (
        rf"fsync\(\d+<[^>]*/incoming/{file}\.part[^>]*>",
        r"fsync\(\d+<[^>]*/instances/\w+>",
    ):
        assert _found(step, log, link.end()) <= wal, f"{step} came after the row"
    # P-DATA-TF that carries a command with status 0x0000: the C-STORE response.
    _found(r"sendto\(\d+<[^>]*>, \"\\4\\0\\0\\0.*\\200", log, wal)
