"""Result objects under dciodvfy, dcentvfy and dsrdump: no error, whatever the source is like."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from header_builders import set_raw
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian

from oncopixel_pacs.domain import (
    ImageResult,
    Laterality,
    ObjectKind,
    Reason,
    SegmentationForm,
    View,
)
from oncopixel_pacs.report.dataset_rules import walk
from oncopixel_pacs.report.external_validation import (
    TOOLS,
    ToolReport,
    find_errors,
    find_validator,
    validate_with_tools,
)
from oncopixel_pacs.report.result_objects import build_retraction
from oncopixel_pacs.report.segmentation import ObjectUids, build_segmentation
from oncopixel_pacs.report.source_header import TYPE_2, read_source
from oncopixel_pacs.report.validation import check, find_problems
from tests.report_builders import (
    FOUR_VIEWS,
    PROVENANCE,
    Case,
    case,
    facts_of,
    lesion,
    mammogram,
    save,
    save_built,
    without,
)

DATA = os.environ.get("ONCOPIXEL_DATA")
missing = [tool for tool in TOOLS if find_validator(tool) is None]
pytestmark = [
    pytest.mark.dcmtk,
    pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}"),
]
EVERYTHING = tuple(kind for kind in ObjectKind if kind is not ObjectKind.REJECTION)
EVERY_FORM = tuple(SegmentationForm)
BINARY = (SegmentationForm.BINARY,)
RIGHT_CC, LEFT_CC, RIGHT_MLO, LEFT_MLO = FOUR_VIEWS


def assert_valid(
    study: Case, folder: Path, forms: tuple[SegmentationForm, ...] = BINARY
) -> ToolReport:
    built = study.build(wanted=EVERYTHING, forms=forms)
    check(built, study.paths)
    report = validate_with_tools(save_built(built, folder), study.paths.values())
    assert report.tools == TOOLS
    assert report.problems == ()
    return report


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    return source, out


@pytest.mark.parametrize(
    "findings",
    [
        dict.fromkeys(FOUR_VIEWS, 0),
        {RIGHT_MLO: 0},
        {RIGHT_CC: 1, LEFT_CC: 2, RIGHT_MLO: 3, LEFT_MLO: 0},
        {LEFT_MLO: 3},
    ],
    ids=["none in four views", "none in one view", "one to three", "three in one view"],
)
def test_any_number_of_findings(folders: tuple[Path, Path], findings: dict) -> None:
    study = case(folders[0], findings)
    assert assert_valid(study, folders[1], EVERY_FORM).warnings == ()


def test_an_image_that_was_not_analysed(folders: tuple[Path, Path]) -> None:
    study = case(folders[0], {RIGHT_CC: 1, LEFT_CC: 0})
    assert_valid(without(study, "L CC", Reason.PARTIAL_VIEW), folders[1])


def test_nothing_analysed(folders: tuple[Path, Path]) -> None:
    study = case(folders[0], {RIGHT_CC: 0, LEFT_CC: 0})
    none = without(without(study, "L CC", Reason.PARTIAL_VIEW), "R CC", Reason.ANALYSIS_FAILED)
    assert_valid(none, folders[1])


def test_a_rejection_note(folders: tuple[Path, Path]) -> None:
    study = case(folders[0], {RIGHT_CC: 1, LEFT_CC: 1})
    built = study.build(wanted=EVERYTHING)
    stale = [item.dataset for item in built]
    note = build_retraction(study.result, study.paths, stale, PROVENANCE, lambda _: None)
    assert find_problems([*built, note], study.paths, stale) == ()
    objects = save_built(built, folders[1])
    path = folders[1] / "note.dcm"
    path.write_bytes(note.part10)
    report = validate_with_tools([*objects, path], study.paths.values())
    assert report.problems == ()
    assert report.warnings == ()


def test_monochrome1(folders: tuple[Path, Path]) -> None:
    assert_valid(case(folders[0], {RIGHT_CC: 1}, photometric="MONOCHROME1"), folders[1])


@pytest.mark.parametrize("keyword", TYPE_2)
def test_a_missing_type_2_attribute(folders: tuple[Path, Path], keyword: str) -> None:
    def drop(dataset: Dataset) -> None:
        del dataset[keyword]

    assert_valid(case(folders[0], {RIGHT_CC: 1, LEFT_CC: 0}, change=drop), folders[1])


def test_all_type_2_attributes_missing(folders: tuple[Path, Path]) -> None:
    def drop(dataset: Dataset) -> None:
        for keyword in (*TYPE_2, "PatientOrientation", "RequestAttributesSequence"):
            del dataset[keyword]

    assert_valid(case(folders[0], {RIGHT_CC: 1}, change=drop), folders[1])


@pytest.mark.parametrize("sex", ["M", "O", ""])
def test_each_sex_of_the_standard(folders: tuple[Path, Path], sex: str) -> None:
    def change(dataset: Dataset) -> None:
        dataset.PatientSex = sex

    assert_valid(case(folders[0], {RIGHT_CC: 1}, change=change), folders[1])


@pytest.mark.parametrize("sex", ["U", "X"])
def test_odd_sexes_are_written_empty(folders: tuple[Path, Path], sex: str) -> None:
    def change(dataset: Dataset) -> None:
        dataset.PatientSex = sex

    assert_valid(case(folders[0], {RIGHT_CC: 1}, change=change), folders[1])


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 100", "Müller^Änne"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("ISO_IR 192", "Müller^山田"),
        ("", "Plain^Ascii"),
        (None, "Plain^Ascii"),
    ],
)
def test_character_sets(
    folders: tuple[Path, Path], character_set: str | list[str] | None, name: str
) -> None:
    study = case(
        folders[0], {RIGHT_CC: 1, LEFT_CC: 0}, character_set=character_set, patient_name=name
    )
    assert_valid(study, folders[1])


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        # No group has more than 64 characters, whatever they take in bytes (PS3.5 6.2).
        ("ISO_IR 192", "Константинопольская^Александра^Владимировна"),
        ("ISO_IR 192", "Kyougokunoin^Sachiko=京極之院^幸子花子=きょうごくのいん^さちこはなこ"),
        ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        ("GBK", "Wang^XiaoDong=王^小東"),
        (["", "ISO 2022 IR 87"], "Tsuboi^Mami=坪井^マミ"),
        # They were taken for errors that dsrdump tells.
        ("ISO_IR 192", "ROSE: ANNA"),
    ],
)
def test_a_legal_text_holds_no_result_back(
    folders: tuple[Path, Path], character_set: str | list[str], name: str
) -> None:
    def describe(dataset: Dataset) -> None:
        dataset.PatientID = "CASE: 17"
        if character_set == "ISO_IR 192":
            dataset.StudyDescription = "Маммография обеих молочных желез в двух проекциях"
            dataset.AccessionNumber = "МАММО-2026-00123"

    study = case(
        folders[0], {RIGHT_CC: 1}, character_set=character_set, patient_name=name, change=describe
    )
    built = study.build()
    assert find_problems(built, study.paths) == ()
    paths = save_built(built, folders[1])
    assert find_errors(paths, 60).errors == ()
    assert {str(dcmread(path).PatientName) for path in paths} == {name}


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientBirthDate", b"00010101"),
        ("StudyTime", b"235960"),
        ("StudyInstanceUID", b"1.2.840.0113.5.01"),
        ("SOPInstanceUID", b"1.2.840.0113.5.03"),
        ("PatientOrientation", b"X\\Y"),
    ],
)
def test_what_sources_hold_in_the_field_holds_no_result_back(
    folders: tuple[Path, Path], keyword: str, value: bytes
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library, about such values
        study = case(folders[0], {RIGHT_CC: 1}, change=lambda d: set_raw(d, keyword, value))
        built = study.build()
        assert find_problems(built, study.paths) == ()
        assert find_errors(save_built(built, folders[1]), 60).errors == ()


def test_a_code_that_says_half_of_its_context_holds_no_result_back(
    folders: tuple[Path, Path],
) -> None:
    def ordered(dataset: Dataset) -> None:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "MAM1", "99RIS", "Screening"
        code.ContextIdentifier = "6050"
        dataset.ProcedureCodeSequence = [code]

    study = case(folders[0], {RIGHT_CC: 1}, change=ordered)
    paths = save_built(study.build(), folders[1])
    assert find_errors(paths, 60).errors == ()
    assert {dcmread(path).ProcedureCodeSequence[0].CodeValue for path in paths} == {"MAM1"}


def test_a_text_that_is_too_long_is_told(folders: tuple[Path, Path]) -> None:
    study = case(folders[0], {RIGHT_CC: 1}, character_set="ISO_IR 192")
    (path, *_) = save_built(study.build(), folders[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        changed = dcmread(path)
        changed.SpecificCharacterSet = "ISO_IR 192"
        changed.StudyDescription = "ж" * 65
        changed.PatientName = "ж" * 64
        changed.save_as(path)
    told = [sentence for _, sentence in find_errors([path], 60).errors]
    assert [sentence for sentence in told if "Length invalid" in sentence] == [
        sentence for sentence in told if "Study Description" in sentence
    ]
    assert any("Study Description" in sentence for sentence in told)


def test_a_misspelled_character_set(folders: tuple[Path, Path]) -> None:
    study = case(folders[0], {RIGHT_CC: 1}, patient_name="Müller^Änne")
    for path in study.paths.values():
        path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"ISO-IR 100"))
    assert_valid(study, folders[1])


def test_an_unknown_character_set(folders: tuple[Path, Path]) -> None:
    """The name is written in UTF-8, so dcentvfy finds other bytes than the source's."""
    study = case(folders[0], {RIGHT_CC: 1}, patient_name="Müller^Änne")
    for path in study.paths.values():
        path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"KLINGON 10"))
    built = study.build()
    check(built, study.paths)
    report = validate_with_tools(save_built(built, folders[1]), study.paths.values())
    assert report.problems
    assert all("Element=<PatientName>" in problem for problem in report.problems)


