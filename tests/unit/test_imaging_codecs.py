"""Every lossless syntax gives the pixels that went in, and those that another decoder gives."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import imagecodecs
import libjpeg
import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder

from oncopixel_pacs.imaging.codecs import SUPPORTED_TRANSFER_SYNTAXES, decode
from oncopixel_pacs.imaging.codestream import codestream_size, require_rle_segments

#: Odd on purpose: rows and columns must not be taken for each other, nor be even.
ROWS, COLUMNS = 61, 47


@dataclass(frozen=True)
class Kind:
    """What the stored values are."""

    bits: int
    signed: bool = False
    samples: int = 1

    def __str__(self) -> str:
        return f"{'s' if self.signed else 'u'}{self.bits}{'rgb' if self.samples == 3 else ''}"

    def values(self) -> np.ndarray:
        """Noise over the whole range, with its ends: ``(ROWS, COLUMNS[, 3])``."""
        low, high = (
            (-(1 << self.bits - 1), 1 << self.bits - 1) if self.signed else (0, 1 << self.bits)
        )
        shape = (ROWS, COLUMNS, 3) if self.samples == 3 else (ROWS, COLUMNS)
        made = np.random.default_rng(self.bits).integers(low, high, shape)
        made[0, 0], made[-1, -1] = low, high - 1
        size = 1 if self.bits <= 8 else 2
        return made.astype(f"<{'i' if self.signed else 'u'}{size}")


GREY = (Kind(8), Kind(10), Kind(12), Kind(16), Kind(12, signed=True), Kind(16, signed=True))
COLOUR = Kind(8, samples=3)


def image(kind: Kind, frames: int = 1) -> Dataset:
    values = kind.values()
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    dataset.SOPInstanceUID = "2.25.77"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = ROWS, COLUMNS, kind.samples
    dataset.PhotometricInterpretation = "RGB" if kind.samples == 3 else "MONOCHROME2"
    if kind.samples == 3:
        dataset.PlanarConfiguration = 0
    if frames > 1:
        dataset.NumberOfFrames = frames
    dataset.BitsAllocated = values.itemsize * 8
    dataset.BitsStored, dataset.HighBit = kind.bits, kind.bits - 1
    dataset.PixelRepresentation = int(kind.signed)
    raw = values.tobytes() * frames
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)
    dataset["PixelData"].VR = "OW"
    return dataset


def compressed(kind: Kind, syntax: str, codestreams: list[bytes]) -> Dataset:
    dataset = image(kind, len(codestreams))
    dataset.PixelData = encapsulate(codestreams)
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def as_stored(kind: Kind) -> np.ndarray:
    """Values as a codec without a sign takes them: two's complement in the stored bits."""
    values = kind.values()
    return values.view(values.dtype.str.replace("i", "u")) & ((1 << kind.bits) - 1)


def jpeg_lossless(values: np.ndarray, bits: int, predictor: int = 1) -> bytes:
    return imagecodecs.jpeg8_encode(values, lossless=True, bitspersample=bits, predictor=predictor)


def jpeg_2000(values: np.ndarray, bits: int) -> bytes:
    options = {"codecformat": "j2k", "reversible": True, "bitspersample": bits}
    return imagecodecs.jpeg2k_encode(values, **options)


def by_ffmpeg(source: bytes, bits: int) -> np.ndarray:
    """Decode JPEG 2000 with FFmpeg, which shifts what is not of 8 or 16 bits to the left."""
    codec = av.CodecContext.create("jpeg2000", "r")
    frames = [*codec.decode(av.Packet(source)), *codec.decode(None)]
    decoded = frames[0].to_ndarray()
    return decoded >> (16 - bits) if 8 < bits < 16 else decoded


@dataclass(frozen=True)
class Lossless:
    """How one syntax is written here, and who else can read it."""

    encode: Callable[[np.ndarray, int], bytes]
    independent: Callable[[bytes, int], np.ndarray]


def by_libjpeg(source: bytes, _bits: int) -> np.ndarray:
    return libjpeg.decode(source)


def by_openjpeg(source: bytes, _bits: int) -> np.ndarray:
    return imagecodecs.jpeg2k_decode(source)


