"""A tomosynthesis object of a gigabyte arrives: the listener's memory does not grow with it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from dimse_builder import association, mammogram, store
from listener_process import listener_process
from process_memory import peak_mebibytes
from pydicom.uid import BreastTomosynthesisImageStorage
from pynetdicom.dsutils import split_dataset
from store_fragments import encoded, fragment, pause, pdu, store_command

from oncopixel_pacs.digests import DatasetDigest, dataset_digest

FRAMES, ROWS, COLUMNS = 64, 3328, 2560
PIXEL_BYTES = FRAMES * ROWS * COLUMNS * 2
MOST_GROWTH_MIB = 100
PDU_BYTES = 128 << 10


def test_a_gigabyte_of_tomosynthesis_raises_the_peak_by_less_than_100_mb(tmp_path: Path) -> None:
    assert PIXEL_BYTES > 1_000_000_000
    kind = BreastTomosynthesisImageStorage
    with listener_process(tmp_path / "data") as listener:
        small = mammogram(1, SOPClassUID=kind)
        small.file_meta.MediaStorageSOPClassUID = kind
        assert store(listener.port, small, sop_class=kind).Status == 0x0000
        before = peak_mebibytes(listener.pid)
        with association(listener.port, sop_class=kind) as assoc:
            pause(assoc)
            digest = send_tomosynthesis(assoc)
            _, answer = assoc.dimse.get_msg(block=True)
        growth = peak_mebibytes(listener.pid) - before
    assert answer.Status == 0x0000
    assert growth < MOST_GROWTH_MIB, f"the listener grew by {growth:.0f} MiB"
    stored = max((tmp_path / "data" / "instances").rglob("*.dcm"), key=lambda p: p.stat().st_size)
    assert dataset_digest(stored, split_dataset(stored)[1]) == digest


def send_tomosynthesis(assoc: Any) -> str:
    """Send a C-STORE made while it is sent; returns the digest of its data set.

    Every fragment differs from the one before, so that none can be lost unnoticed.
    """
    image = mammogram(2, NumberOfFrames=FRAMES, PixelData=None)
    image.SOPClassUID = BreastTomosynthesisImageStorage
    image.Rows, image.Columns = ROWS, COLUMNS
    context_id = assoc.accepted_contexts[0].context_id
    assoc.dul.socket.send(pdu(fragment(context_id, store_command(image), 0x03)))
    header = encoded(image) + struct.pack("<HH2sxxL", 0x7FE0, 0x0010, b"OW", PIXEL_BYTES)
    digest = DatasetDigest(header)
    line = assoc.dul.socket.socket
    line.sendall(pdu(fragment(context_id, header, 0x00)))
    block = bytearray(PDU_BYTES - 6)
    left = PIXEL_BYTES
    while left:
        size = min(left, len(block))
        struct.pack_into("<Q", block, 0, left)
        left -= size
        digest.update(memoryview(block)[:size])
        control = 0x00 if left else 0x02
        line.sendall(pdu(fragment(context_id, memoryview(block)[:size], control)))
    return digest.text()
