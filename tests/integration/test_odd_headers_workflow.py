"""Odd headers in the running product: the study is analysed, and the job says what was repaired."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from api_builders import make_parts, serving
from conftest import Store
from header_builders import ODD_HEADERS, OddHeader, having, write_odd
from mammogram_builder import SCREENING
from pydicom import dcmread
from workflow_builder import PretendedModel, Works, folder_destination, running, utc_now

from oncopixel_pacs.domain import JobState, ObjectKind
from oncopixel_pacs.receive.intake import Intake

PATIENT = "Zebra^Secret"
ODDEST = [odd for odd in ODD_HEADERS if odd.said.startswith(("un", "did", "no")) or odd.reason]
ODDEST += [odd for odd in ODD_HEADERS if odd.name in ("no Type 2 attribute", "broken VOI LUT")]
EVERYTHING = tuple(kind for kind in ObjectKind if kind is not ObjectKind.REJECTION)


@pytest.fixture
def works(store: Store, tmp_path: Path) -> Iterator[Works]:
    built = Works(
        store, PretendedModel(), (folder_destination(tmp_path / "out", "out", EVERYTHING),)
    )
    with running(built):
        yield built


def take_in(works: Works, folder: Path, odd: OddHeader) -> None:
    folder.mkdir()
    intake = Intake(works.store.files, works.store.catalogue, utc_now)
    intake.accept_file(write_odd(folder, odd), "MODALITY")


def test_repairs_stand_in_the_job_in_the_api_and_on_its_page(works: Works, tmp_path: Path) -> None:
    works.receive(tmp_path / "in", PatientName=PATIENT, PatientSex="X", FrameOfReferenceUID="1.2.3")
    works.receive(tmp_path / "in", SCREENING[1], PatientName=PATIENT, PatientSex="X")
    job = works.finished(works.settle().id)
    assert (job.state, job.error) == (JobState.DONE, "")
    said = "Patient's Sex held a value that is not allowed, which was dropped."
    assert job.repairs.count(said) == 1
    assert "Frame of Reference UID was left out: a projection has no plane in it." in job.repairs
    assert PATIENT not in " ".join(job.repairs)
    with serving(make_parts(works.store)) as client:
        answer = client.get(f"/api/v1/jobs/{job.id}").json()
        page = client.get(f"/jobs/{job.id}").text
    assert tuple(answer["repairs"]) == job.repairs
    assert "Repaired headers" in page and "a projection has no plane in it" in page


def test_a_clean_job_says_nothing_of_repairs(works: Works, tmp_path: Path) -> None:
    take_in(works, tmp_path / "in", OddHeader("clean", having()))
    job = works.finished(works.settle().id)
    assert (job.state, job.repairs) == (JobState.DONE, ())
    with serving(make_parts(works.store)) as client:
        assert "Repaired headers" not in client.get(f"/jobs/{job.id}").text


def test_what_was_told_before_is_not_told_again(works: Works, tmp_path: Path) -> None:
    works.receive(tmp_path / "in", PatientSex="X")
    job = works.finished(works.settle().id)
    works.store.ledger.note_repairs(job.id, [*job.repairs, "Another thing."])
    assert works.job(job.id).repairs == (*job.repairs, "Another thing.")


def test_no_odd_header_fails_its_study(works: Works, tmp_path: Path) -> None:
    """One study for each, through one engine. What is written of all of them is tested apart."""
    intake = Intake(works.store.files, works.store.catalogue, utc_now)
    odd_of = {}
    for number, odd in enumerate(ODDEST):
        folder = tmp_path / str(number)
        folder.mkdir()
        study_uid = f"2.25.77{number}"
        odd_of[study_uid] = odd
        path = write_odd(folder, odd, StudyInstanceUID=study_uid, SOPInstanceUID=f"{study_uid}.1")
        intake.accept_file(path, "MODALITY")
    jobs = [works.finished(job.id) for job in works.settler.settle_complete()]
    assert {job.study_instance_uid for job in jobs} == set(odd_of)
    sent = {str(dcmread(path).StudyInstanceUID) for path in (tmp_path / "out").rglob("*.dcm")}
    for job in jobs:
        odd = odd_of[job.study_instance_uid]
        assert job.result is not None, (odd.name, job.error)
        assert [item.reason or "" for item in job.result.images] == [odd.reason], odd.name
        assert job.state is (JobState.NOT_ANALYSED if odd.reason else JobState.DONE), odd.name
        assert (job.study_instance_uid in sent) is not bool(odd.reason), odd.name
        told = " ".join(job.repairs)
        assert odd.said in told if odd.said else not told, (odd.name, job.repairs)


def test_an_image_without_patient_id_takes_no_report_from_the_patient(
    works: Works, tmp_path: Path
) -> None:
    """An image was taken before the unit knew whom it shows."""
    works.receive(tmp_path / "in", PatientID="", PatientName="")
    works.receive(tmp_path / "in", SCREENING[1], PatientID="P-1", PatientName="DOE^JANE")
    job = works.finished(works.settle().id)
    assert (job.state, job.error) == (JobState.DONE, "")
    sent = [dcmread(path) for path in (tmp_path / "out").rglob("*.dcm")]
    of_study = [item for item in sent if item.Modality in ("SR", "KO", "DOC")]
    assert {str(item.PatientID) for item in of_study} == {"P-1"}
    assert len(of_study) == 4
    header = works.store.catalogue.study(job.study_instance_uid).header
    assert (header.patient_id, header.patient_name) == ("P-1", "DOE^JANE")