LOSSLESS = {
    uid.JPEGLosslessSV1: Lossless(jpeg_lossless, by_libjpeg),
    uid.JPEGLossless: Lossless(lambda x, bits: jpeg_lossless(x, bits, 6), by_libjpeg),
    uid.JPEGLSLossless: Lossless(lambda x, _: imagecodecs.jpegls_encode(x), by_libjpeg),
    uid.JPEG2000Lossless: Lossless(jpeg_2000, by_ffmpeg),
    uid.JPEG2000: Lossless(jpeg_2000, by_ffmpeg),
    uid.HTJ2KLossless: Lossless(lambda x, _: imagecodecs.htj2k_encode(x), by_openjpeg),
    uid.HTJ2KLosslessRPCL: Lossless(lambda x, _: imagecodecs.htj2k_encode(x), by_openjpeg),
    uid.HTJ2K: Lossless(lambda x, _: imagecodecs.htj2k_encode(x), by_openjpeg),
}


@pytest.mark.parametrize("kind", GREY, ids=str)
@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda item: item.name)
def test_a_lossless_codestream_gives_what_went_in_and_what_another_decoder_gives(
    syntax: uid.UID, kind: Kind
) -> None:
    codec = LOSSLESS[syntax]
    stored = as_stored(kind)
    source = codec.encode(stored, kind.bits)
    assert (codec.independent(source, kind.bits) == stored).all()
    decoded = decode(compressed(kind, syntax, [source]))
    assert decoded.dtype.kind == ("i" if kind.signed else "u")
    assert (decoded == kind.values()).all()


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda item: item.name)
def test_colour_comes_by_pixel(syntax: uid.UID) -> None:
    source = LOSSLESS[syntax].encode(COLOUR.values(), 8)
    assert (decode(compressed(COLOUR, syntax, [source])) == COLOUR.values()).all()


def test_each_frame_is_the_one_asked_for() -> None:
    first, second = Kind(12).values(), Kind(12).values()[::-1].copy()
    dataset = compressed(
        Kind(12), uid.JPEGLSLossless, [imagecodecs.jpegls_encode(x) for x in (first, second)]
    )
    assert (decode(dataset, 0) == first).all()
    assert (decode(dataset, 1) == second).all()


def test_a_frame_may_come_in_fragments() -> None:
    source = imagecodecs.jpegls_encode(Kind(12).values())
    dataset = compressed(Kind(12), uid.JPEGLSLossless, [source])
    dataset.PixelData = encapsulate([source], fragments_per_frame=4)
    assert (decode(dataset) == Kind(12).values()).all()


