"""What is encoded here is what pydicom writes, byte for byte."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import config, dcmread, dcmwrite
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    generate_uid,
)
from pydicom.valuerep import DA, IS, TM, DSfloat

from oncopixel_pacs.report.part10 import encode

_UID = generate_uid(entropy_srcs=["part10"])


def _dataset(**values: Any) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = ComprehensiveSRStorage
    dataset.SOPInstanceUID = _UID
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def _meta(syntax: str = ExplicitVRLittleEndian) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = ComprehensiveSRStorage
    meta.MediaStorageSOPInstanceUID = _UID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = _UID
    return meta


def _by_pydicom(dataset: Dataset, meta: FileMetaDataset) -> bytes:
    buffer = io.BytesIO()
    file = FileDataset(buffer, dataset, preamble=b"\0" * 128, file_meta=meta)
    dcmwrite(buffer, file, enforce_file_format=True)
    return buffer.getvalue()


def _item(text: str, *below: Dataset) -> Dataset:
    item = Dataset()
    item.ValueType = "TEXT"
    item.TextValue = text
    if below:
        item.ContentSequence = list(below)
    return item


_CASES = {
    "texts": _dataset(
        PatientID="odd", StudyDescription="even", OtherPatientNames=["A^B", "C^D=E"], Modality="SR"
    ),
    "several values": _dataset(
        PatientOrientation=["L", "F"],
        ImageType=["DERIVED", "SECONDARY", "AXIAL"],
        SoftwareVersions=["1", "22", "333"],
        RelatedSeriesSequence=[],
    ),
    "empty": _dataset(
        PatientName="", PatientID=None, StudyDate="", PatientOrientation=[], AccessionNumber=""
    ),
    "numbers": _dataset(
        Rows=4096,
        GraphicData=[0.5, 1.25, 1e6],
        ReferencedContentItemIdentifier=[1, 2, 3],
        InstanceNumber=IS("007"),
        PixelSpacing=[DSfloat("0.0700"), 0.07],
        NumericValue="12.30",
        RealWorldValueSlope=0.1,
        LUTExplanation="x",
    ),
    "dates": _dataset(
        ContentDate=DA("20240102"), ContentTime=TM("010203.5"), StudyDate="20240102", StudyTime="01"
    ),
    "pixels": _dataset(PixelData=b"\1\2\3", Rows=1, Columns=3, BitsAllocated=8),
    "nested": _dataset(
        ContentSequence=[_item("a", _item("bb"), _item("c", _item("dd"))), _item("")]
    ),
    "latin": _dataset(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Ä", PatientID="ü"),
    "utf-8": _dataset(
        SpecificCharacterSet=["ISO_IR 192"],
        PatientName="Иванова^А",
        ContentSequence=[_item("naïve"), _item("plain")],
    ),
    "code extensions": _dataset(
        SpecificCharacterSet=["", "ISO 2022 IR 87"],
        PatientName="Yamada^Tarou=山田^太郎",
        StudyDescription="山田 \\ plain",
        ContentSequence=[_item("太郎"), _item("~")],
    ),
    "Japanese": _dataset(SpecificCharacterSet="ISO_IR 13", StudyDescription="~ plain"),
    "large": _dataset(TextValue="x" * 70_001),
    "tags": _dataset(FrameIncrementPointer=0x00181063, SelectorAttribute=0x00100010),
}


@pytest.mark.parametrize("name", _CASES)
def test_object_is_written_as_pydicom_writes_it(name: str) -> None:
    assert encode(_CASES[name], _meta()) == _by_pydicom(_CASES[name], _meta())


def test_ambiguous_element_is_left_to_pydicom() -> None:
    dataset = _dataset(
        PixelRepresentation=1, ContentSequence=[_item("a")], SmallestImagePixelValue=-3
    )
    assert dataset["SmallestImagePixelValue"].VR != "SS"

    written = encode(dataset, _meta())

    assert dcmread(io.BytesIO(written)).SmallestImagePixelValue == -3


def test_items_that_were_read_from_a_file_are_left_to_pydicom() -> None:
    # Their bytes stay as they are, padding and undefined lengths included.
    source = _dataset(RequestAttributesSequence=[_item("a ")])
    source.RequestAttributesSequence[0].is_undefined_length_sequence_item = True
    read = dcmread(io.BytesIO(_by_pydicom(source, _meta())))
    dataset = _dataset(RequestAttributesSequence=read.RequestAttributesSequence)

    assert encode(dataset, _meta()) == _by_pydicom(dataset, _meta())


def test_element_of_undefined_length_is_left_to_pydicom() -> None:
    dataset = _dataset(ContentSequence=[_item("a")])
    dataset["ContentSequence"].is_undefined_length = True

    assert encode(dataset, _meta()) == _by_pydicom(dataset, _meta())


def test_compressed_pixels_are_left_to_pydicom() -> None:
    frame = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\4\0\0\0\xff\xd8\xff\xd9"
    dataset = _dataset(PixelData=frame)
    dataset["PixelData"].VR = "OB"

    written = encode(dataset, _meta(JPEGBaseline8Bit))

    assert written == _by_pydicom(dataset, _meta(JPEGBaseline8Bit))
    assert dcmread(io.BytesIO(written)).PixelData == frame


_ONE_LINE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x17F, exclude_characters="\\"))


@given(
    texts=st.lists(_ONE_LINE, max_size=3),
    numbers=st.lists(st.floats(-1e9, 1e9, width=32), min_size=1, max_size=3),
    character_set=st.sampled_from(["ISO_IR 192", "GB18030", None]),
)
def test_whatever_stands_in_it(
    texts: list[str], numbers: list[float], character_set: str | None
) -> None:
    if character_set is None:
        texts = [text for text in texts if text.isascii()]
    dataset = _dataset(GraphicData=numbers, ContentSequence=[_item(text) for text in texts])
    if character_set is not None:
        dataset.SpecificCharacterSet = character_set
    with config.disable_value_validation():
        # Values that begin or end in blanks, and lists of them, are joined as they are.
        dataset.add(DataElement(0x00081030, "LO", texts))

    assert encode(dataset, _meta()) == _by_pydicom(dataset, _meta())
