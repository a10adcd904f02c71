"""The verdict of the soak: it sees what was lost, doubled or stuck, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
import pytest

from benchmarks.soak import Verdict, judge
from sample_dicom.study import write_studies
from tests.faults.oracle import dataset_digest


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("soak")
    return next(iter(write_studies(folder, 1, 1, lesion=False, rows=64, columns=64)))


def job(state: str = "done", *uids: str) -> dict[str, Any]:
    return {"state": state, "objects": [{"sop_instance_uid": uid} for uid in uids]}


def verdict(
    image: Path,
    stored: bool = True,
    jobs: dict[str, list[dict[str, Any]]] | None = None,
    came: dict[str, int] | None = None,
    digests: dict[str, set[str]] | None = None,
) -> Verdict:
    uid = str(pydicom.dcmread(image, stop_before_pixels=True).SOPInstanceUID)
    return judge(
        {uid: dataset_digest(image)},
        [image] if stored else [],
        {"study": [job("done", "seg", "sr")]} if jobs is None else jobs,
        {"seg": 1, "sr": 1} if came is None else came,
        digests or {},
    )


def test_what_is_as_it_should_be_is_good(image: Path) -> None:
    assert verdict(image) == Verdict(1, (), (), (), 0)
    assert verdict(image).good


def test_an_acknowledged_image_that_is_not_on_disk_is_lost(image: Path) -> None:
    found = verdict(image, stored=False)
    assert len(found.lost) == 1
    assert not found.good


def test_a_second_job_a_foreign_result_and_other_bytes_are_duplicates(image: Path) -> None:
    twice = {"study": [job("done", "seg", "sr"), job("done", "seg", "sr")]}
    assert verdict(image, jobs=twice).duplicated == ("study",)
    assert verdict(image, came={"seg": 1, "sr": 1, "other": 1}).duplicated == ("other",)
    assert verdict(image, digests={"seg": {"a", "b"}}).duplicated == ("seg",)


def test_a_study_without_its_end_or_its_results_is_stuck(image: Path) -> None:
    assert verdict(image, jobs={"study": []}, came={}).stuck == ("study",)
    assert verdict(image, jobs={"study": [job("failed", "sr")]}, came={"sr": 1}).stuck == ("study",)
    assert verdict(image, came={"seg": 1}).stuck == ("study",)


def test_the_same_bytes_again_are_counted_and_no_fault(image: Path) -> None:
    found = verdict(image, came={"seg": 2, "sr": 1}, digests={"seg": {"a"}})
    assert found.sent_again == 1
    assert found.good
