"""Lists read a few columns, and say what the whole would say."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from api_builders import JOB, analyse, finish, queue, receive, write
from builders import NOON, STUDY_UID, later, make_result
from conftest import Store

from oncopixel_pacs.domain import JobState, Reason
from oncopixel_pacs.domain.briefs import JobBrief, StudyBrief
from oncopixel_pacs.store.activity import Activity, Span
from oncopixel_pacs.store.briefs import Briefs
from oncopixel_pacs.store.feedback import Opinion, ReaderFeedback
from oncopixel_pacs.store.study_filter import StudyFilter
from oncopixel_pacs.store.tallies import monday_of


def test_lines_say_what_the_whole_says(any_store: Store) -> None:
    finish(any_store)
    receive(any_store, 2, study="1.2.3")
    queue(any_store, "a" * 24, study="1.2.3")
    briefs = Briefs(any_store.database)
    jobs, studies = any_store.ledger.jobs().items, any_store.catalogue.studies().items
    assert briefs.jobs().items == tuple(map(JobBrief.of, jobs))
    assert briefs.studies().items == tuple(map(StudyBrief.of, studies))
    assert briefs.latest_jobs([STUDY_UID, "1.9"]) == {
        STUDY_UID: JobBrief.of(any_store.ledger.job(JOB))
    }
    assert briefs.jobs(states=[JobState.DONE]).items[0].finding_count == 4


def test_a_line_says_where_results_wait(any_store: Store) -> None:
    receive(any_store)
    queue(any_store)
    analyse(any_store)
    write(any_store)
    (job,) = Briefs(any_store.database).jobs().items
    assert job.waiting_for == any_store.ledger.job(JOB).waiting_for == "destination pacs"


def test_a_job_that_is_read_anew_has_no_findings_until_then(any_store: Store) -> None:
    finish(any_store)
    any_store.ledger.restart(JOB, lambda *_: None, anew=True)
    (job,) = Briefs(any_store.database).jobs().items
    assert (job.probability, job.finding_count) == (None, None)


def test_jobs_of_several_states_come_in_one_order(any_store: Store) -> None:
    states = [JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.DONE, JobState.FAILED]
    for number, state in enumerate(states):
        receive(any_store, study=f"1.2.{number}")
        job = queue(any_store, f"{number:024}", study=f"1.2.{number}", at=60 + number)
        any_store.ledger.finish(job.id, state, later(100))
    briefs, found, cursor = Briefs(any_store.database), [], None
    while True:
        page = briefs.jobs(limit=2, cursor=cursor, states=[JobState.FAILED, JobState.DONE])
        found += [int(item.id) for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == [4, 3, 1, 0]


def test_studies_are_found_by_how_their_ids_begin(any_store: Store) -> None:
    finish(any_store)
    briefs = Briefs(any_store.database)
    for beginning, number in (("P-00", 1), ("P-0007", 1), ("p-00", 0), ("P-1", 0), ("%", 0)):
        wanted = StudyFilter(patient_id=beginning)
        assert len(briefs.studies(wanted=wanted).items) == number, beginning


def test_agreement_is_counted_as_opinions_change(any_store: Store) -> None:
    finish(any_store)
    feedback, job = ReaderFeedback(any_store.database), any_store.ledger.job(JOB)
    uid = make_result().findings[0][1].tracking_uid

    def told() -> list[tuple[str, int, int, int]]:
        return [
            (monday_of(item.week), item.accepted, item.rejected, item.divided)
            for item in feedback.tallies(NOON)
        ]

    feedback.say(job, uid, "jane", Opinion.ACCEPT, later(0))
    assert told() == [("2025-02-24", 1, 0, 0)]
    feedback.say(job, uid, "john", Opinion.REJECT, later(1))
    assert told() == [("2025-02-24", 0, 0, 1)]
    feedback.withdraw(uid, "jane")
    assert told() == [("2025-02-24", 0, 1, 0)]
    feedback.say(job, uid, "john", Opinion.REJECT, NOON + timedelta(days=7))
    assert told() == [("2025-03-03", 0, 1, 0)]
    feedback.withdraw(uid, "john")
    assert told() == []


def test_what_was_not_analysed_has_no_findings(any_store: Store) -> None:
    receive(any_store)
    queue(any_store)
    analyse(any_store, reason=Reason.NO_VIEW)
    write(any_store, destinations={})
    (job,) = Briefs(any_store.database).jobs().items
    assert (job.state, job.probability, job.finding_count) == (JobState.NOT_ANALYSED, None, 0)


@pytest.mark.parametrize("span", Span)
def test_plots_read_the_moments_they_show_and_no_more(store: Store, span: Span) -> None:
    # A database that was never analysed takes any state for a rare one.
    asked: list[tuple[str, Any]] = []

    @sa.event.listens_for(store.database.engine, "before_cursor_execute")
    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        asked.append((statement, values))

    buckets = Activity(store.database).over(span, NOON)
    ((statement, values),) = asked
    with store.database.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
    looked = [row[3] for row in plan if "job" in row[3] or "study" in row[3]]
    assert len(looked) == 3
    assert all("ix_job_finished" in line or "first_received_at" in line for line in looked)
    assert len(buckets) == span.buckets
