"""The page that a person reads."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from oncopixel_pacs.domain import ObjectKind, Reason
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report.encapsulated_pdf import build_page_report
from oncopixel_pacs.report.page import patient_name, printable
from oncopixel_pacs.report.segmentation import ObjectUids
from tests.report_builders import FOUR_VIEWS, PROVENANCE, Case, case, with_repeats, without

FINDINGS = dict(zip(FOUR_VIEWS, (1, 0, 2, 3), strict=True))
PDFTOTEXT = shutil.which("pdftotext")
READABLE = pytest.mark.skipif(PDFTOTEXT is None, reason="poppler-utils is not installed")


def page_of(study: Case) -> tuple[Dataset, bytes]:
    dataset = dcmread(io.BytesIO(study.one(ObjectKind.PDF).part10))
    return dataset, dataset.EncapsulatedDocument[: dataset.EncapsulatedDocumentLength]


def words_of(study: Case, folder: Path) -> str:
    """Words of the page in the order of writing, in one line."""
    path = folder / "page.pdf"
    path.write_bytes(page_of(study)[1])
    assert PDFTOTEXT is not None
    done = subprocess.run([PDFTOTEXT, "-raw", path, "-"], capture_output=True, check=True)
    text = done.stdout.decode("utf-8")
    assert text.count("\f") == 1, "it has more than one page"
    return re.sub(r"\s+", " ", text)


def test_it_is_a_document_of_its_study(tmp_path: Path) -> None:
    study = case(tmp_path, FINDINGS)
    dataset, page = page_of(study)
    assert dataset.SOPClassUID.name == "Encapsulated PDF Storage"
    assert (dataset.Modality, dataset.MIMETypeOfEncapsulatedDocument) == ("DOC", "application/pdf")
    assert dataset.DocumentTitle.endswith("Research use only. Not for diagnosis.")
    assert dataset.SeriesDescription == "AI PAGE - RESEARCH USE ONLY"
    assert {i.ReferencedSOPInstanceUID for i in dataset.SourceInstanceSequence} == set(study.paths)
    assert dataset.ContributingEquipmentSequence[0].DeviceUID
    assert page.startswith(b"%PDF-")
    assert page.count(b"/Subtype /Image") == 4


def test_the_same_result_gives_the_same_bytes(tmp_path: Path) -> None:
    study = case(tmp_path, FINDINGS)
    assert page_of(study)[1] == page_of(study)[1]


@READABLE
def test_it_says_scores_findings_models_and_that_it_is_for_research(tmp_path: Path) -> None:
    words = words_of(case(tmp_path, FINDINGS), tmp_path)
    for said in (
        "Research use only. Not for diagnosis.",
        "Test Anna · ID P-1",
        "Born 1961-02-03",
        "Probability of malignancy 80%",
        "Right breast: 80%",
        "6 lesion candidates marked",
        "Lesion candidates (6)",
        "L MLO 3 60%",
        "lesion-segmenter 1.0.0 (OncoPixel, segment), operating point 0.5",
        "Model cards:",
        "Not reviewed by a person.",
    ):
        assert said in words, said


@READABLE
def test_it_says_why_images_were_left_out(tmp_path: Path) -> None:
    study = without(case(tmp_path, dict.fromkeys(FOUR_VIEWS, 0)), "L CC", Reason.PARTIAL_VIEW)
    words = words_of(study, tmp_path)
    assert "No lesion candidate was found" in words
    assert "1 of 4 images were not analysed" in words
    assert "marked as a partial view" in words


@READABLE
def test_it_says_that_nothing_was_analysed(tmp_path: Path) -> None:
    study = without(case(tmp_path, {FOUR_VIEWS[0]: 0}), "R CC", Reason.NO_BREAST)
    words = words_of(study, tmp_path)
    assert "No image was analysed" in words
    assert "Probability of malignancy" not in words
    assert "No image." in words  # in the places of the views that never came


@READABLE
def test_candidates_of_images_that_are_not_shown_say_so(tmp_path: Path) -> None:
    """An outline that is looked for in the wrong picture is not found, or taken for another."""
    words = words_of(with_repeats(tmp_path, 1), tmp_path)
    assert "4 more image(s) were analysed and are not shown here." in words
    for side, view in FOUR_VIEWS:
        assert words.count(f"{side} {view} 1 ") == 1
        assert words.count(f"{side} {view} 1, not shown") == 1


@READABLE
def test_however_much_there_is_it_is_one_page(tmp_path: Path) -> None:
    study = case(tmp_path, dict.fromkeys(FOUR_VIEWS, 4))
    assert "and 7 more; see the structured report." in words_of(study, tmp_path)


@READABLE
@pytest.mark.parametrize(
    ("character_set", "name", "printed"),
    [
        ("ISO_IR 100", "Müller^Änne", "Müller Änne"),
        ("ISO_IR 192", "Иванова^Анна", "Иванова Анна"),
        ("ISO_IR 192", "Παπαδοπούλου^Ελένη", "Παπαδοπούλου Ελένη"),
    ],
)
def test_names_are_printed_in_their_own_letters(
    tmp_path: Path, character_set: str, name: str, printed: str
) -> None:
    study = case(tmp_path, {FOUR_VIEWS[0]: 0}, character_set=character_set, patient_name=name)
    words = words_of(study, tmp_path)
    assert printed in words
    assert "cannot be printed" not in words


@READABLE
def test_of_a_name_that_the_fonts_do_not_have_the_rest_is_printed_and_it_is_said(
    tmp_path: Path,
) -> None:
    study = case(
        tmp_path,
        {FOUR_VIEWS[0]: 0},
        character_set=["", "ISO 2022 IR 87"],
        patient_name="Yamada^Tarou=山田^太郎=やまだ^たろう",
    )
    words = words_of(study, tmp_path)
    assert "Yamada Tarou" in words
    assert "Part of the name cannot be printed here" in words


def test_no_name_at_all_is_a_dash() -> None:
    header = Dataset()
    header.PatientName = ""
    assert patient_name(header) == ("-", True)
    header.PatientName = "山田^太郎"
    assert patient_name(header) == ("?", False)
    assert printable("Å山b") == "Å?b"


def test_without_any_header_there_is_no_page(tmp_path: Path) -> None:
    study = case(tmp_path, {FOUR_VIEWS[0]: 0})
    uids = ObjectUids("2.25.1", "2.25.2", 1)
    with pytest.raises(ResultRejected, match="No header"):
        build_page_report({}, study.result, lambda _: None, PROVENANCE, uids)
