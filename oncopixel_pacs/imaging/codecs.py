"""Decoders: imagecodecs behind pydicom's decoder plugins.

They give the interpreter back while they work, raise on a bad codestream where other decoders
abort the process, and are the fastest of those measured. Before any of them runs, the size in
the codestream itself is compared with Rows, Columns and Samples per Pixel, so that a small file
cannot ask for gigabytes. Whoever decodes images of strangers does so in a `DecodePool`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder

from oncopixel_pacs.imaging.codestream import (
    codestream_size,
    require_complete,
    require_rle_segments,
)

#: Name under which pydicom knows these decoders.
PLUGIN = "oncopixel"

#: Transfer syntaxes that can be read, in the order of preference at negotiation. Deflated is
#: not among them: a megabyte of it may inflate to a gigabyte.
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
    uid.ExplicitVRBigEndian,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLSNearLossless,
    uid.JPEG2000,
    uid.HTJ2K,
)

_Pixels = NDArray[Any]
_Decode = Callable[[bytes, DecodeRunner], _Pixels]


def _jpeg(source: bytes, runner: DecodeRunner) -> _Pixels:
    """Decode with libjpeg-turbo; colour becomes RGB as Photometric Interpretation says."""
    if runner.samples_per_pixel == 1:
        return np.asarray(imagecodecs.jpeg8_decode(source))
    colours = "RGB" if runner.photometric_interpretation == "RGB" else "YCbCr"
    return np.asarray(
        imagecodecs.jpeg8_decode(source, colorspace=colours, outcolorspace="RGB"),
    )


def _jpegls(source: bytes, _runner: DecodeRunner) -> _Pixels:
    return np.asarray(imagecodecs.jpegls_decode(source))


def _jpeg2000(source: bytes, _runner: DecodeRunner) -> _Pixels:
    return np.asarray(imagecodecs.jpeg2k_decode(source))


def _htj2k(source: bytes, _runner: DecodeRunner) -> _Pixels:
    return np.asarray(imagecodecs.htj2k_decode(source))


_DECODERS: dict[str, _Decode] = {
    uid.JPEGBaseline8Bit: _jpeg,
    uid.JPEGExtended12Bit: _jpeg,
    uid.JPEGLossless: _jpeg,
    uid.JPEGLosslessSV1: _jpeg,
    uid.JPEGLSLossless: _jpegls,
    uid.JPEGLSNearLossless: _jpegls,
    uid.JPEG2000Lossless: _jpeg2000,
    uid.JPEG2000: _jpeg2000,
    uid.HTJ2KLossless: _htj2k,
    uid.HTJ2KLosslessRPCL: _htj2k,
    uid.HTJ2K: _htj2k,
}
#: Photometric interpretations that the decoders turn into RGB on their way.
_BECOME_RGB = ("YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

#: What pydicom asks of a plugin: the transfer syntaxes that it serves, and what they need.
DECODER_DEPENDENCIES: dict[str, tuple[str, ...]] = {
    syntax: ("imagecodecs",) for syntax in (*_DECODERS, uid.RLELossless)
}


def is_available(_syntax: str) -> bool:
    """Tell pydicom that the plugin can be used."""
    return True


def is_compressed(transfer_syntax: str) -> bool:
    """Whether a decoder stands between the file and its pixels."""
    return transfer_syntax in DECODER_DEPENDENCIES


def is_right_justified(dataset: Dataset) -> bool:
    """Whether High Bit is one less than Bits Stored, as PS3.5 8.1.1 has it since 2014."""
    high, bits = dataset.get("HighBit"), dataset.get("BitsStored")
    return high is None or bits is None or int(high) == int(bits) - 1


def decode(dataset: Dataset, index: int = 0) -> NDArray[Any]:
    """Decode one frame of an image with these decoders and no others.

    Parameters
    ----------
    dataset
        With ``file_meta`` and pixel data.
    index
        Frame, from 0.

    Returns
    -------
    numpy.ndarray
        Stored values ``(rows, columns)``, signed where Pixel Representation says so; with
        three samples per pixel ``(rows, columns, 3)``, RGB. Where High Bit is not one less than
        Bits Stored nothing is masked: see `grayscale.right_justified`.

    Raises
    ------
    ValueError, RuntimeError, AttributeError, and other errors of pydicom
        When the pixel data is damaged, cut short, or of another size than the header says.
    """
    register()
    syntax = dataset.file_meta.TransferSyntaxUID
    options: dict[str, Any] = {"decoding_plugin": PLUGIN if is_compressed(syntax) else ""}
    right_justified = is_right_justified(dataset)
    if not right_justified:
        options["correct_unused_bits"] = False
    pixels, _ = get_decoder(syntax).as_array(dataset, index=index, **options)
    stored: NDArray[Any] = pixels
    if dataset.PixelRepresentation == 1 and is_compressed(syntax):
        bits = int(dataset.BitsStored) if right_justified else 8 * stored.dtype.itemsize
        stored = _signed(stored, bits)
    return stored


def decode_frame(source: bytes, runner: DecodeRunner) -> bytearray:
    """Decode one frame of encapsulated pixel data for pydicom.

    Raises
    ------
    ValueError
        When the codestream is damaged, its size is not the one that the header says, or it
        wants more memory than this process has.
    """
    try:
        return _decode_frame(source, runner)
    except MemoryError as exc:
        raise ValueError("decoding needs more memory than one image may take") from exc


def _decode_frame(source: bytes, runner: DecodeRunner) -> bytearray:
    if runner.transfer_syntax == uid.RLELossless:
        return _decode_rle(bytes(source), runner)
    rows, columns, components = codestream_size(source)
    if (rows, columns) != (runner.rows, runner.columns):
        raise ValueError(
            f"the codestream is {rows} x {columns} pixels, the header says "
            f"{runner.rows} x {runner.columns}"
        )
    if components != runner.samples_per_pixel:
        raise ValueError(
            f"the codestream has {components} components, the header says "
            f"{runner.samples_per_pixel}"
        )
    require_complete(source)
    try:
        pixels = _DECODERS[runner.transfer_syntax](bytes(source), runner)
    except (RuntimeError, ValueError, OverflowError) as exc:
        raise ValueError(f"the codestream is damaged ({type(exc).__name__})") from exc
    if (*pixels.shape, 1)[:3] != (rows, columns, components):
        raise ValueError("the codestream gave another number of pixels than it announced")
    runner.set_option("bits_allocated", pixels.dtype.itemsize * 8)
    if runner.samples_per_pixel > 1:
        runner.set_option("planar_configuration", 0)
        if runner.photometric_interpretation in _BECOME_RGB:
            runner.set_option("photometric_interpretation", "RGB")
    return bytearray(np.ascontiguousarray(pixels).tobytes())


def _decode_rle(source: bytes, runner: DecodeRunner) -> bytearray:
    """Decode PS3.5 Annex G; the segments of more than one byte come with the high byte first."""
    width = runner.bits_allocated // 8
    pixels = runner.rows * runner.columns
    require_rle_segments(source, runner.samples_per_pixel * width, pixels)
    # The decoder stops with an error at the end of this: a bomb costs no memory.
    decoded = bytearray(pixels * runner.samples_per_pixel * width)
    try:
        imagecodecs.dicomrle_decode(source, f"<u{width}", out=decoded)
    except (RuntimeError, ValueError, OverflowError) as exc:
        raise ValueError(f"the RLE segments are damaged ({type(exc).__name__})") from exc
    runner.set_option("planar_configuration", 1)
    return decoded


def _signed(stored: NDArray[Any], bits: int) -> NDArray[Any]:
    """Extend the sign of values in two's complement that a codec has treated as unsigned.

    Leaves alone what is signed already.
    """
    unused = 8 * stored.dtype.itemsize - bits
    signed: NDArray[Any] = stored.view(stored.dtype.str.replace("u", "i"))
    return signed << unused >> unused if unused > 0 else signed


def register() -> None:
    """Make these decoders known to pydicom. Safe to call again."""
    for syntax in DECODER_DEPENDENCIES:
        decoder = get_decoder(syntax)
        if PLUGIN not in decoder.available_plugins:
            decoder.add_plugin(PLUGIN, (__name__, "decode_frame"))
