"""Files are analysed in this process: which result objects are written."""

from __future__ import annotations

from pathlib import Path

import pytest
from mammogram_builder import SCREENING, write_mammogram
from pydicom import dcmread
from pydicom.uid import (
    Comprehensive3DSRStorage,
    MammographyCADSRStorage,
    SegmentationStorage,
)
from typer.testing import CliRunner

from oncopixel_pacs.cli import app
from oncopixel_pacs.domain import ObjectKind, Reason
from oncopixel_pacs.offline import analyse_study, find_sources
from tests.unit.test_infer_reading import models

SEG, SR, CAD = SegmentationStorage, Comprehensive3DSRStorage, MammographyCADSRStorage


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ((ObjectKind.SEG, ObjectKind.SR), {SEG, SR}),
        ((ObjectKind.CAD_SR,), {CAD}),
        ((ObjectKind.SEG, ObjectKind.SR, ObjectKind.CAD_SR), {SEG, SR, CAD}),
    ],
)
def test_only_the_kinds_that_are_asked_for_are_written(
    tmp_path: Path, kinds: tuple[ObjectKind, ...], expected: set[str]
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    write_mammogram(source, SCREENING[0])
    ((uid, files),) = find_sources([source])[0].items()
    study = analyse_study(uid, files, models(), tmp_path / "out", kinds)
    assert {dcmread(path).SOPClassUID for path in study.objects} == expected
    assert sorted((tmp_path / "out").rglob("*.dcm")) == sorted(study.objects)


def test_a_study_of_two_patients_is_not_read(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number, view in enumerate(SCREENING[:2]):
        path = write_mammogram(source, view)
        image = dcmread(path)
        image.PatientID = f"P-{number}"
        image.save_as(path)
    ((uid, files),) = find_sources([source])[0].items()
    study = analyse_study(uid, files, models(), tmp_path / "out")
    assert [item.reason for item in study.result.images] == [Reason.SEVERAL_PATIENTS] * 2
    assert [dcmread(path).SOPClassUID for path in study.objects] == [SR]


def test_a_kind_that_does_not_exist_is_wrong_usage(tmp_path: Path) -> None:
    arguments = ["run", str(tmp_path), "--out", str(tmp_path / "out"), "--objects", "seq"]
    assert CliRunner().invoke(app, arguments).exit_code == 2


def test_a_study_that_cannot_be_named_keeps_no_other_from_being_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for uid, view in zip(("nothing", "2.25.77"), SCREENING, strict=False):
        source = tmp_path / "in" / uid
        source.mkdir(parents=True)
        path = write_mammogram(source, view)
        with dcmread(path) as image:
            image["StudyInstanceUID"]._value = uid
            image.save_as(path)
    monkeypatch.setattr("oncopixel_pacs.infer.loaded_models.load_models", lambda *_: models())
    out = tmp_path / "out"
    answer = CliRunner().invoke(app, ["run", str(tmp_path / "in"), "--out", str(out)])
    assert "study nothing: A source image has no valid StudyInstanceUID" in answer.stderr
    assert {dcmread(path).StudyInstanceUID for path in out.rglob("*.dcm")} == {"2.25.77"}
    assert answer.exit_code == 1