@pytest.mark.parametrize("syntax", [uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit])
def test_a_lossy_jpeg_is_within_a_step_of_another_decoder(syntax: uid.UID) -> None:
    kind = Kind(8 if syntax == uid.JPEGBaseline8Bit else 12)
    row, column = np.mgrid[:ROWS, :COLUMNS]
    smooth = ((row + column) * (1 << kind.bits) // 110).astype(kind.values().dtype)
    source = imagecodecs.jpeg8_encode(smooth, level=95, bitspersample=kind.bits)
    decoded = decode(compressed(kind, syntax, [source]))
    assert np.abs(decoded.astype(int) - libjpeg.decode(source)).max() <= 1
    assert np.abs(decoded.astype(int) - smooth).max() <= 1 << kind.bits - 6


def test_near_lossless_jpeg_ls_is_as_near_as_it_says() -> None:
    source = imagecodecs.jpegls_encode(Kind(12).values(), level=3)
    decoded = decode(compressed(Kind(12), uid.JPEGLSNearLossless, [source]))
    assert (decoded == libjpeg.decode(source)).all()
    assert np.abs(decoded.astype(int) - Kind(12).values()).max() == 3


@pytest.mark.parametrize("kind", [*GREY, COLOUR], ids=str)
def test_rle_is_what_pydicom_reads(kind: Kind) -> None:
    dataset = image(kind, frames=2)
    dataset.compress(uid.RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    expected, _ = get_decoder(uid.RLELossless).as_array(dataset, index=1, decoding_plugin="pydicom")
    assert (decode(dataset, 1) == expected).all()
    assert (decode(dataset, 1) == kind.values()).all()


@pytest.mark.parametrize("kind", [Kind(8), Kind(12), Kind(16, signed=True), COLOUR], ids=str)
def test_big_endian_is_turned_round(kind: Kind, tmp_path: Path) -> None:
    dataset = image(kind)
    values = kind.values()
    big = values.astype(values.dtype.newbyteorder(">")).tobytes()
    if values.itemsize == 1:  # OW holds words, so bytes change places too
        padded = big + b"\0" * (len(big) % 2)
        big = np.frombuffer(padded, "<u2").astype(">u2").tobytes()
    dataset.PixelData = big
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
    path = tmp_path / "big.dcm"
    dataset.save_as(path, implicit_vr=False, little_endian=False, enforce_file_format=True)
    assert (decode(dcmread(path)) == values).all()


DCMTK = {
    uid.JPEGLosslessSV1: ["dcmcjpeg", "+e1"],
    uid.JPEGLossless: ["dcmcjpeg", "+el", "+sv", "6"],
    uid.JPEGLSLossless: ["dcmcjpls", "+el"],
    uid.RLELossless: ["dcmcrle"],
    uid.ExplicitVRBigEndian: ["dcmconv", "+tb"],
    uid.ImplicitVRLittleEndian: ["dcmconv", "+ti"],
}


@pytest.mark.dcmtk
@pytest.mark.skipif(shutil.which("dcmcjpls") is None, reason="dcmtk is not installed")
@pytest.mark.parametrize("kind", [Kind(8), Kind(12), Kind(16), COLOUR], ids=str)
@pytest.mark.parametrize("syntax", DCMTK, ids=lambda item: item.name)
def test_what_dcmtk_writes_is_read_bit_for_bit(syntax: uid.UID, kind: Kind, tmp_path: Path) -> None:
    plain, written = tmp_path / "plain.dcm", tmp_path / "written.dcm"
    image(kind).save_as(plain, enforce_file_format=True)
    subprocess.run([*DCMTK[syntax], plain, written], check=True, capture_output=True)
    dataset = dcmread(written)
    assert dataset.file_meta.TransferSyntaxUID == syntax
    assert (decode(dataset) == kind.values()).all()


def test_every_syntax_that_is_offered_is_tried_here() -> None:
    tried = {
        *LOSSLESS,
        *DCMTK,
        uid.ExplicitVRLittleEndian,
        uid.JPEGBaseline8Bit,
        uid.JPEGExtended12Bit,
        uid.JPEGLSNearLossless,
    }
    assert set(SUPPORTED_TRANSFER_SYNTAXES) == tried


def rle(segments: list[bytes], count: int | None = None) -> bytes:
    offsets, at = [], 64
    for segment in segments:
        offsets.append(at)
        at += len(segment)
    header = [len(segments) if count is None else count, *offsets, *[0] * (15 - len(offsets))]
    return np.asarray(header, "<u4").tobytes() + b"".join(segments)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (b"\1\0\0\0", "ends in its header"),
        (rle([b"\x81\7" * 50] * 3), "3 segments, the header says 2"),
        (rle([b"\x81\7", b"\x81\7"]), "cut short"),
        (rle([b"\x81\7" * 50] * 2, count=15), "15 segments"),
        (rle([b"\x81\7" * 100_000] * 2), "damaged"),
    ],
)
def test_an_rle_frame_that_does_not_fit_its_header_is_refused(source: bytes, sentence: str) -> None:
    with pytest.raises(RuntimeError, match=sentence):
        decode(compressed(Kind(12), uid.RLELossless, [source]))


def test_sizes_are_read_without_decoding() -> None:
    values = Kind(8, samples=3).values()
    for source in (jpeg_2000(values, 8), imagecodecs.jpeg8_encode(values)):
        assert codestream_size(source) == (ROWS, COLUMNS, 3)
    require_rle_segments(rle([b"\x81\7" * 50]), 1, ROWS * COLUMNS)
