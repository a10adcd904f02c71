"""Receiving holds its own threads on one processor, and no other thread or process."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from dimse_builder import Reception, association, mammogram, reception, until, write
from pydicom import dcmread
from pydicom.uid import JPEGLosslessSV1
from pynetdicom.association import Association

from oncopixel_pacs.receive.guards.store_provider import StoringProvider

ALL = os.sched_getaffinity(0)

pytestmark = pytest.mark.skipif(len(ALL) < 2, reason="there is one processor")


@pytest.fixture
def received(tmp_path: Path) -> Iterator[Reception]:
    with reception(tmp_path / "data") as running:
        yield running


def held() -> set[type[threading.Thread]]:
    """Kinds of threads of this process that are held on one processor."""
    return {
        type(thread)
        for thread in threading.enumerate()
        if thread.native_id is not None and len(os.sched_getaffinity(thread.native_id)) == 1
    }


def send_until_held(assoc: Association) -> None:
    numbers = iter(range(2, 1000))

    def is_held() -> bool:
        assert assoc.send_c_store(mammogram(next(numbers))).Status == 0x0000
        return bool(held())

    until(is_held)


def test_only_the_threads_that_receive_are_held(received: Reception) -> None:
    with association(received.port) as assoc:
        send_until_held(assoc)
        assert held() == {StoringProvider}


def test_a_large_object_is_received_on_all_processors(received: Reception) -> None:
    with association(received.port) as assoc:
        send_until_held(assoc)
        large = mammogram(1, rows=2048, columns=1024)
        assert len(large.PixelData) == 4 << 20
        assert assoc.send_c_store(large).Status == 0x0000
        assert not held()


def test_nor_is_what_decodes_another_encoding(received: Reception, tmp_path: Path) -> None:
    plain, compressed = write(mammogram(), tmp_path / "plain.dcm"), tmp_path / "compressed.dcm"
    subprocess.run(["dcmcjpeg", "+e1", plain, compressed], check=True)
    received.intake.accept_file(plain)
    with association(received.port, syntaxes=(JPEGLosslessSV1,)) as assoc:
        for _ in range(4):
            assert assoc.send_c_store(dcmread(compressed)).Status == 0x0000
            assert not held()
