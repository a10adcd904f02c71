"""A whole object in Explicit VR Little Endian, whatever it is stored in."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import IO, Any

from numpy.typing import NDArray
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from oncopixel_pacs.domain import Reason
from oncopixel_pacs.errors import UnreadableImage
from oncopixel_pacs.imaging.codecs import decode
from oncopixel_pacs.imaging.frames import (
    DAMAGED,
    PIXEL_DATA,
    FrameDecoder,
    StoredObject,
    damaged,
    read_object,
)

#: Decoded pixels of one object that are held in memory at a time.
MAX_DECODED_BYTES = 512 << 20


def write_explicit(stored: StoredObject, out: IO[bytes], decoder: FrameDecoder) -> None:
    """Write an object with its pixels decoded.

    Raises
    ------
    UnreadableImage
        When the pixels cannot be decoded, or are too many to be held in memory.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # their texts quote values of the header
        try:
            dataset = _explicit(stored, decoder)
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            dcmwrite(out, dataset, implicit_vr=False, little_endian=True, enforce_file_format=True)
        except DAMAGED as exc:
            raise damaged(exc) from exc


def write_plain(source: Path, target: Path, *, implicit_vr: bool) -> None:
    """Write a Part 10 file of our own in a syntax without compression, else as it is.

    The values and the UIDs stay the same; nothing but their encoding changes.

    Raises
    ------
    UnreadableImage
        When its pixels cannot be decoded.
    """
    with target.open("wb") as out:
        write_explicit(read_object(source), out, decode_frame)
    if implicit_vr:
        dataset = dcmread(target)
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        dcmwrite(target, dataset, implicit_vr=True, little_endian=True, enforce_file_format=True)


def decode_frame(dataset: Dataset, path: Path, index: int = 0) -> NDArray[Any]:
    """Decode in this process; only for files that we wrote ourselves."""
    del dataset
    return decode(read_object(path).single(index))


def _explicit(stored: StoredObject, decoder: FrameDecoder) -> Dataset:
    """Whole data set, its pixels little endian and not compressed."""
    syntax = stored.transfer_syntax
    if not stored.tag or (not syntax.is_encapsulated and syntax.is_little_endian):
        return dcmread(stored.path)
    dataset = stored.header
    pixels = _decoded(stored, decoder)
    bits = int(dataset.get("BitsAllocated") or 8)
    dataset.add_new(PIXEL_DATA, "OB" if bits <= 8 else "OW", pixels)
    if int(dataset.get("SamplesPerPixel") or 1) == 3:
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
    return dataset


def _decoded(stored: StoredObject, decoder: FrameDecoder) -> bytes:
    pixels = bytearray()
    for index in range(stored.frames):
        pixels += stored.explicit_frame(index, decoder)
        if len(pixels) * stored.frames // (index + 1) > MAX_DECODED_BYTES:
            raise UnreadableImage(
                Reason.UNREADABLE_PIXELS, "It is too large to be decoded as a whole."
            )
    return bytes(pixels) + b"\0" * (len(pixels) % 2)
