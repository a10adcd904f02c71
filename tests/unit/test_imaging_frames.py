"""Frames are read one by one from the file, and are the frames that were written."""

from __future__ import annotations

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.utils import pack_bits
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from oncopixel_pacs.errors import UnreadableImage
from oncopixel_pacs.imaging.codecs import decode
from oncopixel_pacs.imaging.frames import StoredObject, read_object

NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)


def decoder(_header: Dataset, path: Path, index: int) -> Any:
    return decode(dcmread(path), index)


def written(folder: Path, pixels: np.ndarray, bits: int, syntax: UID) -> StoredObject:
    """Write ``(frames, rows, columns)`` and read its header back."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7.1", "2.25.1"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, 0
    order = "<" if syntax.is_little_endian else ">"
    value = pack_bits(pixels) if bits == 1 else pixels.astype(f"{order}u{bits // 8}").tobytes()
    dataset.add_new(0x7FE00010, "OB" if bits == 8 else "OW", value + b"\0" * (len(value) % 2))
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    path = folder / "image.dcm"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcmwrite(
            path,
            dataset,
            implicit_vr=syntax.is_implicit_VR,
            little_endian=syntax.is_little_endian,
            enforce_file_format=True,
        )
    return read_object(path)


@settings(max_examples=40)
@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    frames=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_frames_of_single_bits_each_begin_at_a_byte(
    rows: int, columns: int, frames: int, seed: int
) -> None:
    bits = np.random.default_rng(seed).integers(0, 2, (frames, rows, columns), np.uint8)
    with TemporaryDirectory() as folder:
        stored = written(Path(folder), bits, 1, ExplicitVRLittleEndian)
        for index in range(frames):
            frame = np.frombuffer(stored.frame(index), np.uint8)
            assert len(frame) == (rows * columns + 7) // 8
            found = np.unpackbits(frame, bitorder="little")[: rows * columns]
            assert (found.reshape(rows, columns) == bits[index]).all()
            assert (stored.pixels(index, decoder) == bits[index]).all()


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda uid: uid.name)
@pytest.mark.parametrize("bits", [8, 16])
def test_frames_of_every_plain_syntax_are_little_endian(
    tmp_path: Path, syntax: UID, bits: int
) -> None:
    pixels = np.arange(3 * 4 * 5).reshape(3, 4, 5) * (1 if bits == 8 else 300)
    stored = written(tmp_path, pixels, bits, syntax)
    assert stored.frames == 3
    for index in range(3):
        assert (
            stored.explicit_frame(index, decoder)
            == pixels[index].astype(f"<u{bits // 8}").tobytes()
        )
        assert (stored.pixels(index, decoder) == pixels[index]).all()


def test_frames_that_are_compressed_are_given_one_by_one(tmp_path: Path) -> None:
    pixels = np.arange(3 * 4 * 6).reshape(3, 4, 6)
    plain = written(tmp_path, pixels, 16, ExplicitVRLittleEndian)
    dataset = dcmread(plain.path)
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.save_as(plain.path)
    stored = read_object(plain.path)
    for index in range(3):
        assert stored.frame(index) in dataset.PixelData
        assert stored.explicit_frame(index, decoder) == pixels[index].astype("<u2").tobytes()


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    stored = written(tmp_path, np.zeros((2, 4, 4)), 16, ExplicitVRLittleEndian)
    for index in (-1, 2):
        with pytest.raises(UnreadableImage, match="no frame"):
            stored.frame(index)
        with pytest.raises(UnreadableImage, match="no frame"):
            stored.pixels(index, decoder)


@pytest.mark.parametrize(
    "change", [{"Rows": 5}, {"Rows": 0}, {"Columns": "x"}, {"BitsAllocated": None}, {"Rows": 65535}]
)
def test_a_header_that_lies_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    stored = written(tmp_path, np.zeros((1, 4, 4)), 16, ExplicitVRLittleEndian)
    for keyword, value in change.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stored.header[keyword].value = value
    with pytest.raises(UnreadableImage):
        stored.explicit_frame(0, decoder)


def test_a_file_that_is_cut_is_refused(tmp_path: Path) -> None:
    stored = written(tmp_path, np.zeros((2, 64, 64)), 16, ExplicitVRLittleEndian)
    stored.path.write_bytes(stored.path.read_bytes()[:-1000])
    assert len(stored.frame(0)) == 64 * 64 * 2
    with pytest.raises(UnreadableImage):
        stored.frame(1)
    stored.path.write_bytes(b"no DICOM")
    with pytest.raises(UnreadableImage):
        read_object(stored.path)
