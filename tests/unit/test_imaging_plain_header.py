"""Headers that are stepped over as bytes say what a parser reads of them, or are left to it."""

from __future__ import annotations

import copy
import functools
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset, read_partial
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

from oncopixel_pacs.domain import ImageFacts, StudyHeader
from oncopixel_pacs.imaging.header import read_image_facts, read_study_header
from oncopixel_pacs.imaging.plain_header import PlainHeaders
from sample_dicom.study import make_study

NASTY = Path(os.environ.get("ONCOPIXEL_DATA", "")) / "nasty_dicom"
PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
SYNTAXES = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
TEXTS = ("PatientName", "PatientID", "StudyDescription", "AccessionNumber", "SeriesDescription")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@functools.cache
def made() -> Dataset:
    return make_study(5, lesion=False, rows=64, columns=64)[0].dataset


def encoded(syntax: str = SYNTAXES[0], **changes: object) -> bytes:
    dataset = copy.deepcopy(made())
    for keyword, value in changes.items():
        if value is None:
            dataset.pop(keyword, None)
        else:
            setattr(dataset, keyword, value)
    stream = DicomBytesIO()
    stream.is_little_endian = syntax != str(ExplicitVRBigEndian)
    stream.is_implicit_VR = syntax == str(ImplicitVRLittleEndian)
    write_dataset(stream, dataset)
    return stream.getvalue()


def parsed(content: bytes, syntax: str) -> tuple[ImageFacts, StudyHeader] | None:
    """Read with pydicom what stands before Pixel Data; `None` without any."""
    seen: list[int] = []

    def stop(tag: int, _vr: str | None, _length: int) -> bool:
        seen.append(tag)
        return tag in PIXEL_TAGS

    implicit = syntax == str(ImplicitVRLittleEndian)
    dataset = read_dataset(io.BytesIO(content), implicit, True, stop_when=stop)
    if not seen or seen[-1] not in PIXEL_TAGS:
        return None
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    return read_image_facts(dataset), read_study_header(dataset)


def headers_that_know(*contents: bytes, syntax: str = SYNTAXES[0]) -> PlainHeaders:
    headers = PlainHeaders()
    for content in contents:
        known = parsed(content, syntax)
        assert known is not None
        headers.remember(content, syntax, known[0])
    return headers


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_another_image_of_the_same_unit_is_read_as_a_parser_reads_it(syntax: str) -> None:
    headers = headers_that_know(encoded(syntax), syntax=syntax)
    other = encoded(
        syntax,
        SOPInstanceUID="1.2.3.4",
        StudyInstanceUID="1.2.3",
        SeriesInstanceUID="1.2.5",
        PatientName="Doe^Jane^^Dr.",
        PatientID=" 17 ",
        StudyDate="20250102",
        InstanceNumber=7,
    )
    read = headers.read(other, syntax)
    assert read is not None
    assert read == parsed(other, syntax)
    assert read[0].sop_instance_uid == "1.2.3.4"
    assert read[1].patient_name == "Doe^Jane^^Dr."


def test_the_first_of_a_kind_is_left_to_the_parser() -> None:
    assert PlainHeaders().read(encoded(), SYNTAXES[0]) is None


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("ImageLaterality", "L"),
        ("ViewPosition", "MLO"),
        ("Rows", 4096),
        ("PartialView", "YES"),
        ("SpecificCharacterSet", "ISO_IR 100"),
        ("SeriesDescription", "Another"),
        ("SOPInstanceUID", None),
        ("SOPInstanceUID", "1.2.x"),
        ("StudyInstanceUID", "1." * 40 + "1"),
        ("PatientName", "Müller^Änne"),
        ("PatientName", "Yamada^Tarou=山田^太郎"),
        ("PatientID", "1\\2"),
    ],
)
def test_what_is_unlike_the_known_is_left_to_the_parser(keyword: str, value: object) -> None:
    other = encoded(**{keyword: value})
    assert headers_that_know(encoded()).read(other, SYNTAXES[0]) is None


