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
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder

#: Name under which pydicom knows these decoders.
PLUGIN = "oncopixel"
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


def decode(dataset: Dataset) -> NDArray[Any]:
    """Decode the first frame of a monochrome image with these decoders and no others.

    Parameters
    ----------
    dataset
        With ``file_meta`` and pixel data.

    Returns
    -------
    numpy.ndarray
        Stored values ``(rows, columns)``, signed where Pixel Representation says so.

    Raises
    ------
    ValueError, RuntimeError, AttributeError, and other errors of pydicom
        When the pixel data is damaged, cut short, or of another size than the header says.
    """
    register()
    syntax = dataset.file_meta.TransferSyntaxUID
    pixels, _ = get_decoder(syntax).as_array(
        dataset, index=0, decoding_plugin=PLUGIN if syntax in _DECODERS else ""
    )
    stored: NDArray[Any] = pixels
    if dataset.PixelRepresentation == 1 and syntax in _DECODERS:
        stored = _signed(stored, int(dataset.BitsStored))
    return stored


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
    # Some decoders fill up what is missing with grey and say nothing. Writers pad with 00 or FF.
    if not source.rstrip(b"\0\xff").endswith(_END):
        raise ValueError("the codestream is cut short: it has no end marker")
    decode = _DECODERS[runner.transfer_syntax]
    try:
        pixels = np.asarray(decode(bytes(source)))
    except (RuntimeError, ValueError, OverflowError) as exc:
        raise ValueError(f"the codestream is damaged ({type(exc).__name__})") from exc
    if pixels.shape[:2] != (rows, columns):
        raise ValueError("the codestream gave another number of pixels than it announced")
    runner.set_option("bits_allocated", pixels.dtype.itemsize * 8)
    return bytearray(np.ascontiguousarray(pixels).tobytes())


def _signed(stored: NDArray[Any], bits: int) -> NDArray[Any]:
    """Extend the sign of values in two's complement that a codec has treated as unsigned.

    Leaves alone what is signed already.
    """
    unused = 8 * stored.dtype.itemsize - bits
    signed: NDArray[Any] = stored.view(stored.dtype.str.replace("u", "i"))
    return signed << unused >> unused if unused > 0 else signed


def codestream_size(source: bytes) -> tuple[int, int]:
    """Read ``(rows, columns)`` from a JPEG, JPEG-LS or JPEG 2000 codestream without decoding.

    From the start-of-frame marker segment (ITU-T T.81 B.2.2, T.87 C.2.2) or the SIZ marker
    segment (T.800 A.5.1).

    Raises
    ------
    ValueError
        When there is no such marker, or more than one size, or more than one component.
    """
    try:
        if source[:2] == b"\xff\x4f":
            rows, columns, components = _size_of_jpeg2000(source)
        elif source[:2] == b"\xff\xd8":
            rows, columns, components = _size_of_jpeg(source)
        else:
            raise ValueError("the frame is no JPEG, JPEG-LS or JPEG 2000 codestream")
    except struct.error as exc:
        raise ValueError("the codestream ends in its header") from exc
    if components != 1:
        raise ValueError(f"the codestream has {components} components, a mammogram has one")
    return rows, columns


def _size_of_jpeg2000(source: bytes) -> tuple[int, int, int]:
    marker, _, _, width, height, left, top = struct.unpack_from(">HHHIIII", source, 2)
    if marker != 0xFF51:
        raise ValueError("the codestream has no SIZ marker")
    (components,) = struct.unpack_from(">H", source, 40)
    return height - top, width - left, components


def _size_of_jpeg(source: bytes) -> tuple[int, int, int]:
    found = []
    position, code = 2, 0
    # Start of scan ends the header.
    while code != 0xDA:
        marker, length = struct.unpack_from(">HH", source, position)
        code = marker & 0xFF
        if marker >> 8 != 0xFF:
            raise ValueError("the codestream has no start of frame")
        # Start of frame is C0 to CF but for DHT, JPG and DAC; F7 in JPEG-LS.
        if (0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC)) or code == 0xF7:
            found.append(struct.unpack_from(">HHB", source, position + 5))
        position += 2 + length if code != 0xFF else 1
    if len(found) != 1:
        raise ValueError(f"the codestream has {len(found)} starts of frame instead of one")
    rows, columns, components = found[0]
    return rows, columns, components


def register() -> None:
    """Make these decoders known to pydicom. Safe to call again."""
    for syntax in _DECODERS:
        decoder = get_decoder(syntax)
        if PLUGIN not in decoder.available_plugins:
            decoder.add_plugin(PLUGIN, (__name__, "decode_frame"))
