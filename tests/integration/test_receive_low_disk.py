"""A disk that runs low: new images are refused in time, what is held stays, and it passes."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from api_builders import make_parts, serving
from conftest import Store as Shelf
from dimse_builder import Reception, association, mammogram, reception, store

from oncopixel_pacs.settings import ReceiveSettings
from oncopixel_pacs.store.free_space import FreeSpace, disk_advice

GIB = 1024**3


@dataclass
class Disk:
    """A volume whose free space a test decides."""

    free: int = 6 * GIB

    def __call__(self, _folder: Path) -> int:
        if self.free < 0:
            raise OSError(5, "Input/output error")
        return self.free


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def received(tmp_path: Path, disk: Disk) -> Iterator[Reception]:
    with reception(tmp_path / "data", free_bytes=disk) as running:
        yield running


def test_below_the_watermark_nothing_is_written_and_above_it_all_goes_on(
    received: Reception, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with association(received.port) as assoc:
        assert assoc.send_c_store(mammogram(1)).Status == 0x0000
        held = {path: path.read_bytes() for path in files_of(received)}
        disk.free = 5 * GIB - 1
        with monkeypatch.context() as patch:
            patch.setattr("tempfile.mkstemp", lambda **_: pytest.fail("a file was begun"))
            answer = assoc.send_c_store(mammogram(2, rows=600, columns=600))
        assert answer.Status == 0xA700
        assert answer.ErrorComment.startswith("Disk low: 5.0 GiB free, 5.0 GiB needed")
        assert assoc.send_c_echo().Status == 0x0000
        assert {path: path.read_bytes() for path in files_of(received)} == held
        assert received.stored == [mammogram(1).SOPInstanceUID]
        disk.free = 5 * GIB
        assert assoc.send_c_store(mammogram(2, rows=600, columns=600)).Status == 0x0000
    assert len(received.stored) == 2


def files_of(received: Reception) -> list[Path]:
    return [received.files.absolute(path) for path in received.files.stored_paths()]


def test_a_volume_that_cannot_be_asked_is_one_without_room(received: Reception, disk: Disk) -> None:
    disk.free = -1
    assert store(received.port, mammogram()).Status == 0xA700
    disk.free = 6 * GIB
    assert store(received.port, mammogram()).Status == 0x0000


def test_the_watermark_is_a_setting_and_zero_never_refuses(tmp_path: Path) -> None:
    settings = ReceiveSettings(least_free_bytes=0)
    with reception(tmp_path / "data", free_bytes=Disk(0), receive=settings) as received:
        assert store(received.port, mammogram()).Status == 0x0000


def test_readiness_and_every_page_show_the_alarm_until_there_is_room(
    store: Shelf, disk: Disk
) -> None:
    space = FreeSpace(store.files.data_dir, 5 * GIB, disk)
    with serving(make_parts(store, free_space=space)) as client:
        assert client.get("/health/ready").status_code == 200
        disk.free = GIB
        ready = client.get("/health/ready")
        assert ready.status_code == 503
        assert "Disk low: 1.0 GiB free, 5.0 GiB needed" in ready.json()["detail"]
        assert client.get("/health/live").status_code == 200
        for path in ("/", "/jobs", "/settings", "/docs"):
            assert 'role="alert">Disk low: 1.0 GiB free' in client.get(path).text
        disk.free = 6 * GIB
        assert client.get("/health/ready").status_code == 200
        assert 'role="alert"' not in client.get("/").text


def test_the_real_volume_is_asked(tmp_path: Path) -> None:
    assert FreeSpace(tmp_path, 1).require() > 1
    assert FreeSpace(tmp_path, 1, ask_files=lambda _: None).require() > 1
    no_inodes = FreeSpace(tmp_path, 1, ask_files=lambda _: 999)
    assert no_inodes.alarm().startswith("Inodes low: 999 files can still be made, 1000 are needed")
    assert replace(no_inodes, least_bytes=0).alarm() == ""
    assert FreeSpace(tmp_path, 1 << 62).alarm().startswith("Disk low")
    assert "mount its volume" in FreeSpace(tmp_path / "gone", 1).alarm()


def test_what_to_do_is_told_by_what_the_disk_said() -> None:
    assert disk_advice(OSError(errno.ENOSPC, "")) == "free space or inodes"
    assert "mount it so that it can be written" in disk_advice(OSError(errno.EROFS, ""))
    assert disk_advice(OSError("no number")) == "see the disk of data_dir"
