"""Images that are small to send and large to decode, and other pixel data that lies."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

Hostile = Callable[[Dataset], None]


def _frame(dataset: Dataset, syntax: str, codestream: bytes) -> None:
    dataset.PixelData = encapsulate([codestream])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = syntax


def _announce(dataset: Dataset, rows: int, columns: int) -> None:
    dataset.Rows, dataset.Columns = rows, columns


def _jpeg_2000(rows: int, columns: int, tile: int | None = None) -> bytes:
    """Codestream of a few bytes: main header, one empty tile, end (ITU-T T.800 Annex A)."""
    small = np.zeros((64, 64), np.uint16)
    options = {"codecformat": "j2k", "reversible": True}
    source = bytearray(imagecodecs.jpeg2k_encode(small, **options))
    struct.pack_into(">II", source, 8, columns, rows)
    struct.pack_into(">II", source, 24, tile or columns, tile or rows)
    return bytes(source)


def _jpeg(marker: bytes, source: bytes, rows: int, columns: int) -> bytes:
    changed = bytearray(source)
    struct.pack_into(">HH", changed, changed.index(marker) + 5, rows, columns)
    return bytes(changed)


def _small() -> np.ndarray:
    return np.zeros((64, 64), np.uint16)


def _rle(segment: bytes, count: int = 2) -> bytes:
    offsets = [64 + i * len(segment) for i in range(count)]
    return struct.pack("<16I", count, *offsets, *[0] * (15 - count)) + segment * count


def _huge_jpeg_2000(dataset: Dataset) -> None:
    _frame(dataset, JPEG2000Lossless, _jpeg_2000(60_000, 60_000))


def _huge_jpeg_2000_as_announced(dataset: Dataset) -> None:
    _announce(dataset, 60_000, 60_000)
    _huge_jpeg_2000(dataset)


def _many_tiles(dataset: Dataset) -> None:
    _announce(dataset, 8192, 8192)
    _frame(dataset, JPEG2000Lossless, _jpeg_2000(8192, 8192, tile=33))


def _more_tiles_than_pixels(dataset: Dataset) -> None:
    _announce(dataset, 8192, 8192)
    _frame(dataset, JPEG2000Lossless, _jpeg_2000(8192, 8192, tile=1))


def _huge_jpeg_lossless(dataset: Dataset) -> None:
    source = imagecodecs.ljpeg_encode(_small(), bitspersample=16)
    _frame(dataset, JPEGLosslessSV1, _jpeg(b"\xff\xc3", source, 60_000, 60_000))


def _large_jpeg_lossless_of_nothing(dataset: Dataset) -> None:
    _announce(dataset, 8192, 8192)
    source = imagecodecs.ljpeg_encode(_small(), bitspersample=16)
    _frame(dataset, JPEGLosslessSV1, _jpeg(b"\xff\xc3", source, 8192, 8192))


def _huge_jpeg_ls(dataset: Dataset) -> None:
    source = imagecodecs.jpegls_encode(_small())
    _frame(dataset, JPEGLSLossless, _jpeg(b"\xff\xf7", source, 60_000, 60_000))


def _large_jpeg_ls_of_nothing(dataset: Dataset) -> None:
    _announce(dataset, 8192, 8192)
    source = imagecodecs.jpegls_encode(_small())
    _frame(dataset, JPEGLSLossless, _jpeg(b"\xff\xf7", source, 8192, 8192))


def _rle_bomb(dataset: Dataset) -> None:
    # 4 MB of runs make 256 MB a segment, of an image of 104 kB.
    _frame(dataset, RLELossless, _rle(b"\x81\x07" * (2 << 20)))


def _rle_bomb_as_announced(dataset: Dataset) -> None:
    _announce(dataset, 30_000, 30_000)
    _frame(dataset, RLELossless, _rle(b"\x81\x07" * (7 << 20)))


def _plain_pixels_that_are_missing(dataset: Dataset) -> None:
    _announce(dataset, 65_535, 65_535)
    dataset.PixelData = b"\0" * 64


#: What makes an image hostile, by name.
PIXEL_BOMBS: Mapping[str, Hostile] = {
    "JPEG 2000 of 60000 x 60000 in a small image": _huge_jpeg_2000,
    "JPEG 2000 of 60000 x 60000, announced": _huge_jpeg_2000_as_announced,
    "JPEG 2000 of 61504 tiles": _many_tiles,
    "JPEG 2000 of 67 million tiles": _more_tiles_than_pixels,
    "JPEG lossless of 60000 x 60000 in a small image": _huge_jpeg_lossless,
    "JPEG lossless of 8192 x 8192 from 1 KiB": _large_jpeg_lossless_of_nothing,
    "JPEG-LS of 60000 x 60000 in a small image": _huge_jpeg_ls,
    "JPEG-LS of 8192 x 8192 from 1 KiB": _large_jpeg_ls_of_nothing,
    "RLE of 512 MB in a small image": _rle_bomb,
    "RLE of 30000 x 30000, announced": _rle_bomb_as_announced,
    "no pixels for 65535 x 65535": _plain_pixels_that_are_missing,
}
