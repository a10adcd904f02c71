"""Decoders: imagecodecs behind pydicom's decoder plugins.

They give the interpreter back while they work, raise on a bad codestream where other decoders
abort the process, and are the fastest of those measured. Before any of them runs, the size in
the codestream itself is compared with Rows and Columns, so that a small file cannot ask for
gigabytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder

_PLUGIN = "oncopixel"
#: End of image (ITU-T T.81 B.2.1, T.87 C.1.1) and end of codestream (T.800 A.4.4) are the same.
_END = b"\xff\xd9"

#: Transfer syntaxes that can be read, in the order of preference at negotiation.
SUPPORTED_TRANSFER_SYNTAXES: tuple[str, ...] = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.JPEGLosslessSV1,
    uid.JPEGLossless,
    uid.JPEG2000Lossless,
    uid.JPEGLSLossless,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.RLELossless,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLSNearLossless,
    uid.JPEG2000,
    uid.HTJ2K,
)

_Decode = Callable[[bytes], Any]
_JPEG: _Decode = imagecodecs.jpeg_decode
_JPEGLS: _Decode = imagecodecs.jpegls_decode
_JPEG2000: _Decode = imagecodecs.jpeg2k_decode
_DECODERS: dict[str, _Decode] = {
    uid.JPEGBaseline8Bit: _JPEG,
    uid.JPEGExtended12Bit: _JPEG,
    uid.JPEGLossless: _JPEG,
    uid.JPEGLosslessSV1: _JPEG,
    uid.JPEGLSLossless: _JPEGLS,
    uid.JPEGLSNearLossless: _JPEGLS,
    uid.JPEG2000Lossless: _JPEG2000,
    uid.JPEG2000: _JPEG2000,
    uid.HTJ2KLossless: _JPEG2000,
    uid.HTJ2KLosslessRPCL: _JPEG2000,
    uid.HTJ2K: _JPEG2000,
}

#: What pydicom asks of a plugin: the transfer syntaxes that it serves, and what they need.
DECODER_DEPENDENCIES: dict[str, tuple[str, ...]] = {
    syntax: ("imagecodecs",) for syntax in _DECODERS
}


def is_available(_syntax: str) -> bool:
    """Tell pydicom that the plugin can be used."""
    return True


def decode_frame(source: bytes, runner: DecodeRunner) -> bytearray:
    """Decode one frame of encapsulated pixel data for pydicom.

    Raises
    ------
    ValueError
        When the codestream is damaged, or its size is not Rows × Columns.
    """
    rows, columns = codestream_size(source)
    if (rows, columns) != (runner.rows, runner.columns):
        raise ValueError(
            f"the codestream is {rows} x {columns} pixels, the header says "
            f"{runner.rows} x {runner.columns}"
        )
    # Some decoders fill up what is missing with grey and say nothing.
    if not source.rstrip(b"\0").endswith(_END):
        raise ValueError("the codestream is cut short: it has no end marker")
    decode = _DECODERS[runner.transfer_syntax]
    try:
        pixels = np.asarray(decode(bytes(source)))
    except (RuntimeError, ValueError) as exc:
        raise ValueError(f"the codestream is damaged ({type(exc).__name__})") from exc
    if pixels.shape[:2] != (rows, columns):
        raise ValueError("the codestream gave another number of pixels than it announced")
    runner.set_option("bits_allocated", pixels.dtype.itemsize * 8)
    return bytearray(np.ascontiguousarray(pixels).tobytes())


def codestream_size(source: bytes) -> tuple[int, int]:
    """Read ``(rows, columns)`` from a JPEG, JPEG-LS or JPEG 2000 codestream without decoding.

    From the start-of-frame marker segment (ITU-T T.81 B.2.2, T.87 C.2.2) or the SIZ marker
    segment (T.800 A.5.1).

    Raises
    ------
    ValueError
        When there is no such marker.
    """
    if source[:2] == b"\xff\x4f":
        return _size_of_jpeg2000(source)
    if source[:2] == b"\xff\xd8":
        return _size_of_jpeg(source)
    raise ValueError("the frame is no JPEG, JPEG-LS or JPEG 2000 codestream")


def _size_of_jpeg2000(source: bytes) -> tuple[int, int]:
    try:
        marker, _, _, width, height, left, top = struct.unpack_from(">HHHIIII", source, 2)
    except struct.error as exc:
        raise ValueError("the codestream ends in its header") from exc
    if marker != 0xFF51:
        raise ValueError("the codestream has no SIZ marker")
    return height - top, width - left


def _size_of_jpeg(source: bytes) -> tuple[int, int]:
    position = 2
    while position + 9 <= len(source):
        marker, length = struct.unpack_from(">HH", source, position)
        if marker >> 8 != 0xFF:
            break
        code = marker & 0xFF
        # Start of frame is C0 to CF but for DHT, JPG and DAC; F7 in JPEG-LS.
        if (0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC)) or code == 0xF7:
            rows, columns = struct.unpack_from(">HH", source, position + 5)
            return rows, columns
        position += 2 + length if code != 0xFF else 1
    raise ValueError("the codestream has no start of frame")


def register() -> None:
    """Make pydicom decode with these decoders and no others. Safe to call again."""
    for syntax in _DECODERS:
        decoder = get_decoder(syntax)
        if _PLUGIN not in decoder.available_plugins:
            decoder.add_plugin(_PLUGIN, (__name__, "decode_frame"))
