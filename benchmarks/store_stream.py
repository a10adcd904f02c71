"""An object as the bytes of its C-STORE: encoded once, sent often, each time with its own UIDs."""

from __future__ import annotations

import io
import random
import struct
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation as SOP_CLASS
from pydicom.uid import ExplicitVRLittleEndian

from oncopixel_pacs.digests import DatasetDigest
from sample_dicom.study import make_study

CONTEXT_ID = 1
#: Largest P-DATA-TF that is sent; every receiver is set to take it (PS3.8 D.1).
PDU_BYTES = 128 << 10
_ROOT = "1.2.826.0.1.3680043.8.498.77"
_PLACEHOLDERS = {
    "SOPInstanceUID": f"{_ROOT}.1.1111111111",
    "StudyInstanceUID": f"{_ROOT}.2.2222222222",
    "SeriesInstanceUID": f"{_ROOT}.3.3333333333",
}


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent: objects of one size, so many of them to a study.

    Attributes
    ----------
    rows, columns
        Of 16-bit pixels.
    """

    name: str
    rows: int
    columns: int
    images_per_study: int

    @property
    def pixel_bytes(self) -> int:
        """Bytes of Pixel Data."""
        return self.rows * self.columns * 2


LOADS = {
    "27 MB": Load("27 MB", 4096, 3328, 4),
    "130 KB": Load("130 KB", 256, 256, 50),
}


def sop_instance_uid(number: int) -> str:
    """SOP Instance UID of the object with this number."""
    return f"{_ROOT}.1.{1_000_000_000 + number}"


class StoreStream:
    """The P-DATA-TF PDUs of one C-STORE request, in one buffer.

    Parameters
    ----------
    pixel_seed
        The same one gives the same pixels.
    """

    def __init__(self, load: Load, pixel_seed: int = 1) -> None:
        self._load = load
        self._dataset = bytearray(_encode(_dataset(load, pixel_seed)))
        self._places = {
            keyword: self._dataset.index(uid.encode()) + len(uid) - 10
            for keyword, uid in _PLACEHOLDERS.items()
        }
        self.pdus = bytearray(b"".join(_pdus(_command(), 0x03, PDU_BYTES)))
        self._command_place = self.pdus.index(_PLACEHOLDERS["SOPInstanceUID"].encode()) + len(
            _PLACEHOLDERS["SOPInstanceUID"]
        )
        self._body = len(self.pdus)
        for pdu in _pdus(self._dataset, 0x02, PDU_BYTES):
            self.pdus += pdu

    @property
    def dataset_bytes(self) -> int:
        """Size of the data set."""
        return len(self._dataset)

    def number(self, number: int) -> None:
        """Give the object its number: another instance, and every so often another study."""
        tail = str(1_000_000_000 + number).encode()
        study = str(1_000_000_000 + number // self._load.images_per_study).encode()
        self.pdus[self._command_place - 10 : self._command_place] = tail
        for keyword, place in self._places.items():
            digits = tail if keyword == "SOPInstanceUID" else study
            self._dataset[place : place + 10] = digits
            # The header lies in the first PDU of the data set, behind its 12 bytes.
            self.pdus[self._body + 12 + place : self._body + 22 + place] = digits

    def digest(self, number: int) -> str:
        """Digest of the data set of the object with this number, as the server stores it."""
        self.number(number)
        return DatasetDigest(self._dataset).text()


def _dataset(load: Load, pixel_seed: int) -> Dataset:
    dataset = make_study(1, rows=256, columns=256)[0].dataset
    for keyword, uid in _PLACEHOLDERS.items():
        setattr(dataset, keyword, uid)
    dataset.Rows, dataset.Columns = load.rows, load.columns
    dataset.PixelData = random.Random(pixel_seed).randbytes(load.pixel_bytes)  # noqa: S311
    dataset["PixelData"].VR = "OW"
    return dataset


def _encode(dataset: Dataset) -> bytes:
    target = DicomBytesIO()
    target.is_little_endian, target.is_implicit_VR = True, False
    write_dataset(target, dataset)
    return target.getvalue()


def _command() -> bytes:
    """C-STORE-RQ (PS3.7 9.3.1.1), Implicit VR Little Endian."""
    elements = io.BytesIO()
    for element, value in (
        (0x0002, _even(SOP_CLASS.encode())),
        (0x0100, struct.pack("<H", 0x0001)),
        (0x0110, struct.pack("<H", 1)),
        (0x0700, struct.pack("<H", 0)),
        (0x0800, struct.pack("<H", 0)),
        (0x1000, _even(_PLACEHOLDERS["SOPInstanceUID"].encode())),
    ):
        elements.write(struct.pack("<HHI", 0, element, len(value)) + value)
    body = elements.getvalue()
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _even(value: bytes) -> bytes:
    return value + b"\0" * (len(value) % 2)


def _pdus(content: bytes | bytearray, last_control: int, pdu_bytes: int) -> list[bytes]:
    """Cut into P-DATA-TF PDUs of one PDV each (PS3.8 9.3.5)."""
    step = pdu_bytes - 6
    pdus = []
    for begin in range(0, len(content), step):
        part = content[begin : begin + step]
        is_last = begin + step >= len(content)
        control = last_control if is_last else last_control & 0x01
        head = struct.pack(">BxIIBB", 4, len(part) + 6, len(part) + 2, CONTEXT_ID, control)
        pdus.append(head + part)
    return pdus


def associate_request(called_ae_title: str) -> bytes:
    """A-ASSOCIATE-RQ (PS3.8 9.3.2) with the one context that is used."""

    def item(kind: int, content: bytes) -> bytes:
        return struct.pack(">BxH", kind, len(content)) + content

    context = struct.pack(">B3x", CONTEXT_ID)
    context += item(0x30, SOP_CLASS.encode()) + item(0x40, ExplicitVRLittleEndian.encode())
    user = item(0x51, struct.pack(">I", PDU_BYTES)) + item(0x52, b"1.2.826.0.1.3680043.8.498.76")
    body = struct.pack(">HH", 1, 0)
    body += called_ae_title.encode().ljust(16) + b"BENCHMARK".ljust(16) + bytes(32)
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, context) + item(0x50, user)
    return struct.pack(">BxI", 1, len(body)) + body
