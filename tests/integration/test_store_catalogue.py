"""The catalogue on each database: what was received, once, and what becomes of a study."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from api_builders import fail
from builders import NOON, STUDY_UID, later, make_facts, make_instance
from conftest import Store, opened
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgresql_server import PostgresqlServer
from sqlmodel import Session

from oncopixel_pacs.domain import (
    Instance,
    IntakeOutcome,
    Job,
    JobState,
    Study,
    StudyHeader,
    StudyState,
)
from oncopixel_pacs.errors import NotFound, OutOfResources
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.study_filter import StudyFilter

HEADER = StudyHeader("Phantom^Anna", "P-1", "Screening", "A-1", "20250301")


@pytest.fixture
def store(any_store: Store) -> Store:
    return any_store


def add(store: Store, *instances: Instance) -> list[IntakeOutcome]:
    return [store.catalogue.add_instance(item, HEADER) for item in instances]


def unsettled_since(store: Store) -> datetime | None:
    return next((item.unsettled_since for item in store.catalogue.receiving()), None)


def settle(store: Store, study: Study | None = None, job_id: str = "job") -> Job | None:
    def accept(session: Session, job: Job, run: int) -> None:
        assert (job.id, run) == (job_id, 1)

    study = study or store.catalogue.study(STUDY_UID)
    return store.catalogue.settle(study, "digest", job_id, later(60), accept)


def test_the_time_zone_of_a_database_server_changes_nothing(
    postgresql: PostgresqlServer, tmp_path: Path
) -> None:
    url = f"{postgresql.empty_database()}?options=-c%20timezone%3DAmerica/Chicago"
    for store in opened(url, tmp_path):
        for number in (1, 2, 3):
            add(store, make_instance(number, received_at=later(number)))
        assert store.catalogue.study(STUDY_UID).last_received_at == later(3)


def at_once(*works: Callable[[], None]) -> None:
    """Run these at the same time; the first problem is raised."""
    problems: list[BaseException] = []
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        barrier.wait()
        try:
            work()
        except BaseException as exc:
            problems.append(exc)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]


def test_what_was_received_can_be_read_back(store: Store) -> None:
    instance = make_instance(view_modifiers=("Spot",), spacing_mm=(0.07, 0.1))
    assert add(store, instance) == [IntakeOutcome.NEW]
    study = store.catalogue.study(STUDY_UID)
    assert study.instances == (instance,)
    assert (study.state, study.revision, study.header) == (StudyState.RECEIVING, 0, HEADER)
    assert (study.first_received_at, study.last_received_at) == (NOON, NOON)
    assert unsettled_since(store) == NOON


def test_times_are_utc_whatever_zone_they_came_in(store: Store) -> None:
    zone = timezone(timedelta(hours=-7))
    add(store, make_instance(received_at=NOON.astimezone(zone)))
    read = store.catalogue.study(STUDY_UID).last_received_at
    assert (read, read.utcoffset()) == (NOON, timedelta(0))


def test_the_same_object_again_is_a_duplicate(store: Store) -> None:
    first, again = make_instance(), make_instance(received_at=later(30))
    assert add(store, first, again) == [IntakeOutcome.NEW, IntakeOutcome.DUPLICATE]
    study = store.catalogue.study(STUDY_UID)
    assert study.instances == (first,)
    assert study.last_received_at == NOON


def test_a_duplicate_does_not_reopen_a_study(store: Store) -> None:
    add(store, make_instance())
    assert settle(store) is not None
    add(store, make_instance(received_at=later(100)))
    assert store.catalogue.study(STUDY_UID).state is StudyState.SETTLED


def test_other_content_under_a_held_uid_is_kept_apart(store: Store) -> None:
    first, other = make_instance(), make_instance(content="other")
    assert add(store, first, other, other) == [
        IntakeOutcome.NEW,
        IntakeOutcome.CONFLICT,
        IntakeOutcome.CONFLICT,
    ]
    study = store.catalogue.study(STUDY_UID)
    assert (study.instances, study.conflicts) == ((first,), 1)
    assert store.catalogue.known_paths() == {first.path, other.path}


def test_a_conflict_does_not_reopen_a_study(store: Store) -> None:
    add(store, make_instance())
    settle(store)
    add(store, make_instance(content="other"))
    assert store.catalogue.study(STUDY_UID).state is StudyState.SETTLED


def test_senders_of_the_same_object_at_once_make_one_row(store: Store) -> None:
    outcomes: list[IntakeOutcome] = []

    def send() -> None:
        outcomes.extend(add(store, make_instance()))

    at_once(*[send] * 8)
    assert sorted(outcomes) == ["duplicate"] * 7 + ["new"]
    assert len(store.catalogue.study(STUDY_UID).instances) == 1


def test_senders_of_one_study_at_once_lose_nothing(store: Store) -> None:
    def send(number: int) -> Callable[[], None]:
        return lambda: add(store, make_instance(number), make_instance(1)) and None

    at_once(*(send(number) for number in range(1, 9)))
    assert len(store.catalogue.study(STUDY_UID).instances) == 8


def test_hosts_that_get_the_same_images_in_another_order_do_not_wait_for_each_other(
    store: Store,
) -> None:
    hosts = [Catalogue(store.database) for _ in range(4)]

    def send(host: Catalogue, numbers: list[int]) -> Callable[[], None]:
        # Each image is later than the one before, as its host has it.
        batch = [
            (make_instance(number, received_at=later(at)), HEADER)
            for at, number in enumerate(numbers)
        ]

        def work() -> None:
            assert {type(item) for item in host.add_instances(batch)} == {IntakeOutcome}

        return work

    for first in range(0, 100, 10):
        for host in hosts:  # from now on the study is known to wait
            host.add_instance(make_instance(first), HEADER)
        orders = [[first + 1 + (turn + step) % 8 for step in range(8)] for turn in (0, 2, 4, 6)]
        at_once(*(send(host, order) for host, order in zip(hosts, orders, strict=True)))
    assert len(store.catalogue.study(STUDY_UID).instances) == 90


def test_conflicts_that_come_at_once_are_all_counted(store: Store) -> None:
    add(store, make_instance())

    def send(number: int) -> Callable[[], None]:
        return lambda: add(store, make_instance(content=str(number % 4))) and None

    at_once(*(send(number) for number in range(8)))
    assert store.catalogue.study(STUDY_UID).conflicts == 4


def test_a_settled_study_has_a_job_for_its_images(store: Store) -> None:
    add(store, make_instance(2), make_instance(1))
    job = settle(store)
    assert job is not None
    assert job.sop_instance_uids == tuple(make_facts(n).sop_instance_uid for n in (1, 2))
    assert (job.revision, job.created_at) == (1, later(60))
    study = store.catalogue.study(STUDY_UID)
    assert (study.state, study.revision, study.waiting_for) == (StudyState.SETTLED, 1, "")
    assert unsettled_since(store) is None
    assert store.catalogue.receiving() == ()
    assert store.ledger.job("job") == job


def test_a_settled_study_is_not_settled_again(store: Store) -> None:
    add(store, make_instance())
    seen = store.catalogue.study(STUDY_UID)
    assert settle(store, seen) is not None
    assert settle(store, seen, "other") is None


def test_a_late_image_reopens_a_study_for_its_next_revision(store: Store) -> None:
    add(store, make_instance(1))
    settle(store)
    add(store, make_instance(2, received_at=later(300)))
    study = store.catalogue.study(STUDY_UID)
    assert (study.state, study.revision) == (StudyState.RECEIVING, 1)
    assert unsettled_since(store) == later(300)
    add(store, make_instance(3, received_at=later(400)))
    assert unsettled_since(store) == later(300)
    job = settle(store, job_id="second")
    assert job is not None
    assert (job.revision, len(job.sop_instance_uids)) == (2, 3)
    with store.database.read() as session:
        assert dict(
            session.execute(sa.text("SELECT sop_instance_uid, revision FROM instance")).all()
        ) == {f"{STUDY_UID}.1.1": 1, f"{STUDY_UID}.1.2": 2, f"{STUDY_UID}.1.3": 2}


def test_an_image_that_comes_while_a_study_is_judged_is_not_left_out(store: Store) -> None:
    add(store, make_instance(1, received_at=later(10)))
    judged = store.catalogue.study(STUDY_UID)
    add(store, make_instance(2, received_at=later(20)))
    assert settle(store, judged) is None


def test_nor_is_one_whose_clock_was_behind(store: Store) -> None:
    """Received before the last one, recorded after it: the newest time did not change."""
    add(store, make_instance(1, received_at=later(10)))
    judged = store.catalogue.study(STUDY_UID)
    add(store, make_instance(2, received_at=later(5)))
    assert settle(store, judged) is None


def test_a_stale_look_at_an_earlier_revision_settles_nothing(store: Store) -> None:
    add(store, make_instance(1))
    stale = store.catalogue.study(STUDY_UID)
    settle(store, stale)
    add(store, make_instance(2, received_at=NOON))
    assert settle(store, stale, "other") is None


def test_settling_and_handing_over_are_one(store: Store) -> None:
    add(store, make_instance())

    def refuse(session: Session, job: Job, run: int) -> None:
        raise ZeroDivisionError

    study = store.catalogue.study(STUDY_UID)
    with pytest.raises(ZeroDivisionError):
        store.catalogue.settle(study, "digest", "job", later(60), refuse)
    assert store.catalogue.study(STUDY_UID) == study
    assert unsettled_since(store) == NOON
    with pytest.raises(NotFound):
        store.ledger.job("job")
    assert settle(store) is not None


def test_one_of_many_hosts_settles_a_study(store: Store) -> None:
    add(store, make_instance())
    study = store.catalogue.study(STUDY_UID)
    jobs: list[Job | None] = []
    at_once(*[lambda: jobs.append(settle(store, study))] * 6)
    assert sum(job is not None for job in jobs) == 1
    assert store.catalogue.study(STUDY_UID).revision == 1


def test_images_that_come_while_hosts_settle_are_in_the_last_revision(store: Store) -> None:
    """Whatever the order, every image ends in a job or its study still waits."""
    add(store, make_instance(1))

    def send() -> None:
        for number in range(2, 12):
            add(store, make_instance(number))

    def settle_often() -> None:
        for _ in range(12):
            for study in store.catalogue.those([STUDY_UID]):
                job_id = f"job-{study.revision + 1}"
                settle(store, study, job_id)

    at_once(send, settle_often, settle_often)
    study = store.catalogue.study(STUDY_UID)
    if study.state is StudyState.RECEIVING:
        settle(store, study, f"job-{study.revision + 1}")
    study = store.catalogue.study(STUDY_UID)
    jobs = store.ledger.jobs().items
    assert sorted(job.revision for job in jobs) == list(range(1, study.revision + 1))
    last = max(jobs, key=lambda job: job.revision)
    assert len(last.sop_instance_uids) == 11


def test_a_study_says_what_it_waits_for_until_it_settles(store: Store) -> None:
    add(store, make_instance())
    store.catalogue.note_waiting({STUDY_UID: "views L MLO"})
    assert store.catalogue.study(STUDY_UID).waiting_for == "views L MLO"
    settle(store)
    assert store.catalogue.study(STUDY_UID).waiting_for == ""


def test_what_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match=r"No image of study 1\.2\.3 was received"):
        store.catalogue.study("1.2.3")
    assert store.catalogue.those(["1.2.3"]) == ()
    store.catalogue.note_waiting({"1.2.3": "nothing"})


def test_studies_are_counted_by_state(store: Store) -> None:
    add(store, *(make_instance(study=f"1.2.{n}") for n in range(3)))
    add(store, make_instance())
    settle(store)
    assert store.catalogue.counts() == {StudyState.RECEIVING: 3, StudyState.SETTLED: 1}


def test_open_studies_come_oldest_first(store: Store) -> None:
    add(store, *(make_instance(study=f"1.2.{n}", received_at=later(-n)) for n in range(3)))
    assert [s.study_instance_uid for s in store.catalogue.receiving()] == [
        "1.2.2",
        "1.2.1",
        "1.2.0",
    ]


def test_an_open_study_bears_another_mark_whatever_came(store: Store) -> None:
    """Also for an image that is recorded after one that was received later."""
    marks = []
    for number, seconds in ((1, 10), (2, 20), (3, 15)):
        add(store, make_instance(number, received_at=later(seconds)))
        marks.append(store.catalogue.receiving()[0].mark)
    store.catalogue.mark_complete(STUDY_UID, later(30))
    marks.append(store.catalogue.receiving()[0].mark)
    assert len(set(marks)) == 4


def test_only_what_still_waits_is_told_what_it_waits_for(store: Store) -> None:
    add(store, make_instance(), *(make_instance(study=f"1.2.{n}") for n in range(3)))
    settle(store)
    store.catalogue.note_waiting({STUDY_UID: "nothing", "1.2.0": "L CC", "1.2.2": "R CC"})
    found = {item.study_instance_uid: item.waiting_for for item in store.catalogue.studies().items}
    assert found == {STUDY_UID: "", "1.2.0": "L CC", "1.2.1": "", "1.2.2": "R CC"}


@pytest.mark.parametrize(
    "text", ["日本語^太郎", "Müller^Änne", "\\;DROP TABLE study;--'\"", "a\0b"]
)
def test_any_text_of_a_header_is_kept_as_it_is(store: Store, text: str) -> None:
    header = StudyHeader(patient_name=text, description=text)
    store.catalogue.add_instance(make_instance(manufacturer=text), header)
    study = store.catalogue.study(STUDY_UID)
    assert (study.header, study.instances[0].facts.manufacturer) == (header, text)


def pages(store: Store, size: int) -> Iterator[tuple[str, ...]]:
    cursor = None
    while True:
        page = store.catalogue.studies(limit=size, cursor=cursor)
        yield tuple(study.study_instance_uid for study in page.items)
        cursor = page.next_cursor
        if cursor is None:
            return


def forget(database: Database) -> None:
    with database.write() as session:
        for table in ("instance", "study"):
            session.connection().exec_driver_sql(f"DELETE FROM {table}")  # noqa: S608


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(times=st.lists(st.integers(0, 3), min_size=1, max_size=12), size=st.integers(1, 4))
def test_pages_hold_every_study_once_while_new_ones_come(
    store: Store, times: list[int], size: int
) -> None:
    forget(store.database)
    for number, at in enumerate(times):
        add(store, make_instance(study=f"1.2.{number}", received_at=later(at)))
    seen: list[str] = []
    for number, page in enumerate(pages(store, size)):
        assert len(page) <= size
        seen.extend(page)
        add(store, make_instance(study=f"1.3.{number}", received_at=later(10 + number)))
    order = sorted(enumerate(times), key=lambda item: (item[1], f"1.2.{item[0]}"), reverse=True)
    assert seen == [f"1.2.{number}" for number, _ in order]


def test_a_list_can_be_of_one_state(store: Store) -> None:
    add(store, make_instance(study="1.2.9"), make_instance())
    settle(store)
    (settled,) = store.catalogue.studies(wanted=StudyFilter(state=StudyState.SETTLED)).items
    assert settled.study_instance_uid == STUDY_UID


@pytest.mark.parametrize("cursor", ["", "x", "!!", "é", "bnVsbA", "WzEsMl0", "W10", "eyJhIjogMX0"])
def test_a_cursor_that_is_not_ours_is_not_found(store: Store, cursor: str) -> None:
    with pytest.raises(NotFound, match="not one of ours"):
        store.catalogue.studies(cursor=cursor)


def test_an_error_of_the_database_quotes_no_patient(store: Store) -> None:
    with store.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE study RENAME COLUMN conflicts TO away")
    with pytest.raises(OutOfResources) as caught:
        add(store, make_instance())
    trace = "".join(traceback.format_exception(caught.value))
    assert "study" in trace
    assert "Phantom" not in trace


def test_studies_are_found_by_the_state_of_their_last_job(any_store: Store) -> None:
    fail(any_store)
    for state, found in ((JobState.FAILED, 1), (JobState.DONE, 0), (JobState.QUEUED, 0)):
        page = any_store.catalogue.studies(wanted=StudyFilter(job_state=state))
        assert len(page.items) == found, state


def test_a_transaction_that_fails_leaves_nothing_open(store: Store) -> None:
    pool = store.database.engine.pool
    idle = pool.checkedout()  # type: ignore[attr-defined]
    with store.database.write_directly() as cursor:
        cursor.execute("SELECT 1")
    with pytest.raises(OutOfResources), store.database.write_directly() as cursor:
        cursor.execute("INSERT INTO no_such_table VALUES (1)")
    with store.database.write_directly() as first, store.database.read() as session:
        assert first is not None
        assert session.connection().exec_driver_sql("SELECT 1").scalar() == 1
    add(store, make_instance(1), make_instance(2))
    assert len(store.catalogue.study(STUDY_UID).instances) == 2
    store.database.close()
    assert store.database.engine.pool.checkedout() == idle == 0  # type: ignore[attr-defined]
    assert len(store.catalogue.study(STUDY_UID).instances) == 2
