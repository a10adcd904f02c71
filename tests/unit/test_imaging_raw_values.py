"""Values taken from raw bytes are those that pydicom's parser gives."""

from __future__ import annotations

import struct
import warnings
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from oncopixel_pacs.imaging.raw_values import is_absent, plain_number, plain_text, plain_texts

TEXTS = [
    "SOPInstanceUID",
    "Modality",
    "StudyDescription",
    "AccessionNumber",
    "StudyDate",
    "StationName",
]
#: Letters, padding, separators, escapes, other character sets.
VALUES = st.one_of(
    st.text(alphabet="AZaz09 .^-_", max_size=20).map(str.encode),
    st.text(alphabet="A1 \\~\0\x1b=/", max_size=12).map(str.encode),
    st.binary(max_size=12),
)


def holding(keyword: str, value: bytes, *, implicit: bool = False) -> Dataset:
    """Make a data set with one element that nobody has parsed yet."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    value += b" " * (len(value) % 2)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if implicit:
        head += struct.pack("<L", len(value))
    else:
        head += dictionary_VR(tag).encode() + struct.pack("<H", len(value))
    return read_dataset(BytesIO(head + value), implicit, True)


@given(keyword=st.sampled_from(TEXTS), value=VALUES, implicit=st.booleans())
def test_a_plain_text_is_what_the_parser_says(keyword: str, value: bytes, implicit: bool) -> None:
    plain = plain_text(holding(keyword, value, implicit=implicit), keyword)
    if plain is None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parsed = holding(keyword, value, implicit=implicit).get(keyword)
    assert plain.strip() == ("" if parsed is None else str(parsed).replace("\0", "").strip())


@given(value=VALUES)
def test_plain_texts_are_what_the_parser_says(value: bytes) -> None:
    plain = plain_texts(holding("ImageType", value), "ImageType")
    if plain is None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parsed = holding("ImageType", value).get("ImageType")
    values = [parsed] if isinstance(parsed, str) else list(parsed)
    assert [item.strip(" \0") for item in plain] == [str(item).strip(" \0") for item in values]


@given(number=st.integers(0, 65535), implicit=st.booleans())
def test_a_us_is_what_the_parser_says(number: int, implicit: bool) -> None:
    dataset = holding("Rows", struct.pack("<H", number), implicit=implicit)
    assert plain_number(dataset, "Rows") == number == dataset.Rows


@pytest.mark.parametrize(
    ("value", "number"),
    [(b"12", 12), (b" 7 ", 7), (b"", None), (b"-1", None), (b"1.0", None), (b"1\\2", None)],
)
def test_an_is_of_digits_alone_is_read(value: bytes, number: int | None) -> None:
    assert plain_number(holding("NumberOfFrames", value), "NumberOfFrames") == number


@pytest.mark.parametrize("value", ["Müller".encode("latin-1"), b"A\\B", b"\x1b$B", b"caf~"])
def test_what_is_not_plain_is_left_to_the_parser(value: bytes) -> None:
    assert plain_text(holding("StudyDescription", value), "StudyDescription") is None


def test_absence_is_told_without_a_parser() -> None:
    dataset = holding("Modality", b"MG")
    assert is_absent(dataset, "Rows")
    assert not is_absent(dataset, "Modality")
    assert plain_text(dataset, "StudyDescription") == ""
    assert plain_number(dataset, "Rows") is None
    with pytest.raises(ValueError, match="no keyword"):
        plain_text(dataset, "Mdality")
