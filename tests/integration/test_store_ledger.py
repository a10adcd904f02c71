"""The ledger on each database: steps, results, objects and where they went."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pytest
from builders import (
    NOON,
    STUDY_UID,
    later,
    make_delivery,
    make_facts,
    make_instance,
    make_object,
    make_result,
)
from conftest import Store
from sqlmodel import Session

from oncopixel_pacs.domain import (
    DeliveryState,
    Job,
    JobState,
    ObjectKind,
    Reason,
    ResultObject,
    StepName,
    StepState,
    StudyHeader,
)
from oncopixel_pacs.errors import ConfigurationError, NotFound
from oncopixel_pacs.store.ledger import Ledger
from oncopixel_pacs.store.outbox import Outbox

EVERYTHING = tuple(ObjectKind)
PACS: Mapping[str, Collection[ObjectKind]] = {"pacs": EVERYTHING}
OBJECTS = (make_object(1), make_object(2), make_object(3, ObjectKind.SR))


@pytest.fixture
def store(any_store: Store) -> Store:
    return any_store


@pytest.fixture
def ledger(store: Store) -> Ledger:
    new_job(store)
    return store.ledger


def new_job(store: Store, job_id: str = "job", number: int = 1, study: str = STUDY_UID) -> Job:
    store.catalogue.add_instance(make_instance(number, study=study), StudyHeader())
    seen = store.catalogue.study(study)
    job = store.catalogue.settle(seen, "digest", job_id, later(number), lambda *_: None)
    assert job is not None
    return job


def queue(
    ledger: Ledger,
    objects: Sequence[ResultObject] = OBJECTS,
    destinations: Mapping[str, Collection[ObjectKind]] = PACS,
    job_id: str = "job",
) -> list[str]:
    """Record these objects; returns the destinations that were handed to the engine."""
    ledger.begin_step(job_id, StepName.DELIVER, NOON)
    handed: list[str] = []
    ledger.add_objects(
        job_id, objects, destinations, NOON, lambda _session, _job, name: handed.append(name)
    )
    return handed


def deliver(
    ledger: Ledger,
    *objects: ResultObject,
    state: DeliveryState = DeliveryState.ACCEPTED,
    destination: str = "pacs",
) -> None:
    ledger.begin_delivery(destination, [item.sop_instance_uid for item in objects])
    for item in objects:
        ledger.record_delivery(make_delivery(item, state, destination=destination))


def test_a_new_job_waits_for_the_models(ledger: Ledger) -> None:
    job = ledger.job("job")
    assert (job.state, job.waiting_for) == (JobState.QUEUED, "a free model process")
    assert (job.steps, job.result, job.objects, job.deliveries) == ((), None, (), ())
    assert ledger.unfinished() == (("job", 1),)


def test_a_job_that_is_not_there_is_not_found(ledger: Ledger) -> None:
    with pytest.raises(NotFound, match="no job other"):
        ledger.job("other")
    with pytest.raises(NotFound):
        ledger.set_state("other", JobState.ANALYSING)
    with pytest.raises(NotFound):
        ledger.finish("other", JobState.FAILED, NOON)
    with pytest.raises(NotFound):
        ledger.restart("other", lambda *_: None)


def test_a_step_has_its_times_and_its_parts(ledger: Ledger) -> None:
    assert ledger.begin_step("job", StepName.ANALYSE, later(1)) == 1
    (step,) = ledger.job("job").steps
    assert (step.state, step.attempts) == (StepState.RUNNING, 1)
    assert (step.started_at, step.finished_at) == (later(1), None)
    ledger.end_step("job", StepName.ANALYSE, later(3), {"decode": 0.5})
    (step,) = ledger.job("job").steps
    assert (step.state, step.finished_at, step.detail) == (
        StepState.DONE,
        later(3),
        {"decode": 0.5},
    )


def test_attempts_at_a_step_are_counted_and_the_last_error_is_kept(ledger: Ledger) -> None:
    ledger.begin_step("job", StepName.ANALYSE, later(1))
    ledger.fail_step("job", StepName.ANALYSE, later(2), "The models are away.")
    (step,) = ledger.job("job").steps
    assert (step.state, step.error) == (StepState.FAILED, "The models are away.")
    assert ledger.begin_step("job", StepName.ANALYSE, later(3)) == 2
    ledger.end_step("job", StepName.ANALYSE, later(4))
    (step,) = ledger.job("job").steps
    assert (step.state, step.attempts, step.error) == (StepState.DONE, 2, "")


def test_steps_come_in_their_order(ledger: Ledger) -> None:
    for name in (StepName.DELIVER, StepName.ANALYSE, StepName.WRITE):
        ledger.begin_step("job", name, NOON)
    assert [step.name for step in ledger.job("job").steps] == list(StepName)


def test_the_end_of_a_step_that_never_began_is_nothing(ledger: Ledger) -> None:
    ledger.end_step("job", StepName.WRITE, NOON)
    assert ledger.job("job").steps == ()


def test_a_result_comes_back_as_it_was(ledger: Ledger) -> None:
    result = make_result([make_facts(1), make_facts(2, laterality=None)])
    ledger.save_result("job", result)
    assert ledger.job("job").result == result


def test_so_does_one_with_nothing_analysed(ledger: Ledger) -> None:
    result = make_result([make_facts(1, spacing_mm=None)], reason=Reason.NO_PIXEL_SPACING)
    ledger.save_result("job", result)
    assert ledger.job("job").result == result


def test_objects_are_queued_for_the_destinations_that_take_them(ledger: Ledger) -> None:
    handed = queue(ledger, destinations={"pacs": EVERYTHING, "ris": [ObjectKind.SR], "none": []})
    assert handed == ["pacs", "ris"]
    job = ledger.job("job")
    assert (job.state, job.objects) == (JobState.DELIVERING, OBJECTS)
    assert [item.sop_instance_uid for item in job.deliveries if item.destination == "ris"] == [
        OBJECTS[2].sop_instance_uid
    ]
    assert {item.state for item in job.deliveries} == {DeliveryState.QUEUED}
    assert len(job.deliveries) == 4


def test_a_destination_gets_the_objects_in_their_order(ledger: Ledger) -> None:
    backwards = tuple(reversed(OBJECTS))
    queue(ledger, backwards)
    assert tuple(item for item, _ in ledger.open_deliveries("job", "pacs")) == backwards


def test_a_job_without_destinations_is_done(ledger: Ledger) -> None:
    assert queue(ledger, destinations={}) == []
    job = ledger.job("job")
    assert (job.state, job.finished_at) == (JobState.DONE, NOON)


def test_a_job_with_nothing_to_send_leaves_no_step_open(ledger: Ledger) -> None:
    assert queue(ledger, destinations={"none": []}) == []
    job = ledger.job("job")
    assert job.state is JobState.DONE
    assert [step.state for step in job.steps] == [StepState.DONE]


def test_recording_objects_and_handing_over_are_one(ledger: Ledger) -> None:
    def refuse(session: Session, job_id: str, name: str) -> None:
        raise ZeroDivisionError

    before = ledger.job("job")
    with pytest.raises(ZeroDivisionError):
        ledger.add_objects("job", OBJECTS, PACS, NOON, refuse)
    assert ledger.job("job") == before
    assert ledger.stored_object(OBJECTS[0].sop_instance_uid) is None


def test_recording_objects_twice_changes_nothing(ledger: Ledger) -> None:
    queue(ledger)
    deliver(ledger, OBJECTS[0])
    before = ledger.job("job")
    assert queue(ledger) == ["pacs"]
    assert ledger.job("job").deliveries == before.deliveries
    assert ledger.job("job").objects == before.objects


def test_a_delivery_that_failed_for_good_is_not_queued_again_by_the_same_job(
    ledger: Ledger,
) -> None:
    """The engine would not run the delivery of the same run a second time."""
    queue(ledger)
    deliver(ledger, OBJECTS[0], state=DeliveryState.FAILED)
    queue(ledger)
    assert ledger.job("job").deliveries[0].state is DeliveryState.FAILED


def test_only_what_is_open_is_sent(ledger: Ledger) -> None:
    queue(ledger)
    deliver(ledger, OBJECTS[0])
    deliver(ledger, OBJECTS[1], state=DeliveryState.FAILED)
    ((item, delivery),) = ledger.open_deliveries("job", "pacs")
    assert (item, delivery.attempts) == (OBJECTS[2], 0)


def test_a_delivery_that_was_interrupted_is_still_open(ledger: Ledger) -> None:
    queue(ledger)
    ledger.begin_delivery("pacs", [item.sop_instance_uid for item in OBJECTS])
    found = ledger.open_deliveries("job", "pacs")
    assert [(d.state, d.attempts) for _, d in found] == [(DeliveryState.SENDING, 1)] * 3


def test_a_job_is_done_when_every_destination_is(ledger: Ledger) -> None:
    queue(ledger, destinations={"pacs": EVERYTHING, "ris": EVERYTHING})
    deliver(ledger, *OBJECTS)
    assert not ledger.close_delivery("job", later(5))
    assert ledger.job("job").state is JobState.DELIVERING
    deliver(ledger, *OBJECTS, destination="ris")
    assert ledger.close_delivery("job", later(6))
    job = ledger.job("job")
    assert (job.state, job.finished_at, job.error) == (JobState.DONE, later(6), "")
    assert [(s.name, s.state, s.finished_at) for s in job.steps] == [
        (StepName.DELIVER, StepState.DONE, later(6))
    ]
    assert ledger.unfinished() == ()


def test_closing_a_second_time_changes_nothing(ledger: Ledger) -> None:
    queue(ledger)
    deliver(ledger, *OBJECTS)
    ledger.close_delivery("job", later(6))
    before = ledger.job("job")
    assert ledger.close_delivery("job", later(60))
    assert ledger.job("job") == before


def test_a_job_fails_when_a_destination_refuses_for_good(ledger: Ledger) -> None:
    queue(ledger, destinations={"pacs": EVERYTHING, "ris": EVERYTHING})
    deliver(ledger, *OBJECTS)
    deliver(ledger, *OBJECTS, state=DeliveryState.FAILED, destination="ris")
    assert ledger.close_delivery("job", later(6))
    job = ledger.job("job")
    assert job.state is JobState.FAILED
    assert job.error == (
        "Not every result was delivered to ris; "
        "see the deliveries for the reasons, then retry the job."
    )
    assert job.steps[0].state is StepState.FAILED


def test_an_object_that_an_earlier_revision_delivered_is_not_sent_again(
    store: Store, ledger: Ledger
) -> None:
    queue(ledger, OBJECTS[:2])
    deliver(ledger, *OBJECTS[:2])
    ledger.close_delivery("job", NOON)
    new_job(store, "second", 2)
    assert queue(ledger, (OBJECTS[0], OBJECTS[2]), job_id="second") == ["pacs"]
    assert [item for item, _ in ledger.open_deliveries("second", "pacs")] == [OBJECTS[2]]
    second = ledger.job("second")
    assert second.objects == (OBJECTS[0], OBJECTS[2])
    assert [item.state for item in second.deliveries] == [
        DeliveryState.ACCEPTED,
        DeliveryState.QUEUED,
    ]


def test_a_revision_of_nothing_new_is_done(store: Store, ledger: Ledger) -> None:
    queue(ledger)
    deliver(ledger, *OBJECTS)
    ledger.close_delivery("job", NOON)
    new_job(store, "second", 2)
    assert queue(ledger, job_id="second") == []
    assert ledger.job("second").state is JobState.DONE


def test_an_object_that_an_earlier_revision_could_not_deliver_is_tried_again(
    store: Store, ledger: Ledger
) -> None:
    queue(ledger)
    deliver(ledger, *OBJECTS, state=DeliveryState.FAILED)
    ledger.close_delivery("job", NOON)
    new_job(store, "second", 2)
    assert queue(ledger, job_id="second") == ["pacs"]
    assert ledger.job("second").state is JobState.DELIVERING
    assert len(ledger.open_deliveries("second", "pacs")) == 3


def test_a_restarted_job_sends_what_failed_and_nothing_else(ledger: Ledger) -> None:
    ledger.save_result("job", make_result())
    queue(ledger)
    deliver(ledger, *OBJECTS[:2])
    deliver(ledger, OBJECTS[2], state=DeliveryState.FAILED)
    ledger.close_delivery("job", NOON)
    handed: list[tuple[str, int]] = []
    job = ledger.restart("job", lambda _session, job, run: handed.append((job.id, run)))
    assert handed == [("job", 2)]
    assert ledger.unfinished() == (("job", 2),)
    assert (job.state, job.error, job.finished_at) == (JobState.QUEUED, "", None)
    assert job.result == make_result()
    ((item, delivery),) = ledger.open_deliveries("job", "pacs")
    assert (item, delivery.error, delivery.attempts) == (OBJECTS[2], "", 1)


@pytest.mark.parametrize("reason", [None, Reason.NO_BREAST])
def test_a_job_restarted_before_it_wrote_anything_is_analysed_again(
    ledger: Ledger, reason: Reason | None
) -> None:
    ledger.save_result("job", make_result(reason=reason))
    ledger.finish("job", JobState.FAILED, NOON, "The label map cannot be read.")
    assert ledger.restart("job", lambda *_: None).result is None


def test_restarting_and_handing_over_are_one(ledger: Ledger) -> None:
    def refuse(session: Session, job: Job, run: int) -> None:
        raise ZeroDivisionError

    ledger.finish("job", JobState.FAILED, NOON, "Bad.")
    before = ledger.job("job")
    with pytest.raises(ZeroDivisionError):
        ledger.restart("job", refuse)
    assert ledger.job("job") == before
    assert ledger.unfinished() == ()


def test_a_job_says_which_destination_it_waits_for_and_until_when(ledger: Ledger) -> None:
    queue(ledger, destinations={"pacs": EVERYTHING, "ris": EVERYTHING})
    assert ledger.job("job").waiting_for == "destination pacs; destination ris"
    ledger.begin_delivery("pacs", [item.sop_instance_uid for item in OBJECTS])
    for number, item in enumerate(OBJECTS):
        due = later(60 - number)
        again = make_delivery(item, DeliveryState.QUEUED, next_attempt_at=due, error="No.")
        ledger.record_delivery(again)
    assert ledger.job("job").waiting_for == (
        "destination pacs, next attempt 12:00:58 UTC; destination ris"
    )
    ledger.begin_delivery("pacs", [item.sop_instance_uid for item in OBJECTS])
    assert ledger.job("job").waiting_for == "destination pacs; destination ris"
    deliver(ledger, *OBJECTS, destination="ris")
    assert ledger.job("job").waiting_for == "destination pacs"


@pytest.mark.parametrize("state", [state for state in JobState if state.final])
def test_a_job_that_is_over_waits_for_nothing(ledger: Ledger, state: JobState) -> None:
    ledger.finish("job", state, later(9), "Because.")
    job = ledger.job("job")
    assert (job.state, job.waiting_for, job.finished_at) == (state, "", later(9))
    assert job.error == "Because."


def test_jobs_and_deliveries_are_counted(store: Store, ledger: Ledger) -> None:
    new_job(store, "second", 1, "1.2.3")
    queue(ledger)
    deliver(ledger, OBJECTS[0])
    assert ledger.counts() == {JobState.DELIVERING: 1, JobState.QUEUED: 1}
    assert Outbox(store.database).counts() == {
        "pacs": {DeliveryState.ACCEPTED: 1, DeliveryState.QUEUED: 2}
    }


def test_jobs_are_listed_newest_first_page_by_page(store: Store) -> None:
    for number in range(1, 6):
        new_job(store, f"job-{number}", number, f"1.2.{number}")
    first = store.ledger.jobs(limit=2)
    new_job(store, "job-9", 9, "1.2.9")
    second = store.ledger.jobs(limit=2, cursor=first.next_cursor)
    third = store.ledger.jobs(limit=2, cursor=second.next_cursor)
    found = [job.id for page in (first, second, third) for job in page.items]
    assert found == ["job-5", "job-4", "job-3", "job-2", "job-1"]
    assert third.next_cursor is None


def test_jobs_can_be_listed_by_study_and_state(store: Store) -> None:
    for number in range(1, 4):
        new_job(store, f"job-{number}", number, f"1.2.{number}")
    store.ledger.finish("job-2", JobState.FAILED, NOON)
    by_study = store.ledger.jobs(study_instance_uid="1.2.3").items
    assert [job.id for job in by_study] == ["job-3"]
    by_state = store.ledger.jobs(states=[JobState.FAILED, JobState.DONE]).items
    assert [job.id for job in by_state] == ["job-2"]


def test_a_list_of_jobs_holds_all_that_each_job_has(store: Store, ledger: Ledger) -> None:
    new_job(store, "second", 1, "1.2.3")
    queue(ledger)
    assert {job.id: job for job in ledger.jobs().items} == {
        "job": ledger.job("job"),
        "second": ledger.job("second"),
    }


def test_a_job_starts_again_only_from_the_states_that_are_asked_for(ledger: Ledger) -> None:
    handed: list[str] = []
    with pytest.raises(ConfigurationError, match="Job job is queued; only failed"):
        ledger.restart("job", lambda _s, job, _r: handed.append(job.id), [JobState.FAILED])
    assert (handed, ledger.current_run("job")) == ([], 1)
    ledger.finish("job", JobState.FAILED, NOON)
    ledger.restart("job", lambda _s, job, _r: handed.append(job.id), [JobState.FAILED])
    assert (handed, ledger.current_run("job")) == (["job"], 2)


def test_the_latest_job_of_each_study_is_found(store: Store) -> None:
    new_job(store, "first", 1)
    new_job(store, "second", 2)
    new_job(store, "other", 3, "1.2.3")
    found = store.ledger.latest_jobs([STUDY_UID, "1.2.3", "1.2.4"])
    assert {study: job.id for study, job in found.items()} == {
        STUDY_UID: "second",
        "1.2.3": "other",
    }


def test_a_report_finds_those_of_earlier_revisions(store: Store) -> None:
    new_job(store, "first", 1)
    queue(store.ledger, job_id="first")
    second = new_job(store, "second", 2)
    queue(store.ledger, [make_object(9, ObjectKind.SR)], job_id="second")
    third = new_job(store, "third", 3)
    new_job(store, "other", 1, "1.2.3")
    assert store.ledger.earlier_reports(second) == (OBJECTS[2],)
    assert store.ledger.earlier_reports(third) == (OBJECTS[2], make_object(9, ObjectKind.SR))
    assert store.ledger.earlier_reports(store.ledger.job("other")) == ()


def test_the_delivery_in_trouble_that_waits_longest_is_found(store: Store, ledger: Ledger) -> None:
    assert Outbox(store.database).oldest_problem("pacs") is None
    queue(ledger)
    deliver(ledger, OBJECTS[0])
    for item, state in ((OBJECTS[1], DeliveryState.QUEUED), (OBJECTS[2], DeliveryState.FAILED)):
        ledger.record_delivery(make_delivery(item, state, error="No answer."))
    new_job(store, "second", 2)
    queue(ledger, [make_object(9)], job_id="second")
    ledger.record_delivery(make_delivery(make_object(9), DeliveryState.QUEUED, error="Later."))
    found = Outbox(store.database).oldest_problem("pacs")
    assert found is not None
    job, delivery = found
    assert (job.id, delivery.sop_instance_uid) == ("job", OBJECTS[1].sop_instance_uid)
    assert Outbox(store.database).oldest_problem("ris") is None
