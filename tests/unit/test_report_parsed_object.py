"""Rules read a result object once, and read what pydicom reads."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from oncopixel_pacs.domain import Laterality, ObjectKind, View
from oncopixel_pacs.report.parsed_object import ParsedItem, ParsedObject
from tests.report_builders import FOUR_VIEWS, case, mammogram, save

KINDS = tuple(kind for kind in ObjectKind if kind is not ObjectKind.REJECTION)


@pytest.mark.parametrize("character_set", ["ISO_IR 100", "ISO_IR 192", ["", "ISO 2022 IR 87"]])
def test_every_value_of_every_kind_of_result_is_the_one_of_pydicom(
    tmp_path: Path, character_set: str | list[str]
) -> None:
    """Names, UIDs, numbers, several values, nothing, pixels; in items of items, too."""
    study = case(
        tmp_path,
        {FOUR_VIEWS[0]: 2, FOUR_VIEWS[1]: 0},
        character_set=character_set,
        patient_name="Yamada^Tarou=山田^太郎" if isinstance(character_set, list) else "Test^Anna",
    )
    for built in study.build(wanted=KINDS):
        assert_same(ParsedObject(built.part10), dcmread(io.BytesIO(built.part10)))


def test_attributes_whose_representation_the_file_does_not_say_are_read_all_the_same(
    tmp_path: Path,
) -> None:
    """Implicit VR names none, and strangers name ``UN``."""
    dataset = dcmread(save(mammogram(Laterality.LEFT, View.CC), tmp_path))
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.add_new(0x00091010, "UN", b"\x01\x02")
    buffer = io.BytesIO()
    dataset.save_as(buffer, implicit_vr=True)
    found = ParsedObject(buffer.getvalue())
    assert_same(found, dcmread(io.BytesIO(buffer.getvalue())))
    assert found.AnatomicRegionSequence[0].CodeMeaning == "Breast"


def test_what_is_missing_is_missing_as_in_pydicom() -> None:
    item = ParsedItem(Dataset())
    assert item.get("PatientID", "none") == "none"
    assert "PatientID" not in item
    with pytest.raises(AttributeError, match="PatientID"):
        _ = item.PatientID


def assert_same(found: ParsedItem, expected: Dataset) -> None:
    """Compare every attribute; each is also found by the walk and among the UIDs."""
    sequences = dict(found.sequences)
    uids = dict(found.uids)
    for element in expected:
        keyword = element.keyword
        if not keyword:
            continue
        assert keyword in found
        if element.VR == "SQ":
            items = sequences.pop(keyword)
            assert len(items) == len(element.value)
            for item, same in zip(items, element.value, strict=True):
                assert_same(item, same)
            continue
        assert found.get(keyword) == element.value == getattr(found, keyword)
        assert type(found.get(keyword)) is type(element.value)
        if element.VR == "UI":
            several = element.value if element.VM > 1 else [element.value]
            assert list(uids.pop(keyword)) == list(several)
    assert not sequences
    assert not uids
