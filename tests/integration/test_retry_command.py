"""`oncopixel jobs retry`: one job, or all that an outage left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from api_builders import make_parts, queue, receive, serving
from click.testing import Result
from conftest import Store
from typer.testing import CliRunner
from workflow_builder import PretendedModel, Works, running, utc_now

from oncopixel_pacs.cli import app
from oncopixel_pacs.domain import JobState

Run = Callable[..., Result]


@pytest.fixture
def jobs(store: Store) -> list[str]:
    """Ids of three failed jobs, the second long ago, and of one that a later revision followed."""
    with running(Works(store, PretendedModel())):
        pass  # the engine makes its tables
    ids = [f"job-{number}" for number in range(4)]
    for number, job in enumerate(ids):
        receive(store, study=f"2.25.{number}")
        queue(store, job, study=f"2.25.{number}")
    receive(store, 2, study="2.25.3")
    store.ledger.finish(queue(store, "later", study="2.25.3").id, JobState.DONE, utc_now())
    for number, job in enumerate(ids):
        ended = utc_now() - timedelta(days=9 if number == 1 else 0)
        store.ledger.finish(job, JobState.FAILED, ended, "The PACS refused it.")
    return ids


@pytest.fixture
def run(store: Store, monkeypatch: pytest.MonkeyPatch) -> Run:
    url = store.database.engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("ONCOPIXEL_DATA_DIR", str(store.files.data_dir))
    monkeypatch.setenv("ONCOPIXEL_DATABASE_URL", url)
    return lambda *words: CliRunner().invoke(app, ["jobs", "retry", *words])


def states(store: Store, jobs: list[str]) -> list[JobState]:
    return [store.ledger.job(job).state for job in jobs]


def test_one_job_is_queued_again(store: Store, jobs: list[str], run: Run) -> None:
    assert json.loads(run(jobs[0], "--json").stdout)["state"] == "queued"
    assert states(store, jobs) == [JobState.QUEUED, *[JobState.FAILED] * 3]


@pytest.mark.usefixtures("jobs")
def test_the_alarm_counts_those_that_a_retry_of_all_takes(store: Store) -> None:
    """What a revision made up for kept it up for ever."""
    with serving(make_parts(store)) as client:
        said = [item["said"] for item in client.get("/api/v1/alarms").json()["items"]]
    assert "3 jobs failed; see why, then retry or cancel." in said


def test_every_failed_job_is_queued_again_but_for_what_a_revision_made_up_for(
    store: Store, jobs: list[str], run: Run
) -> None:
    assert "3 jobs queued again" in run("--failed").stdout
    assert states(store, jobs) == [*[JobState.QUEUED] * 3, JobState.FAILED]
    assert json.loads(run("--failed", "--json").stdout) == []


def test_hours_leave_out_what_failed_long_ago(store: Store, jobs: list[str], run: Run) -> None:
    again = json.loads(run("--failed", "--hours", "12", "--json").stdout)
    assert [job["id"] for job in again] == [jobs[0], jobs[2]]
    assert states(store, jobs)[1] is JobState.FAILED


def test_neither_or_both_are_wrong_usage(jobs: list[str], run: Run) -> None:
    assert run().exit_code == 2
    assert run(jobs[0], "--failed").exit_code == 2
