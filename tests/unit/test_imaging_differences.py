"""What tells two contents of one image apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dimse_builder import mammogram, write
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian

from oncopixel_pacs.imaging.differences import differences


def told(folder: Path, **attributes: Any) -> list[tuple[str, str | None, str | None]]:
    held = write(mammogram(PatientName="DOE^JAN"), folder / "held.dcm")
    other = write(mammogram(**{"PatientName": "DOE^JAN", **attributes}), folder / "other.dcm")
    return [(item.name, item.held, item.other) for item in differences(held, other)]


def test_the_same_content_differs_in_nothing(tmp_path: Path) -> None:
    assert told(tmp_path) == []


def test_values_stand_beside_each_other(tmp_path: Path) -> None:
    assert told(tmp_path, PatientName="DOE^JANE", StudyDescription="again") == [
        ("StudyDescription", None, "again"),
        ("PatientName", "DOE^JAN", "DOE^JANE"),
    ]


def test_pixels_are_told_by_their_size(tmp_path: Path) -> None:
    assert told(tmp_path, fill=101) == [("PixelData", "1536 bytes", "1536 bytes, others")]


def test_a_long_value_is_cut(tmp_path: Path) -> None:
    ((_, _, other),) = told(tmp_path, PatientComments="x" * 500)
    assert other == "x" * 79 + "…"


def test_another_encoding_is_a_difference_of_its_own(tmp_path: Path) -> None:
    held = write(mammogram(), tmp_path / "held.dcm")
    image = dcmread(held)
    image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    image.save_as(tmp_path / "other.dcm", implicit_vr=True)
    names = [item.name for item in differences(held, tmp_path / "other.dcm")]
    assert names == ["TransferSyntaxUID"]


def test_a_file_that_is_damaged_is_said_to_be(tmp_path: Path) -> None:
    held = write(mammogram(), tmp_path / "held.dcm")
    (tmp_path / "other.dcm").write_bytes(b"\0" * 132)
    (only,) = differences(held, tmp_path / "other.dcm")
    assert only.name == "(file)"
