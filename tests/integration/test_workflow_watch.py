"""The watch: it settles by itself, says what it waits for, and nothing ends it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from failing_calls import failing_first
from mammogram_builder import SCREENING
from workflow_builder import Works, until, utc_now

from oncopixel_pacs.domain import JobState, StudyState
from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.settings import CompletionSettings
from oncopixel_pacs.store.associations import AssociationLeases
from oncopixel_pacs.workflow import settling
from oncopixel_pacs.workflow.settling import Watch, job_id_for


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "_TICK_SECONDS", 0.02)


@contextmanager
def watching(works: Works) -> Iterator[Watch]:
    watch = Watch(works.settler, works.reconciler, works.dispatcher, works.reaper)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()


def test_a_study_is_settled_and_worked_on_without_anyone_asking(works: Works) -> None:
    with watching(works):
        until(lambda: works.store.ledger.counts() == {JobState.DONE: 1})
    study = works.store.catalogue.study("2.25.1000")
    assert (study.state, study.revision) == (StudyState.SETTLED, 1)


def test_a_study_that_waits_says_for_what(works: Works) -> None:
    works.completion = CompletionSettings(quiet_seconds=3600)
    with watching(works):
        until(lambda: works.store.catalogue.study("2.25.1000").waiting_for)
    waiting_for = works.store.catalogue.study("2.25.1000").waiting_for
    assert waiting_for.startswith("views L CC, R MLO, L MLO, or quiet until")
    assert works.store.ledger.counts() == {}


def test_a_study_is_settled_at_the_longest_wait_counted_from_its_first_unsettled_image(
    works: Works,
) -> None:
    settings = CompletionSettings(quiet_seconds=3600, max_wait_seconds=600)
    clock = [utc_now() + timedelta(seconds=500)]
    settler = replace(works.settler, settings=settings, now=lambda: clock[0])
    assert settler.settle_complete() == []
    clock[0] += timedelta(seconds=200)
    assert len(settler.settle_complete()) == 1


def test_a_study_whose_sender_is_on_the_line_waits_for_it(works: Works) -> None:
    settler = replace(works.settler, settings=CompletionSettings(quiet_seconds=0))
    leases = settler.leases
    leases.set("listener", ["MODALITY"], utc_now() + timedelta(seconds=60), utc_now())
    assert settler.settle_complete() == []
    waiting_for = works.store.catalogue.study("2.25.1000").waiting_for
    assert "the end of the association of MODALITY" in waiting_for
    leases.set("listener", ["MODALITY"], utc_now(), utc_now())
    assert len(settler.settle_complete()) == 1


def test_a_clock_that_was_set_back_for_good_holds_a_study_up_for_the_longest_wait(
    works: Works,
) -> None:
    settings = CompletionSettings(quiet_seconds=1, max_wait_seconds=600)
    seconds = [0.0]
    long_ago = utc_now() - timedelta(days=3650)
    settler = replace(
        works.settler, settings=settings, now=lambda: long_ago, monotonic=lambda: seconds[0]
    )
    assert settler.settle_complete() == []
    seconds[0] = 599.0
    assert settler.settle_complete() == []
    seconds[0] = 600.0
    assert len(settler.settle_complete()) == 1
    assert settler.settle_complete() == []


def test_a_later_revision_is_watched_from_its_own_beginning(works: Works, tmp_path: Path) -> None:
    seconds = [0.0]
    long_ago = utc_now() - timedelta(days=3650)
    settler = replace(
        works.settler,
        settings=CompletionSettings(max_wait_seconds=600),
        now=lambda: long_ago,
        monotonic=lambda: seconds[0],
    )
    settler.settle_complete()
    seconds[0] = 600.0
    assert len(settler.settle_complete()) == 1
    works.receive(tmp_path / "in", SCREENING[1])
    assert settler.settle_complete() == []


def test_studies_that_wait_are_not_read_at_each_look(works: Works, tmp_path: Path) -> None:
    """A bulk transfer leaves a thousand waiting, and there are ten looks a second."""
    works.completion = CompletionSettings(quiet_seconds=3600)
    works.receive_studies(tmp_path / "in", 5)
    settler = works.settler
    settler.settle_complete()
    statements: list[str] = []
    looking = threading.get_ident()
    sa.event.listen(
        works.store.database.engine,
        "before_cursor_execute",
        # The host's lease is renewed on a thread of its own meanwhile.
        lambda _connection, _cursor, statement, *_: (
            threading.get_ident() == looking and statements.append(statement)
        ),
    )
    settler.settle_complete()
    asked = len(statements)
    works.receive_studies(tmp_path / "more", 8)
    settler.settle_complete()
    statements.clear()
    settler.settle_complete()
    assert asked == len(statements) <= 3


def test_an_image_that_comes_while_its_study_is_judged_is_waited_for(
    works: Works, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settler = replace(works.settler, settings=CompletionSettings(quiet_seconds=0))
    open_until = type(settler.leases).open_until

    def receive_meanwhile(leases: AssociationLeases) -> dict[str, datetime]:
        works.receive(tmp_path / "late", SCREENING[1])
        return open_until(leases)

    with monkeypatch.context() as patch:
        patch.setattr(AssociationLeases, "open_until", receive_meanwhile)
        assert settler.settle_complete() == []
    (job,) = settler.settle_complete()
    assert len(job.sop_instance_uids) == 2


@pytest.mark.parametrize("problem", [OutOfResources("Away."), ZeroDivisionError("A defect.")])
def test_the_watch_outlives_every_problem(
    works: Works, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    catalogue = type(works.store.catalogue)
    fails_twice = failing_first(catalogue.receiving, problem, problem)
    monkeypatch.setattr(catalogue, "receiving", fails_twice)
    with watching(works):
        until(lambda: works.store.ledger.counts() == {JobState.DONE: 1})


def test_a_lost_job_is_mended_at_the_start(works: Works) -> None:
    study = works.store.catalogue.study("2.25.1000")
    works.store.catalogue.settle(study, "digest", "lost", utc_now(), lambda *_: None)
    with watching(works):
        until(lambda: works.job("lost").state is JobState.DONE)


def test_a_stopped_watch_leaves_no_thread(works: Works) -> None:
    with watching(works):
        assert "watch" in {thread.name for thread in threading.enumerate()}
    assert "watch" not in {thread.name for thread in threading.enumerate()}


def test_two_hosts_that_settle_at_once_make_one_job(works: Works) -> None:
    with watching(works), watching(works):
        until(lambda: works.store.ledger.counts() == {JobState.DONE: 1})
    assert len(works.model.asked) == 1


def test_the_same_work_has_the_same_id_everywhere() -> None:
    assert job_id_for("1.2.3", 1, "digest") == job_id_for("1.2.3", 1, "digest")
    ids = {
        job_id_for(study, revision, digest)
        for study in ("1.2.3", "1.2.4")
        for revision in (1, 2)
        for digest in ("a", "b")
    }
    assert len(ids) == 8
