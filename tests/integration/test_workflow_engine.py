"""The engine behind the workflow: what it keeps, what a stop leaves, what is mended."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from conftest import Store
from workflow_builder import (
    PretendedModel,
    PretendedPacs,
    Works,
    accept,
    engine_threads,
    folder_destination,
    install,
    put_off,
    running,
    until,
)

from oncopixel_pacs.deliver import Outcome, OutgoingObject
from oncopixel_pacs.domain import JobState, StepState
from oncopixel_pacs.errors import AnalysisFailed, OutOfResources
from oncopixel_pacs.workflow.engine import ENGINE_VERSION


@pytest.fixture
def pacs(monkeypatch: pytest.MonkeyPatch) -> PretendedPacs:
    return install(monkeypatch, PretendedPacs(accept))


@pytest.fixture
def works(store: Store, tmp_path: Path, pacs: PretendedPacs) -> Iterator[Works]:
    """Run the workflow with a pretended archive, and one image received."""
    built = Works(store, PretendedModel(), (folder_destination(tmp_path / "out"),))
    with running(built):
        built.receive(tmp_path / "in")
        yield built


def rows(works: Works, statement: str) -> list[tuple[object, ...]]:
    with works.store.database.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(statement))]


def change(works: Works, statement: str) -> None:
    with works.store.database.engine.begin() as connection:
        assert connection.execute(sa.text(statement)).rowcount > 0


def stopped(works: Works) -> None:
    """Stop the works, and let every thread come to its end."""
    works.stop()
    works.model.go.set()
    until(lambda: not engine_threads())


def test_work_that_was_queued_when_the_server_stopped_is_done_once(
    works: Works, pacs: PretendedPacs, tmp_path: Path
) -> None:
    works.receive_studies(tmp_path / "more", 3)
    works.model.go.clear()
    jobs = works.settler.settle_complete()
    works.model.busy.wait(30)
    works.model.ended = AnalysisFailed("The server is stopping.")
    stopped(works)
    assert all(not works.job(job.id).state.final for job in jobs)
    assert pacs.received == []
    works.model.ended = None
    works.start()
    done = [works.finished(job.id) for job in jobs]
    assert {job.state for job in done} == {JobState.DONE}
    uids = [uid for uid, _ in pacs.received]
    assert len(uids) == len(set(uids)) == 8
    assert len(works.model.asked) == 5


def test_a_stop_in_the_middle_of_an_analysis_is_no_failure(works: Works) -> None:
    works.model.go.clear()
    job = works.settle()
    works.model.busy.wait(30)
    works.model.ended = AnalysisFailed("The server is stopping.", permanent=True)
    stopped(works)
    left = works.job(job.id)
    assert (left.state, left.error) == (JobState.ANALYSING, "")
    assert left.steps[0].state is StepState.RUNNING
    works.model.ended = None
    works.start()
    done = works.finished(job.id)
    assert (done.state, done.steps[0].attempts) == (JobState.DONE, 2)


def test_an_analysis_that_ends_after_the_stop_counts_for_nothing(
    works: Works, pacs: PretendedPacs
) -> None:
    works.model.go.clear()
    job = works.settle()
    works.model.busy.wait(30)
    stopped(works)
    # The host has signed off: another may have the study by now.
    assert works.job(job.id).result is None
    works.start()
    assert works.finished(job.id).state is JobState.DONE
    assert len(works.model.asked) == 2
    uids = [uid for uid, _ in pacs.received]
    assert len(uids) == len(set(uids)) == 2


def test_a_stop_while_an_archive_is_down_is_not_held_up(works: Works, pacs: PretendedPacs) -> None:
    works.stop()
    works.delivery = works.delivery.model_copy(
        update={"first_retry_seconds": 1000.0, "max_retry_seconds": 1000.0}
    )
    works.start()
    pacs.answer = put_off
    job = works.settle()
    until(lambda: "next attempt" in works.job(job.id).waiting_for)
    stopped(works)
    assert works.job(job.id).state is JobState.DELIVERING


def test_deliveries_that_wait_do_not_keep_others_from_being_sent(
    works: Works, pacs: PretendedPacs, tmp_path: Path
) -> None:
    def accept_the_last(item: OutgoingObject) -> Outcome:
        return (accept if last in item.path.read_bytes() else put_off)(item)

    pacs.answer = accept_the_last
    last = b"2.25.75"
    works.receive_studies(tmp_path / "more", 6)
    jobs = {job.study_instance_uid: job for job in works.settler.settle_complete()}
    assert works.finished(jobs["2.25.75"].id).state is JobState.DONE
    assert all(not works.job(jobs[f"2.25.7{n}"].id).state.final for n in range(5))


def test_a_job_that_the_engine_lost_is_mended(works: Works) -> None:
    works.stop()
    works.start()
    study = works.store.catalogue.study("2.25.1000")
    job = works.store.catalogue.settle(
        study, "digest", "lost", study.last_received_at, lambda *_: None
    )
    assert job is not None
    assert works.reconciler.reconcile() == 1
    assert works.finished("lost").state is JobState.DONE
    assert works.reconciler.reconcile() == 0


def test_a_job_under_way_is_left_alone(works: Works) -> None:
    works.model.go.clear()
    job = works.settle()
    works.model.busy.wait(30)
    assert works.reconciler.reconcile() == 0
    works.model.go.set()
    assert works.finished(job.id).state is JobState.DONE
    assert len(works.model.asked) == 1


@pytest.mark.parametrize("state", ["MAX_RECOVERY_ATTEMPTS_EXCEEDED", "CANCELLED"])
def test_work_that_the_engine_gave_up_ends_with_a_sentence(works: Works, state: str) -> None:
    works.stop()
    works.start()
    works.model.go.clear()
    job = works.settle()
    works.model.busy.wait(30)
    change(works, f"UPDATE workflow_status SET status = '{state}'")  # noqa: S608
    assert works.reconciler.reconcile() == 1
    failed = works.job(job.id)
    assert failed.state is JobState.FAILED
    assert failed.error == (
        "The work was given up after repeated stops of the server; retry the job."
    )


def test_work_that_ended_in_an_error_of_the_engine_is_begun_again(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    works.model.go.clear()
    job = works.settle()
    works.model.busy.wait(30)
    stopped(works)
    change(works, "UPDATE workflow_status SET status = 'ERROR'")
    works.start()
    assert works.reconciler.reconcile() == 1
    assert works.finished(job.id).state is JobState.DONE


def test_a_job_whose_work_has_all_ended_is_begun_again(works: Works) -> None:
    job = works.finished(works.settle().id)
    until(lambda: {s for (s,) in rows(works, "SELECT status FROM workflow_status")} == {"SUCCESS"})
    change(works, "UPDATE job SET state = 'delivering', finished_at = NULL")
    assert works.reconciler.reconcile() == 1
    assert works.finished(job.id).state is JobState.DONE


def test_a_job_that_finishes_while_it_is_looked_at_is_left_alone(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = works.settle()
    reconciler = works.reconciler
    glance = type(works.queue).glance

    def finish_first(queue: object, runs: dict[str, int]) -> dict[str, str]:
        works.finished(job.id)
        until(lambda: set(glance(queue, runs).values()) == {"SUCCESS"})  # type: ignore[arg-type]
        return glance(queue, runs)  # type: ignore[arg-type]

    monkeypatch.setattr(type(works.queue), "glance", finish_first)
    assert reconciler.reconcile() == 0
    assert works.job(job.id).state is JobState.DONE


def test_a_database_that_is_away_is_reported_and_not_waited_for(works: Works) -> None:
    with works.store.database.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE workflow_status RENAME TO away"))
    with pytest.raises(OutOfResources, match="cannot be reached now"):
        works.queue.states(["job"])
    with works.store.database.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE away RENAME TO workflow_status"))


def test_work_of_an_earlier_run_is_out_of_date(works: Works, pacs: PretendedPacs) -> None:
    """A person retries a job before the engine has ended the run that failed."""
    pacs.answer = put_off
    job = works.settle()
    until(lambda: pacs.received)
    works.retry(job.id)
    sent = works.in_state(job.id, JobState.DELIVERING)
    steps = works.steps()
    steps.analyse(job.id, 1)
    steps.write(job.id, 1)
    steps.deliver(job.id, 1, "pacs")
    assert works.job(job.id).objects == sent.objects
    pacs.answer = accept
    assert works.finished(job.id).state is JobState.DONE
    assert len(works.model.asked) == 1


def test_a_failed_run_does_not_go_on_when_the_job_is_retried_at_once(works: Works) -> None:
    works.model.failures.append(AnalysisFailed("No.", permanent=True))
    works.model.go.clear()
    job = works.settle()
    works.model.busy.wait(30)
    works.model.go.set()
    works.finished(job.id)
    works.model.go.clear()
    works.retry(job.id)
    works.steps().write(job.id, 1)
    assert not works.job(job.id).state.final
    works.model.go.set()
    assert works.finished(job.id).state is JobState.DONE


def test_queueing_the_same_work_twice_does_it_once(works: Works) -> None:
    works.model.go.clear()
    job = works.settle()
    with works.store.database.write() as session:
        works.queue.enqueue_study(session, job.id, 1)
    works.model.go.set()
    works.finished(job.id)
    until(lambda: {s for (s,) in rows(works, "SELECT status FROM workflow_status")} == {"SUCCESS"})
    assert len(works.model.asked) == 1


def test_a_transaction_that_fails_queues_nothing(works: Works) -> None:
    with pytest.raises(ZeroDivisionError), works.store.database.write() as session:
        works.queue.enqueue_study(session, "never", 1)
        works.queue.enqueue_delivery(session, "never", 1, "pacs")
        raise ZeroDivisionError
    assert works.queue.states(["never"]) == {}


def test_deliveries_to_a_destination_that_was_removed_end_with_a_sentence(
    works: Works, pacs: PretendedPacs
) -> None:
    pacs.answer = put_off
    job = works.settle()
    until(lambda: pacs.received)
    stopped(works)
    works.destinations = ()
    works.start()
    failed = works.finished(job.id)
    assert failed.state is JobState.FAILED
    assert {item.error for item in failed.deliveries} == {
        "Destination pacs is no longer configured; add it again under [[destinations]] and retry "
        "the job, or give up what waits for it: oncopixel destinations forget pacs."
    }


def test_the_engine_keeps_its_values_as_json(works: Works, pacs: PretendedPacs) -> None:
    """The default is pickle, which runs code when a row is read."""
    works.finished(works.settle().id)
    until(lambda: {s for (s,) in rows(works, "SELECT status FROM workflow_status")} == {"SUCCESS"})
    kept = rows(works, "SELECT inputs, output, error, serialization FROM workflow_status")
    kept += rows(works, "SELECT NULL, output, error, serialization FROM operation_outputs")
    assert len(kept) >= 5
    for *values, serialization in kept:
        assert serialization == "portable_json"
        for value in values:
            if value is not None:
                json.loads(str(value))


def test_work_is_bound_to_no_version_of_the_program_and_to_no_limit_over_all_hosts(
    works: Works,
) -> None:
    """An upgrade takes over what is queued; the slots of a dead host block nobody."""
    works.finished(works.settle().id)
    assert ENGINE_VERSION == "1"
    assert set(rows(works, "SELECT application_version FROM workflow_status")) == {("1",)}
    columns = "name, concurrency, worker_concurrency"
    queues = {name: rest for name, *rest in rows(works, f"SELECT {columns} FROM queues")}  # noqa: S608
    assert queues == {"study": [None, 1], "deliver:pacs": [None, 4]}


def test_how_many_studies_go_to_a_destination_at_a_time_is_its_setting(works: Works) -> None:
    stopped(works)
    (pacs,) = works.destinations
    works.destinations = (pacs.model_copy(update={"concurrency": 1}),)
    works.start()
    columns = "name, worker_concurrency"
    assert ("deliver:pacs", 1) in rows(works, f"SELECT {columns} FROM queues")  # noqa: S608


def test_a_job_that_waits_for_its_archive_is_not_lost(works: Works, pacs: PretendedPacs) -> None:
    works.stop()
    works.delivery = works.delivery.model_copy(
        update={"first_retry_seconds": 1000.0, "max_retry_seconds": 1000.0}
    )
    works.start()
    pacs.answer = put_off
    job = works.settle()
    until(lambda: "next attempt" in works.job(job.id).waiting_for)
    until(lambda: {s for (s,) in rows(works, "SELECT status FROM workflow_status")} == {"SUCCESS"})
    assert works.reconciler.reconcile() == 0


def test_what_waits_for_the_time_of_a_clock_that_was_ahead_is_tried_again(
    works: Works, pacs: PretendedPacs
) -> None:
    works.stop()
    a_year = 365 * 86_400.0
    works.delivery = works.delivery.model_copy(
        update={"first_retry_seconds": a_year, "max_retry_seconds": a_year}
    )
    works.start()
    pacs.answer = put_off
    job = works.settle()
    until(lambda: "next attempt" in works.job(job.id).waiting_for)
    pacs.answer = accept
    assert works.reconciler.reconcile() == 0
    assert works.finished(job.id).state is JobState.DONE


def test_the_engine_logs_like_everyone_else(works: Works) -> None:
    logger = logging.getLogger("dbos")
    assert (logger.handlers, logger.propagate) == ([], True)