def test_a_frame_of_reference_without_geometry(folders: tuple[Path, Path]) -> None:
    def change(dataset: Dataset) -> None:
        dataset.FrameOfReferenceUID = "1.2.3.4"
        dataset.PositionReferenceIndicator = ""

    assert_valid(case(folders[0], {RIGHT_CC: 2}, change=change), folders[1])


def test_voi_luts_and_several_windows(folders: tuple[Path, Path]) -> None:
    def change(dataset: Dataset) -> None:
        table = Dataset()
        table.add_new(0x00283002, "US", [256, 0, 12])
        table.LUTExplanation = "NORMAL"
        table.add_new(0x00283006, "OW", (16 * np.arange(256)).astype("<u2").tobytes())
        dataset.VOILUTSequence = Sequence([table])
        dataset.WindowCenter, dataset.WindowWidth = ["2653", "2713"], ["900", "750"]
        dataset.VOILUTFunction = "SIGMOID"

    assert_valid(case(folders[0], {RIGHT_CC: 1}, change=change), folders[1])


def test_a_modality_lut(folders: tuple[Path, Path]) -> None:
    def change(dataset: Dataset) -> None:
        table = Dataset()
        table.add_new(0x00283002, "US", [4096, 0, 16])
        table.ModalityLUTType = "US"
        table.add_new(0x00283006, "OW", (16 * np.arange(4096)).astype("<u2").tobytes())
        dataset.ModalityLUTSequence = Sequence([table])
        del dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType

    assert_valid(case(folders[0], {RIGHT_CC: 1}, change=change), folders[1])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda d: setattr(d, "PatientBirthDate", ""), id="no birth date"),
        pytest.param(lambda d: setattr(d, "TimezoneOffsetFromUTC", "+0530"), id="time zone"),
        pytest.param(lambda d: setattr(d, "PatientComments", "line\r\nline"), id="lines"),
        pytest.param(lambda d: setattr(d, "OtherPatientNames", ["A^B", "C^D"]), id="names"),
        pytest.param(lambda d: setattr(d, "PatientIdentityRemoved", "YES"), id="de-identified"),
    ],
)
def test_other_headers(folders: tuple[Path, Path], change: Callable[[Dataset], None]) -> None:
    assert_valid(case(folders[0], {RIGHT_CC: 1}, change=change), folders[1])


