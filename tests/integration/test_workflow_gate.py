"""The gate: what does not pass is held back with the reason, and never sent."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from api_builders import make_parts, serving
from conftest import Store
from pydicom import dcmread
from workflow_builder import PretendedModel, Works, folder_destination, running

from oncopixel_pacs.domain import JobState, ObjectKind, StepName, StepState
from oncopixel_pacs.report.built_object import BuiltObject
from oncopixel_pacs.report.external_validation import find_errors
from oncopixel_pacs.settings import ResultSettings
from oncopixel_pacs.store.quarantine import Quarantine
from oncopixel_pacs.workflow import analysis as analysis_module


def spoil(monkeypatch: pytest.MonkeyPatch, keyword: str, value: object) -> None:
    """Write segmentations with a wrong attribute."""
    build = analysis_module.build_result_objects

    def wrong(*arguments: object, **options: object) -> tuple[BuiltObject, ...]:
        return tuple(_spoilt(item, keyword, value) for item in build(*arguments, **options))

    monkeypatch.setattr(analysis_module, "build_result_objects", wrong)


def _spoilt(item: BuiltObject, keyword: str, value: object) -> BuiltObject:
    if item.kind is not ObjectKind.SEG:
        return item
    dataset = dcmread(io.BytesIO(item.part10))
    setattr(dataset, keyword, value)
    out = io.BytesIO()
    dataset.save_as(out)
    return replace(item, part10=out.getvalue())


def test_a_set_with_a_wrong_object_is_held_back_as_a_whole(
    works: Works, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as spoilt:
        spoil(spoilt, "PatientOrientation", ["A", "FR"])
        job = works.finished(works.settle().id)
    assert job.state is JobState.FAILED
    assert "Patient Orientation differs from its source" in job.error
    assert job.steps[-1].name is StepName.WRITE
    assert job.steps[-1].state is StepState.FAILED
    assert job.objects == ()
    assert not (tmp_path / "out").exists()
    held = Quarantine(works.store.database).held()
    assert [item.kind for item in held] == [ObjectKind.SEG, ObjectKind.SR]
    seg, report = held
    assert any("Patient Orientation" in problem for problem in seg.problems)
    assert report.problems == ()
    for item in held:
        kept = dcmread(works.store.files.absolute(item.path))
        assert kept.SOPInstanceUID == item.sop_instance_uid
    # What passes later is sent, and nothing is held any more.
    works.retry(job.id)
    assert works.finished(job.id).state is JobState.DONE
    quarantine = Quarantine(works.store.database)
    assert quarantine.held() == ()
    assert all(item.resolved_at is not None for item in quarantine.of_job(job.id))


def test_what_is_held_back_stands_in_api_page_and_alarm(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, "PatientOrientation", ["A", "FR"])
    job = works.finished(works.settle().id)
    with serving(make_parts(works.store)) as client:
        items = client.get("/api/v1/quarantine").json()["items"]
        page = client.get(f"/jobs/{job.id}").text
        start = client.get("/").text
    assert [item["kind"] for item in items] == ["seg", "sr"]
    assert {item["job_id"] for item in items} == {job.id}
    assert "Patient Orientation differs from its source" in items[0]["problems"][0]
    assert "Held back" in page
    assert "Patient Orientation differs from its source" in page
    assert 'role="alert"' in start
    assert "did not pass the gate" in start


@pytest.mark.dcmtk
def test_what_only_a_validator_sees_is_held_back_too(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    probe = find_errors([], 1.0)
    assert probe.finished
    works = Works(
        store,
        PretendedModel(),
        (folder_destination(tmp_path / "out"),),
        results=ResultSettings(validators="auto"),
    )
    # No rule of ours looks at it.
    spoil(monkeypatch, "ContentLabel", None)
    with running(works):
        works.receive(tmp_path / "in")
        job = works.finished(works.settle().id)
    assert job.state is JobState.FAILED
    assert "dciodvfy" in job.error
    assert not (tmp_path / "out").exists()


@pytest.mark.dcmtk
def test_validators_that_are_out_of_time_hold_nothing_back(store: Store, tmp_path: Path) -> None:
    settings = ResultSettings(validators="auto", validator_seconds=0.001)
    place = (folder_destination(tmp_path / "out"),)
    works = Works(store, PretendedModel(), place, results=settings)
    with running(works):
        works.receive(tmp_path / "in")
        job = works.finished(works.settle().id)
    assert job.state is JobState.DONE
