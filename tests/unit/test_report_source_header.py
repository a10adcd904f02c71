"""Headers of source images: whatever modalities write, results can be written from it."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from oncopixel_pacs.domain import Laterality, View
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report.source_header import TYPE_2, read_source
from tests.golden_collection import COLLECTION
from tests.report_builders import case, mammogram, save

UTF_8 = ("ISO_IR 192",)
JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"
KOREAN = "Hong^Gildong=洪^吉洞=홍^길동"


def test_a_clean_header_needs_no_repair(tmp_path: Path) -> None:
    header = read_source(save(mammogram(), tmp_path))
    assert header.repairs == ()
    assert header.dataset.PatientName == "Test^Anna"
    assert header.dataset.RequestAttributesSequence[0].RequestedProcedureID == "RP1"


@pytest.mark.parametrize("keyword", TYPE_2)
def test_a_missing_type_2_attribute_is_written_empty(tmp_path: Path, keyword: str) -> None:
    dataset = mammogram()
    del dataset[keyword]
    header = read_source(save(dataset, tmp_path))
    assert keyword in header.dataset and not header.dataset[keyword].value
    assert len(header.repairs) == 1 and header.repairs[0].endswith(
        "is missing and was written empty."
    )


@pytest.mark.parametrize(
    ("keyword", "written", "read"),
    [
        ("PatientSex", "U", ""),
        ("PatientSex", "X", ""),
        ("PatientSex", "f", "F"),
        ("PatientSex", "FEMALE", "F"),
        ("PatientBirthDate", "00000000", ""),
        ("PatientBirthDate", "1961.02.03", "19610203"),
        ("PatientBirthDate", "19610230", ""),
        ("StudyTime", "10:15:30", "101530"),
        ("StudyTime", "late", ""),
        ("PatientAge", "64", "064Y"),
        ("AccessionNumber", "A" * 20, "A" * 16),
        ("StudyDescription", "x" * 70, "x" * 64),
        ("PatientID", "12\\34", "12 34"),
        ("TimezoneOffsetFromUTC", "CET", None),
        ("PatientWeight", "heavy", None),
    ],
)
def test_invalid_values_are_repaired_and_told_without_the_value(
    tmp_path: Path, keyword: str, written: str, read: str | None
) -> None:
    dataset = mammogram()
    _set_raw(dataset, keyword, written.encode())
    header = read_source(save(dataset, tmp_path))
    assert header.dataset.get(keyword) == read
    assert len(header.repairs) == 1
    assert len(written) == 1 or written not in header.repairs[0]


@pytest.mark.parametrize("control", [b"\x07", b"\x8b"], ids=["C0", "C1"])
def test_control_characters_are_no_text(tmp_path: Path, control: bytes) -> None:
    dataset = mammogram()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    _set_raw(dataset, "IssuerOfPatientID", b"H" + control)
    assert read_source(save(dataset, tmp_path)).dataset.IssuerOfPatientID == "H"


@pytest.mark.parametrize(
    ("character_set", "name", "kept"),
    [
        ("ISO_IR 100", "Müller^Änne", ("ISO_IR 100",)),
        (["", "ISO 2022 IR 87"], JAPANESE, ("", "ISO 2022 IR 87")),
        (["", "ISO 2022 IR 149"], KOREAN, ("", "ISO 2022 IR 149")),
        ("ISO_IR 144", "Люкceмбypг", ("ISO_IR 144",)),
        ("ISO_IR 192", "Müller^山田", ("ISO_IR 192",)),
        ("GB18030", "Wang^XiaoDong=王^小东", ("GB18030",)),
        (None, "Plain^Ascii", ("ISO_IR 192",)),
        ("", "Plain^Ascii", ("ISO_IR 192",)),
        ("ISO_IR 6", "Plain^Ascii", ("ISO_IR 192",)),
    ],
)
def test_names_are_read_and_the_character_set_is_kept(
    tmp_path: Path, character_set: str | list[str] | None, name: str, kept: tuple[str, ...]
) -> None:
    header = read_source(save(mammogram(character_set=character_set, patient_name=name), tmp_path))
    assert str(header.dataset.PatientName) == name
    assert header.character_set == kept
    assert header.repairs == ()


def _jis(text: str) -> bytes:
    return b"=".join(
        b"^".join(part.encode("iso2022_jp") for part in group.split("^"))
        for group in text.split("=")
    )


@pytest.mark.parametrize(
    ("character_set", "raw", "name", "kept"),
    [
        # 春 and 猿 hold the byte of "=", 井 and ボ that of a backslash, マ that of "^".
        ("\\ISO 2022 IR 87", _jis("Mori^Haruko=森^春子"), "Mori^Haruko=森^春子", None),
        ("\\ISO 2022 IR 87", _jis("Tsuboi=坪井=ツボイ^マミ"), "Tsuboi=坪井=ツボイ^マミ", UTF_8),
        ("GB18030", "Yun=運^運".encode("gb18030"), "Yun=運^運", UTF_8),
        ("GBK", "Wang=王^小東".encode("gbk"), "Wang=王^小東", ("GB18030",)),
        ("\\ISO 2022 IR 58", b"Zhang=\x1b$)A\xd5\xc5", "Zhang=张", UTF_8),
        ("ISO 2022 IR 144", "Иванов".encode("iso8859-5"), "Иванов", ("ISO_IR 144",)),
        ("ISO_IR 203", "Müller^Œuvre".encode("iso8859-15"), "Müller^Œuvre", UTF_8),
    ],
)
def test_names_are_decoded_before_they_are_taken_apart(
    tmp_path: Path, character_set: str, raw: bytes, name: str, kept: tuple[str, ...] | None
) -> None:
    dataset = mammogram()
    _set_raw(dataset, "SpecificCharacterSet", character_set.encode())
    _set_raw(dataset, "PatientName", raw)
    header = read_source(save(dataset, tmp_path))
    assert str(header.dataset.PatientName) == name
    assert header.character_set == (kept or tuple(character_set.split("\\")))
    assert header.repairs == ()


def test_code_extensions_without_the_first_term(tmp_path: Path) -> None:
    path = save(mammogram(character_set=["", "ISO 2022 IR 87"], patient_name=JAPANESE), tmp_path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\\ISO 2022 IR 87 ", b"ISO 2022 IR 87  "))
    assert path.read_bytes() != content
    header = read_source(path)
    assert str(header.dataset.PatientName) == JAPANESE
    assert header.character_set == ("", "ISO 2022 IR 87")


@pytest.mark.parametrize(
    ("claimed", "kept"),
    [(b"ISO-IR 100", ("ISO_IR 100",)), (b"NONSENSE 1", ("ISO_IR 192",))],
)
def test_a_wrong_character_set_does_not_garble_names(
    tmp_path: Path, claimed: bytes, kept: tuple[str, ...]
) -> None:
    path = save(mammogram(patient_name="Müller^Änne"), tmp_path)
    path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", claimed))
    header = read_source(path)
    assert str(header.dataset.PatientName) == "Müller^Änne"
    assert header.character_set == kept
    assert any("Character Set" in repair for repair in header.repairs)


def test_utf_8_bytes_without_any_character_set_are_read_as_utf_8(tmp_path: Path) -> None:
    dataset = mammogram(character_set=None)
    _set_raw(dataset, "PatientName", "Müller^山田".encode())
    header = read_source(save(dataset, tmp_path))
    assert str(header.dataset.PatientName) == "Müller^山田"


def test_utf_8_combined_with_code_extensions_stays_utf_8(tmp_path: Path) -> None:
    dataset = mammogram(character_set="ISO_IR 192", patient_name="Müller^Änne")
    path = save(dataset, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        changed = dcmread(path)
        changed.SpecificCharacterSet = ["ISO_IR 192", "ISO 2022 IR 87"]
        path = save(changed, tmp_path)
    header = read_source(path)
    assert str(header.dataset.PatientName) == "Müller^Änne"
    assert header.character_set == ("ISO_IR 192",)


def test_frame_of_reference_private_tags_and_acquisition_are_left_out(tmp_path: Path) -> None:
    dataset = mammogram()
    dataset.FrameOfReferenceUID = "1.2.3"
    dataset.PositionReferenceIndicator = ""
    dataset.private_block(0x0045, "MAKER", create=True).add_new(0x10, "LO", "secret")
    header = read_source(save(dataset, tmp_path))
    assert "FrameOfReferenceUID" not in header.dataset
    assert not any(element.tag.is_private for element in header.dataset)
    assert "Manufacturer" not in header.dataset
    assert header.repairs == (
        "Frame of Reference UID was left out: a projection has no plane in it.",
    )


def test_items_that_break_their_macro_are_left_out(tmp_path: Path) -> None:
    dataset = mammogram()
    half = Dataset()
    half.CodeValue = "123"
    dataset.ProcedureCodeSequence = [half]
    whole = Dataset()
    whole.ReferencedSOPClassUID, whole.ReferencedSOPInstanceUID = "1.2", "1.3"
    dataset.ReferencedStudySequence = [whole, Dataset()]
    header = read_source(save(dataset, tmp_path)).dataset
    assert "ProcedureCodeSequence" not in header
    assert len(header.ReferencedStudySequence) == 1


@pytest.mark.parametrize("complete", [True, False])
def test_a_clinical_trial_is_kept_whole_or_not_at_all(tmp_path: Path, complete: bool) -> None:
    dataset = mammogram()
    dataset.ClinicalTrialSponsorName = "Sponsor"
    dataset.ClinicalTrialProtocolID = "Protocol"
    if complete:
        dataset.ClinicalTrialSubjectID = "Subject"
    header = read_source(save(dataset, tmp_path)).dataset
    assert ("ClinicalTrialSponsorName" in header) is complete
    assert ("ClinicalTrialSiteName" in header) is complete


def test_a_removed_identity_without_a_method_says_that_none_was_stated(tmp_path: Path) -> None:
    dataset = mammogram()
    dataset.PatientIdentityRemoved = "YES"
    header = read_source(save(dataset, tmp_path))
    assert header.dataset.DeidentificationMethod == "Not stated in the source image"
    assert header.repairs == ("De-identification Method is missing and was written as not stated.",)


def test_a_method_of_deidentification_is_kept(tmp_path: Path) -> None:
    dataset = mammogram()
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = ["CTP"]
    header = read_source(save(dataset, tmp_path))
    assert header.dataset.DeidentificationMethod == "CTP"
    assert header.repairs == ()


@pytest.mark.parametrize("keyword", ["Rows", "SOPInstanceUID", "StudyInstanceUID"])
def test_without_size_or_uid_there_is_no_result(tmp_path: Path, keyword: str) -> None:
    dataset = mammogram()
    path = save(dataset, tmp_path)
    broken = dcmread(path)
    del broken[keyword]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        broken.save_as(path)
    with pytest.raises(ResultRejected, match=keyword):
        read_source(path)


def test_a_file_that_is_no_dicom_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(b"no DICOM")
    with pytest.raises(ResultRejected, match="cannot be read"):
        read_source(path)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    values=st.dictionaries(
        st.sampled_from([*TYPE_2, "PatientAge", "StudyDescription"]),
        st.binary(max_size=80),
        max_size=4,
    ),
    character_set=st.text(alphabet="ISO_R 2149087\\", max_size=20),
)
def test_whatever_bytes_the_text_holds_results_can_be_built(
    tmp_path: Path, values: dict[str, bytes], character_set: str
) -> None:
    def garble(dataset: Dataset) -> None:
        _set_raw(dataset, "SpecificCharacterSet", character_set.encode())
        for keyword, value in values.items():
            _set_raw(dataset, keyword, value)

    study = case(tmp_path, {(Laterality.RIGHT, View.CC): 1}, change=garble)
    with COLLECTION.ignoring():
        objects = study.build()
    for item in objects:
        assert dcmread(io.BytesIO(item.part10)).StudyInstanceUID == study.result.study_instance_uid


def _set_raw(dataset: Dataset, keyword: str, value: bytes) -> None:
    """Put bytes into an attribute as they are."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tag = Tag(tag_for_keyword(keyword))
    value += b" " * (len(value) % 2)
    dataset._dict[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