def test_a_uid_of_a_source_below_no_root_is_none_of_ours(folders: tuple[Path, Path]) -> None:
    def change(dataset: Dataset) -> None:
        dataset.SeriesInstanceUID = "111.2"

    assert_valid(case(folders[0], {RIGHT_CC: 1}, change=change), folders[1])


def test_a_deflated_image_is_there_though_a_validator_cannot_read_it(
    folders: tuple[Path, Path],
) -> None:
    study = case(folders[0], {RIGHT_CC: 1})
    (path,) = study.paths.values()
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    assert_valid(study, folders[1])


def test_what_a_validator_says_twice_of_an_object_is_told_once(folders: tuple[Path, Path]) -> None:
    study = case(folders[0], {RIGHT_CC: 1})
    (report,) = (item for item in study.build() if item.kind is ObjectKind.SR)
    dataset = dcmread(BytesIO(report.part10))
    for item in walk(dataset):
        if "CodeMeaning" in item:
            del item.CodeMeaning
    path = folders[1] / "report.dcm"
    dataset.save_as(path)
    sentences = [sentence for _, sentence in find_errors([path], 60).errors]
    assert sentences
    assert len(sentences) == len(set(sentences))


def test_a_clinical_trial(folders: tuple[Path, Path]) -> None:
    def change(dataset: Dataset) -> None:
        dataset.ClinicalTrialSponsorName = "Sponsor"
        dataset.ClinicalTrialProtocolID = "Protocol"
        dataset.ClinicalTrialProtocolName = ""
        dataset.ClinicalTrialSiteID = dataset.ClinicalTrialSiteName = ""
        dataset.ClinicalTrialSubjectID = "Subject"

    assert_valid(case(folders[0], {RIGHT_CC: 1}, change=change), folders[1])


