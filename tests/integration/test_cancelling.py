"""Giving up a job that failed: what no retry mends is no alarm for ever, and keeps no study."""

from __future__ import annotations

import base64
import json
from datetime import timedelta

import pytest
from api_builders import make_parts, serving
from conftest import Store
from typer.testing import CliRunner
from workflow_builder import (
    PretendedPacs,
    Works,
    accept,
    install,
    refuse,
    utc_now,
)

from oncopixel_pacs.cli import app
from oncopixel_pacs.domain import Job, JobState
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.report.validation import Problem
from oncopixel_pacs.store.audit_trail import AuditTrail
from oncopixel_pacs.store.cancelling import cancel_job
from oncopixel_pacs.store.quarantine import Quarantine
from oncopixel_pacs.store.retention import Retention
from oncopixel_pacs.workflow import gate as gate_module

BY_SCRIPT = {"X-Requested-With": "test"}


@pytest.fixture
def pacs(monkeypatch: pytest.MonkeyPatch) -> PretendedPacs:
    return install(monkeypatch, PretendedPacs(refuse))


@pytest.fixture
def refused(works: Works, pacs: PretendedPacs) -> Job:
    """Have the archive refuse the results of a job."""
    job = works.finished(works.settle().id)
    assert job.state is JobState.FAILED
    return job


def expired(store: Store) -> list[str]:
    """Studies that retention would delete a minute from now."""
    retention = Retention(store.database, store.files)
    return [item.study_instance_uid for item in retention.expired(utc_now() + timedelta(minutes=1))]


def test_nothing_waits_for_a_job_that_is_given_up(store: Store, works: Works, refused: Job) -> None:
    assert expired(store) == []
    with serving(make_parts(store)) as client:
        assert client.get("/api/v1/alarms").json()["items"]
        path = f"/api/v1/jobs/{refused.id}/cancel"
        given_up = client.post(path, headers=BY_SCRIPT).json()
        assert given_up["state"] == "cancelled"
        assert given_up["error"] == refused.error
        assert client.get("/api/v1/alarms").json()["items"] == []
        again = client.post(path, headers=BY_SCRIPT)
    assert again.status_code == 409
    assert "is cancelled; only a job that failed is cancelled" in again.json()["detail"]
    assert works.outbox.oldest_problem("pacs") is None
    assert expired(store) == [refused.study_instance_uid]


def test_a_retry_takes_it_back(
    store: Store, works: Works, refused: Job, pacs: PretendedPacs
) -> None:
    cancel_job(store.database, refused.id, utc_now())
    pacs.answer = accept
    works.retry(refused.id)
    assert works.finished(refused.id).state is JobState.DONE
    assert expired(store) == []  # accepted, and not proven


def test_what_the_gate_held_back_is_no_alarm_then(
    store: Store, works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = (Problem("", "Something contradicts something."),)
    monkeypatch.setattr(gate_module, "find_problems", lambda *_: wrong)
    job = works.finished(works.settle().id)
    quarantine = Quarantine(store.database)
    assert quarantine.alarm()
    cancel_job(store.database, job.id, utc_now())
    assert quarantine.alarm() == ""
    assert quarantine.of_job(job.id)


def test_a_job_that_ended_well_is_not_given_up(
    store: Store, works: Works, pacs: PretendedPacs
) -> None:
    pacs.answer = accept
    job = works.finished(works.settle().id)
    with pytest.raises(ConfigurationError, match="is done; only a job that failed"):
        cancel_job(store.database, job.id, utc_now())


def test_the_page_offers_it_where_a_job_failed(store: Store, refused: Job) -> None:
    with serving(make_parts(store)) as client:
        page = f"/jobs/{refused.id}"
        target = f'action="{page}/cancel"'
        assert target in client.get(page).text
        done = client.post(f"{page}/cancel", headers=BY_SCRIPT)
        assert (done.status_code, done.headers["location"]) == (303, page)
        assert target not in client.get(page).text


def test_so_does_the_command_which_leaves_a_record(
    store: Store, refused: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = store.database.engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("ONCOPIXEL_DATA_DIR", str(store.files.data_dir))
    monkeypatch.setenv("ONCOPIXEL_DATABASE_URL", url)
    said = CliRunner().invoke(app, ["jobs", "cancel", refused.id, "--json"])
    assert json.loads(said.stdout)["state"] == "cancelled"
    record = AuditTrail(store.database, "test").records(limit=1).items[0]
    assert record.kind == "change"
    said_there = base64.b64encode(f"cancelled job {refused.id}".encode()).decode()
    assert said_there in record.message
    assert record.study_instance_uid == refused.study_instance_uid
