"""Frames of a Part 10 file, one at a time: the file is never read as a whole."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import UID

from oncopixel_pacs.domain import Reason
from oncopixel_pacs.errors import UnreadableImage
from oncopixel_pacs.imaging.codecs import decode
from oncopixel_pacs.imaging.mammogram import MAX_PIXELS

#: Decodes a frame of an encapsulated image, given its header, its file and the frame from 0.
FrameDecoder = Callable[[Dataset, Path, int], NDArray[Any]]

PIXEL_DATA = 0x7FE00010
#: What describes the pixels of one frame (PS3.3 C.7.6.3).
_PIXEL_KEYWORDS = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RedPaletteColorLookupTableDescriptor",
)
#: What pydicom raises on data sets and codestreams that are damaged.
DAMAGED: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    NotImplementedError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A Part 10 file: its header in memory, its pixels on disk.

    Attributes
    ----------
    header
        Every element before Pixel Data, with the file meta information; the whole data set of
        an object without pixels.
    tag
        Of the element that holds the pixels; 0 when there is none.
    offset
        Position of the first byte of its value.
    length
        Of its value in bytes; ``FFFFFFFF`` when it is encapsulated.
    vr
        Its Value Representation, which says whether bytes are swapped in Big Endian.
    """

    path: Path
    header: Dataset
    tag: int = 0
    offset: int = 0
    length: int = 0
    vr: str = "OW"

    @property
    def transfer_syntax(self) -> UID:
        """Transfer Syntax UID (0002,0010)."""
        return UID(str(self.header.file_meta.TransferSyntaxUID))

    @property
    def frames(self) -> int:
        """Number of frames; 0 without Pixel Data."""
        if self.tag != PIXEL_DATA:
            return 0
        try:
            return max(int(self.header.get("NumberOfFrames") or 1), 1)
        except (TypeError, ValueError):
            return 1

    def frame(self, index: int) -> bytes:
        """Read one frame as it is stored, zero-based; one of single bits begins at a byte.

        Raises
        ------
        UnreadableImage
            When there is no such frame, or the file ends before it does.
        """
        if not 0 <= index < self.frames:
            raise UnreadableImage(Reason.NO_PIXEL_DATA, f"There is no frame {index + 1}.")
        try:
            with self.path.open("rb") as stream:
                stream.seek(self.offset)
                if self.transfer_syntax.is_encapsulated:
                    return bytes(get_frame(stream, index, number_of_frames=self.frames))
                return _native_frame(stream, self.offset, index, self._bits_per_frame())
        except DAMAGED as exc:
            raise damaged(exc) from exc

    def explicit_frame(self, index: int, decoder: FrameDecoder) -> bytes:
        """Give one frame as Explicit VR Little Endian has it, decoded when it is compressed.

        Parameters
        ----------
        index
            Zero-based frame.
        decoder
            Where the decoding is done; a `DecodePool` for images of strangers.

        Raises
        ------
        UnreadableImage
            When there is no such frame, or it cannot be decoded.
        """
        syntax = self.transfer_syntax
        if not syntax.is_encapsulated and syntax.is_little_endian:
            return self.frame(index)
        pixels = self.pixels(index, decoder)
        bits = int(self.header.BitsAllocated)
        if bits == 1:
            return np.packbits(pixels.astype(bool), bitorder="little").tobytes()
        kind = "i" if self.header.get("PixelRepresentation") == 1 else "u"
        return pixels.astype(f"<{kind}{bits // 8}").tobytes()

    def pixels(self, index: int, decoder: FrameDecoder) -> NDArray[Any]:
        """Decode one frame.

        Returns
        -------
        numpy.ndarray
            Stored values ``(rows, columns)``, or ``(rows, columns, 3)`` in RGB.

        Raises
        ------
        UnreadableImage
            When there is no such frame, it is larger than any detector makes, or damaged.
        """
        rows, columns, samples = self._shape()
        if not 0 < rows * columns <= MAX_PIXELS or samples not in (1, 3):
            raise UnreadableImage(
                Reason.UNREADABLE_PIXELS, f"It is said to be {rows} x {columns} x {samples}."
            )
        if not 0 <= index < self.frames:
            raise UnreadableImage(Reason.NO_PIXEL_DATA, f"There is no frame {index + 1}.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # their texts quote values of the header
            try:
                if self.transfer_syntax.is_encapsulated:
                    return decoder(self.header, self.path, index)
                return decode(self.single(index))
            except DAMAGED as exc:
                raise damaged(exc) from exc

    def single(self, index: int) -> Dataset:
        """Give one frame as a data set of its own, with what describes its pixels.

        Raises
        ------
        UnreadableImage
            When there is no such frame, or the file ends before it does.
        """
        frame = self.frame(index)
        single = Dataset()
        for keyword in _PIXEL_KEYWORDS:
            if keyword in self.header:
                setattr(single, keyword, self.header[keyword].value)
        single.NumberOfFrames = 1
        single.file_meta = FileMetaDataset()
        single.file_meta.TransferSyntaxUID = self.transfer_syntax
        if self.transfer_syntax.is_encapsulated:
            single.add_new(PIXEL_DATA, "OB", encapsulate([frame], has_bot=False))
        else:
            single.add_new(PIXEL_DATA, self.vr, frame + b"\0" * (len(frame) % 2))
        return single

    def _shape(self) -> tuple[int, int, int]:
        try:
            header = self.header
            return int(header.Rows), int(header.Columns), int(header.get("SamplesPerPixel") or 1)
        except DAMAGED as exc:
            raise damaged(exc) from exc

    def _bits_per_frame(self) -> int:
        rows, columns, samples = self._shape()
        bits = rows * columns * samples * int(self.header.BitsAllocated)
        # Two neighbours share their colour (PS3.3 C.7.6.3.1.2).
        halved = self.header.get("PhotometricInterpretation") == "YBR_FULL_422"
        bits = bits * 2 // 3 if halved else bits
        if bits <= 0 or (bits * self.frames + 7) // 8 > self.length:
            raise ValueError("the pixel data is shorter than its header says")
        return bits


def read_object(path: Path) -> StoredObject:
    """Read the header of a Part 10 file and find its pixels.

    Raises
    ------
    UnreadableImage
        When the file cannot be parsed.
    OSError
        When it cannot be read.
    """
    with warnings.catch_warnings(), path.open("rb") as stream:
        warnings.simplefilter("ignore")  # their texts quote values of the header
        try:
            header = dcmread(stream, stop_before_pixels=True)
            return StoredObject(path, header, *_pixel_element(stream, header))
        except DAMAGED as exc:
            raise damaged(exc) from exc


def _pixel_element(stream: BinaryIO, header: Dataset) -> tuple[int, int, int, str]:
    """Tag, position, length and VR of the pixel value; the parser has stopped in front of it."""
    syntax = UID(str(header.file_meta.TransferSyntaxUID))
    order = "<" if syntax.is_little_endian else ">"
    start = stream.read(12)
    if len(start) < 8:
        return 0, 0, 0, ""
    group, element = struct.unpack_from(f"{order}HH", start)
    if group != PIXEL_DATA >> 16:
        return 0, 0, 0, ""
    # Implicit: tag, length. Explicit: tag, VR, two reserved bytes, length.
    at = 4 if syntax.is_implicit_VR else 8
    vr = "OW" if syntax.is_implicit_VR else start[4:6].decode("ascii", "replace")
    (length,) = struct.unpack_from(f"{order}I", start, at)
    return group << 16 | element, stream.tell() - len(start) + at + 4, length, vr


def _native_frame(stream: BinaryIO, offset: int, index: int, bits: int) -> bytes:
    first, last = index * bits, (index + 1) * bits
    stream.seek(offset + first // 8)
    frame = stream.read((last + 7) // 8 - first // 8)
    if len(frame) < (last + 7) // 8 - first // 8:
        raise ValueError("the file ends inside its pixel data")
    if bits % 8 == 0:
        return frame
    # Frames of single bits follow each other without a gap (PS3.5 8.1.1).
    single = np.unpackbits(np.frombuffer(frame, np.uint8), bitorder="little")
    begin = first % 8
    return np.packbits(single[begin : begin + bits], bitorder="little").tobytes()


def damaged(error: Exception) -> UnreadableImage:
    """Say of an error of the parser or a decoder what it means; its text may quote the header."""
    return UnreadableImage(
        Reason.UNREADABLE_PIXELS,
        f"The file is damaged or of a kind not read ({type(error).__name__}).",
    )
