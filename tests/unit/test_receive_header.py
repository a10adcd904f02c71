"""Reading the header of a received file: whatever comes, one clear answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from dimse_builder import cut, mammogram, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from oncopixel_pacs.errors import CannotUnderstand
from oncopixel_pacs.imaging.header import read_study_header
from oncopixel_pacs.receive import header as header_module
from oncopixel_pacs.receive.header import is_uid, read_header
from oncopixel_pacs.receive.privacy import quieten_libraries


@pytest.fixture(autouse=True)
def quiet() -> None:
    quieten_libraries()


def test_the_header_ends_where_the_pixels_begin(tmp_path: Path) -> None:
    path = write(mammogram(), tmp_path / "a.dcm")
    header = read_header(path)
    assert header.has_pixel_data
    assert "PixelData" not in header.dataset
    assert header.uid("SOPInstanceUID") == mammogram().SOPInstanceUID
    assert path.read_bytes()[header.offset : header.offset + 4] == b"\x08\x00\x16\x00"


def test_an_object_without_pixels_has_a_header_too(tmp_path: Path) -> None:
    assert not read_header(write(mammogram(PixelData=None), tmp_path / "a.dcm")).has_pixel_data


def test_implicit_vr_is_read(tmp_path: Path) -> None:
    image = mammogram()
    image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    header = read_header(write(image, tmp_path / "a.dcm"))
    assert header.transfer_syntax_uid == ImplicitVRLittleEndian
    assert header.dataset.Rows == 32


def test_missing_pixel_bytes_are_not_the_business_of_the_header(tmp_path: Path) -> None:
    path = cut(write(mammogram(), tmp_path / "a.dcm"), 1000)
    assert read_header(path).has_pixel_data


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
@pytest.mark.parametrize("value", ["", "../../etc/passwd", "1.2." + "3" * 64, "1..2"])
def test_a_uid_that_is_none_is_refused(tmp_path: Path, keyword: str, value: str) -> None:
    image = mammogram()
    image[keyword]._value = value
    path = tmp_path / "a.dcm"
    image.save_as(path)
    with pytest.raises(CannotUnderstand, match=keyword):
        read_header(path).uid(keyword)


@given(st.lists(st.integers(min_value=0), min_size=1).map(lambda parts: ".".join(map(str, parts))))
def test_whatever_fits_the_syntax_in_64_characters_is_a_uid(text: str) -> None:
    assert is_uid(text) == (len(text) <= 64)


@given(st.text())
def test_nothing_that_could_be_a_path_is_a_uid(text: str) -> None:
    assert not is_uid(text + "/" + text)


@pytest.mark.parametrize("last_bytes", [1, 3, 11])
def test_a_file_that_ends_inside_an_element_of_its_header_is_refused(
    tmp_path: Path, last_bytes: int
) -> None:
    path = write(mammogram(PixelData=None), tmp_path / "a.dcm")
    with pytest.raises(CannotUnderstand, match="ends inside its header"):
        read_header(cut(path, last_bytes))


def test_a_file_that_ends_inside_an_open_sequence_is_refused(tmp_path: Path) -> None:
    image = mammogram(PixelData=None)
    item = Dataset()
    item.PatientComments = "x" * 400
    image.add_new(0x7FE10010, "SQ", Sequence([item]))
    image[0x7FE10010].is_undefined_length = True
    path = write(image, tmp_path / "a.dcm")
    assert 0x7FE10010 in read_header(path).dataset
    with pytest.raises(CannotUnderstand):
        read_header(cut(path, 100))


@pytest.mark.parametrize("content", [b"", b"not DICOM", b"\x00" * 128 + b"DICM", b"\xff" * 5000])
def test_what_is_not_dicom_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(content)
    with pytest.raises(CannotUnderstand):
        read_header(path)


def test_sequences_nested_without_end_are_refused(tmp_path: Path) -> None:
    path = write(mammogram(PixelData=None), tmp_path / "a.dcm")
    begin = b"\x01\x00\x10\x77SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    path.write_bytes(path.read_bytes() + begin * 5000)
    with pytest.raises(CannotUnderstand):
        read_header(path)


def test_deflated_data_sets_are_refused_before_they_are_inflated(tmp_path: Path) -> None:
    image = mammogram()
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    with pytest.raises(CannotUnderstand, match="Deflated"):
        read_header(write(image, tmp_path / "a.dcm"))


def test_a_header_larger_than_its_share_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(mammogram(ImageComments="x" * 2000), tmp_path / "a.dcm")
    monkeypatch.setattr(header_module, "MAX_HEADER_BYTES", 1000)
    with pytest.raises(CannotUnderstand, match="longer than"):
        read_header(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 1200), junk=st.binary(min_size=1, max_size=16))
def test_damage_anywhere_is_read_or_refused_but_never_a_crash(
    tmp_path: Path, position: int, junk: bytes
) -> None:
    path = write(mammogram(), tmp_path / "a.dcm")
    content = bytearray(path.read_bytes())
    content[position : position + len(junk)] = junk
    path.write_bytes(content)
    try:
        header = read_header(path)
        header.uid("StudyInstanceUID")
        read_study_header(header.dataset)
    except CannotUnderstand:
        pass


def test_a_name_in_a_broken_character_set_does_not_stop_an_object(tmp_path: Path) -> None:
    image = mammogram(SpecificCharacterSet="ISO_IR 100")
    path = write(image, tmp_path / "a.dcm")
    content = path.read_bytes().replace(b"ISO_IR 100", b"ISO_IR 999")
    path.write_bytes(content.replace(b"Phantom^Anna", b"\xff\xfe^\x80\x81\x82\x83\x84nnaa"))
    assert read_study_header(read_header(path).dataset).patient_id == "P-1"
