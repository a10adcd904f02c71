"""A disk that fails under a running listener: system calls that answer with errors."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dimse_builder import mammogram, store, until
from listener_process import Listener, listener_process


def _can_trace() -> bool:
    strace = shutil.which("strace")
    if strace is None:
        return False
    return subprocess.run([strace, "-o", "/dev/null", "true"], check=False).returncode == 0


pytestmark = pytest.mark.skipif(not _can_trace(), reason="needs strace and the right to trace")

#: What the kernel answers, and to which calls.
FAULTS = {
    "the bytes cannot be synced": "fsync:error=EIO",
    "the disk is full when the name is made": "link,linkat,rename,renameat,renameat2:error=ENOSPC",
    "the volume has become read-only": "link,linkat,rename,renameat,renameat2:error=EROFS",
    "the log of the database cannot be synced": "fdatasync,fsync:error=EIO",
    "the database finds no room": "write,pwrite64,pwritev:error=ENOSPC",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("disk")


@pytest.fixture(scope="module")
def listener(folder: Path) -> Iterator[Listener]:
    with listener_process(folder / "data") as running:
        yield running


@contextmanager
def failing(listener: Listener, fault: str, folder: Path) -> Iterator[None]:
    """Let some system calls of a running process fail on files of its own."""
    said = folder / "strace.log"
    calls = fault.partition(":")[0]
    paths = _files_to_fail(folder, calls)
    with said.open("wb") as errors:
        tracer = subprocess.Popen(
            [
                *("strace", "-f", "-o", "/dev/null", "-p", str(listener.pid)),
                *("-e", f"trace={calls}", "-e", f"inject={fault}"),
                *(f"--trace-path={path}" for path in paths),
            ],
            stderr=errors,
        )
    try:
        until(lambda: b"attached" in said.read_bytes())
        yield
    finally:
        tracer.terminate()
        tracer.wait(20)


def _files_to_fail(folder: Path, calls: str) -> list[Path]:
    """Paths without which a socket would fail too."""
    if "pwrite64" not in calls:
        return []
    data = folder / "data"
    return [data / "incoming", *data.rglob("*.sqlite*")]


@pytest.mark.parametrize("name", FAULTS)
def test_nothing_is_acknowledged_that_the_disk_did_not_take(
    listener: Listener, folder: Path, name: str
) -> None:
    number = 10 * (1 + list(FAULTS).index(name))
    assert store(listener.port, mammogram(number)).Status == 0x0000
    with failing(listener, FAULTS[name], folder):
        refused = store(listener.port, mammogram(number + 1))
    assert refused.Status == 0xA700, name
    assert refused.ErrorComment
    # The same sender, the same object, once the disk is well.
    assert store(listener.port, mammogram(number + 1)).Status == 0x0000
    assert store(listener.port, mammogram(number + 2)).Status == 0x0000