@pytest.mark.skipif(DATA is None, reason="ONCOPIXEL_DATA is not set")
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_real_mammogram(tmp_path: Path, count: int) -> None:
    path = Path(str(DATA)) / "dicom_mg" / "fo-dicom_GH133.dcm"
    header = read_source(path).dataset
    header.PhotometricInterpretation = "MONOCHROME2"
    facts = replace(
        facts_of(header, Laterality.RIGHT, View.MLO), spacing_mm=(0.09409090909091,) * 2
    )
    labels = np.zeros((facts.rows, facts.columns), dtype=np.uint8)
    findings = []
    for number in range(1, count + 1):
        finding, region = lesion(facts, number)
        labels[region] = number
        findings.append(finding)
    uid = facts.sop_instance_uid
    image = ImageResult(facts, 0.7, tuple(findings))
    made = case(tmp_path, {RIGHT_MLO: 0}).result
    result = replace(made, study_instance_uid=facts.study_instance_uid, images=(image,))
    assert_valid(Case(result, {uid: path}, {uid: labels}), tmp_path)


def test_a_segmentation_of_a_large_image_takes_less_than_a_second(tmp_path: Path) -> None:
    dataset = mammogram(rows=4096, columns=3328)
    source = read_source(save(dataset, tmp_path))
    facts = facts_of(dataset, Laterality.RIGHT, View.MLO)
    labels = np.zeros((4096, 3328), dtype=np.uint8)
    findings = []
    for number in (1, 2):
        finding, region = lesion(facts, number)
        labels[region] = number
        findings.append(finding)
    image = ImageResult(facts, 0.7, tuple(findings))
    uids = ObjectUids("2.25.1", "2.25.2", 901)
    seconds = []
    for _ in range(3):
        started = time.process_time()
        build_segmentation(source, image, labels, PROVENANCE, uids)
        seconds.append(time.process_time() - started)
    assert min(seconds) < 1.0