@pytest.mark.parametrize("syntax", [DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_encodings_are_left_to_the_parser(syntax: str) -> None:
    headers = PlainHeaders()
    content = encoded(str(syntax))
    known = parsed(encoded(), SYNTAXES[0])
    assert known is not None
    headers.remember(content, str(syntax), known[0])
    assert headers.read(content, str(syntax)) is None


def test_images_that_name_their_sources_are_left_to_the_parser() -> None:
    source = Dataset()
    source.ReferencedSOPInstanceUID = generate_uid()
    content = encoded(SourceImageSequence=[source])
    assert headers_that_know(content).read(content, SYNTAXES[0]) is None


def test_a_header_that_ends_before_its_pixels_is_left_to_the_parser() -> None:
    content = encoded()
    headers = headers_that_know(content)
    pixels = content.index(b"\xe0\x7f\x10\x00")
    assert headers.read(content[: pixels + 12], SYNTAXES[0]) is not None
    for end in (0, 1, 7, pixels - 1, pixels, pixels + 7):
        assert headers.read(content[:end], SYNTAXES[0]) is None


def test_nothing_that_is_remembered_names_patient_or_image() -> None:
    content = encoded(PatientName="Canary^Family", PatientID="CANARY-ID", SOPInstanceUID="1.2.77.8")
    held = repr(headers_that_know(content).__dict__)
    assert "CANARY" not in held.upper()
    assert "1.2.77.8" not in held


def test_any_number_of_kinds_is_known_at_most_in_bounds() -> None:
    content = encoded()
    known = parsed(content, SYNTAXES[0])
    assert known is not None
    headers = PlainHeaders()
    at = content.index(b"CS", content.index(b"\x18\x00\x15\x00"))
    for number in range(600):
        other = content[: at + 4] + f"{number:06}".encode() + content[at + 10 :]
        headers.remember(other, SYNTAXES[0], known[0])
    assert 0 < len(headers._known) <= 256


@given(
    syntax=st.sampled_from(SYNTAXES),
    changes=st.dictionaries(
        st.sampled_from(TEXTS),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
    ),
)
def test_any_text_reads_as_the_parser_reads_it(syntax: str, changes: dict[str, str]) -> None:
    content = encoded(syntax, **changes)
    read = headers_that_know(content, syntax=syntax).read(content, syntax)
    assert read is None or read == parsed(content, syntax)
    plain = all(set(text).isdisjoint("\\~=") for text in changes.values())
    assert (read is not None) >= plain


@given(
    syntax=st.sampled_from(SYNTAXES),
    damage=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=3),
)
def test_any_damage_reads_as_the_parser_reads_it(
    syntax: str, damage: list[tuple[float, int]]
) -> None:
    whole = encoded(syntax)
    pixels = whole.index(b"\xe0\x7f\x10\x00")
    headers = headers_that_know(whole, syntax=syntax)
    content = bytearray(whole[: pixels + 64])
    for place, value in damage:
        content[int(place * pixels)] = value
    read = headers.read(bytes(content), syntax)
    assert read is None or read == parsed(bytes(content), syntax)


@pytest.mark.skipif(not NASTY.is_dir(), reason="no nasty_dicom in ONCOPIXEL_DATA")
def test_odd_files_of_the_field_read_as_the_parser_reads_them() -> None:
    compared = 0
    for path in sorted(NASTY.rglob("*")):
        if not path.is_file():
            continue
        content = path.read_bytes()
        for syntax in SYNTAXES:
            compared += _same_as_parsed(_data_set(path, content), syntax)
    assert compared > 10


def _data_set(path: Path, content: bytes) -> bytes:
    if content[128:132] != b"DICM":
        return content
    try:
        with path.open("rb") as stream:
            read_partial(stream, stop_when=lambda *_: True)
            return content[stream.tell() :]
    except Exception:
        return b""


def _same_as_parsed(content: bytes, syntax: str) -> bool:
    try:
        known = parsed(content, syntax)
    except Exception:
        known = None
    headers = PlainHeaders()
    if known is not None:
        headers.remember(content, syntax, known[0])
    read = headers.read(content, syntax)
    assert read is None or read == known
    return read is not None
