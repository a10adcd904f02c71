"""From a settled study to delivered results, on the real engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import make_algorithm
from conftest import Store
from failing_calls import failing_first
from mammogram_builder import SCREENING
from pydicom import dcmread
from workflow_builder import (
    ALGORITHMS,
    PretendedModel,
    PretendedPacs,
    Works,
    accept,
    engine_threads,
    folder_destination,
    install,
    put_off,
    refuse,
    running,
    until,
)

from oncopixel_pacs.actions import retry_job
from oncopixel_pacs.domain import (
    DeliveryState,
    Job,
    JobState,
    ModelTask,
    ObjectKind,
    Reason,
    StepName,
    StepState,
)
from oncopixel_pacs.errors import (
    AnalysisFailed,
    ConfigurationError,
    DeliveryFailed,
    ModelRefused,
    ModelsNotLoaded,
    OncoPixelError,
    OutOfResources,
)
from oncopixel_pacs.infer.cards import models_digest
from oncopixel_pacs.store.readings import ReadingRow


def states(job: Job) -> list[tuple[StepName, StepState, int]]:
    return [(step.name, step.state, step.attempts) for step in job.steps]


def test_each_destination_gets_the_kinds_that_it_chose(store: Store, tmp_path: Path) -> None:
    basic = folder_destination(tmp_path / "basic", "basic")
    outlines = folder_destination(tmp_path / "outlines", "outlines")
    destinations = (
        basic.model_copy(update={"objects": (ObjectKind.SR, ObjectKind.SC)}),
        outlines.model_copy(update={"objects": (ObjectKind.GSPS,)}),
    )
    works = Works(store, PretendedModel(), destinations)
    with running(works):
        works.receive(tmp_path / "in")
        job = works.finished(works.settle().id)
    assert job.state is JobState.DONE
    kinds = [ObjectKind.SEG, ObjectKind.SR, ObjectKind.SC, ObjectKind.GSPS]
    assert [item.kind for item in job.objects] == kinds
    sent = {
        name: sorted(dcmread(path).Modality for path in (tmp_path / name).rglob("*.dcm"))
        for name in ("basic", "outlines")
    }
    assert sent == {"basic": ["OT", "SR"], "outlines": ["PR"]}


def test_a_study_becomes_delivered_results(works: Works, tmp_path: Path) -> None:
    job = works.finished(works.settle().id)
    assert (job.state, job.error, job.waiting_for) == (JobState.DONE, "", "")
    assert states(job) == [(name, StepState.DONE, 1) for name in StepName]
    assert job.result is not None
    assert job.result.probability == 0.25
    assert sorted(item.kind for item in job.objects) == [ObjectKind.SEG, ObjectKind.SR]
    assert {item.state for item in job.deliveries} == {DeliveryState.ACCEPTED}
    sent = {str(dcmread(path).SOPInstanceUID) for path in (tmp_path / "out").rglob("*.dcm")}
    assert sent == {item.sop_instance_uid for item in job.objects}
    detail = {step.name: set(step.detail) for step in job.steps}
    assert detail[StepName.ANALYSE] == {"classify"}
    assert detail[StepName.WRITE] == {"build", "validate", "store"}


def test_a_destination_gets_the_kinds_that_it_asks_for(store: Store, tmp_path: Path) -> None:
    pacs = folder_destination(tmp_path / "pacs")
    workstation = folder_destination(tmp_path / "workstation", "workstation", (ObjectKind.CAD_SR,))
    built = Works(store, PretendedModel(), (pacs, workstation))
    with running(built):
        built.receive(tmp_path / "in")
        job = built.finished(built.settle().id)
    assert job.state is JobState.DONE
    kinds = {item.sop_instance_uid: item.kind for item in job.objects}
    assert sorted(kinds.values()) == [ObjectKind.CAD_SR, ObjectKind.SEG, ObjectKind.SR]
    for name, expected in (
        ("pacs", [ObjectKind.SEG, ObjectKind.SR]),
        ("workstation", [ObjectKind.CAD_SR]),
    ):
        sent = [dcmread(path).SOPInstanceUID for path in (tmp_path / name).rglob("*.dcm")]
        assert sorted(kinds[uid] for uid in sent) == expected


def test_each_report_names_the_one_of_its_kind_that_it_replaces(
    store: Store, tmp_path: Path
) -> None:
    built = Works(
        store,
        PretendedModel(),
        (folder_destination(tmp_path / "out", objects=(ObjectKind.SR, ObjectKind.CAD_SR)),),
    )
    with running(built):
        built.receive(tmp_path / "in")
        first = built.finished(built.settle().id)
        built.receive(tmp_path / "in", SCREENING[1])
        second = built.finished(built.settle().id)
    sent = {item.SOPInstanceUID: item for item in map(dcmread, (tmp_path / "out").rglob("*.dcm"))}
    for kind in (ObjectKind.SR, ObjectKind.CAD_SR):
        before, after = (
            next(item.sop_instance_uid for item in job.objects if item.kind is kind)
            for job in (first, second)
        )
        (replaced,) = sent[after].PredecessorDocumentsSequence
        reference = replaced.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == before


def test_an_analysis_that_fails_is_repeated(works: Works) -> None:
    works.model.failures += [AnalysisFailed("The process ended."), AnalysisFailed("Again.")]
    job = works.finished(works.settle().id)
    assert job.state is JobState.DONE
    assert states(job)[0] == (StepName.ANALYSE, StepState.DONE, 3)


def test_an_analysis_that_keeps_failing_ends_the_job_with_its_sentence(works: Works) -> None:
    works.model.failures += [AnalysisFailed(f"Attempt {n} failed.") for n in (1, 2, 3, 4)]
    job = works.finished(works.settle().id)
    assert (job.state, job.error) == (JobState.FAILED, "Attempt 3 failed.")
    assert states(job) == [(StepName.ANALYSE, StepState.FAILED, 3)]
    assert job.objects == ()


@pytest.mark.parametrize("kind", [ModelRefused, ModelsNotLoaded])
def test_a_study_waits_for_models_that_cannot_be_loaded_and_goes_on_by_itself(
    works: Works, kind: type[OncoPixelError]
) -> None:
    works.model.ended = kind("Model x: the weights are missing; restore the file.")
    job_id = works.settle().id
    until(lambda: len(works.model.asked) > 4)
    until(lambda: works.job(job_id).state is JobState.QUEUED)
    job = works.job(job_id)
    assert job.error == (
        "Waits for the models. Model x: the weights are missing; restore the file."
    )
    works.model.go.clear()
    asked = len(works.model.asked)
    until(lambda: len(works.model.asked) > asked)
    assert works.job(job_id).error == job.error
    works.model.ended = None
    works.model.go.set()
    job = works.finished(job_id)
    assert (job.state, job.error) == (JobState.DONE, "")
    assert states(job)[0][:2] == (StepName.ANALYSE, StepState.DONE)


def test_a_server_that_stops_while_a_study_waits_for_models_goes_on_with_it_later(
    works: Works,
) -> None:
    works.model.ended = ConfigurationError("inference.device is cuda, but there is no GPU.")
    job_id = works.settle().id
    until(lambda: works.job(job_id).error)
    works.stop()
    until(lambda: not engine_threads())
    works.model.ended = None
    works.start()
    assert works.finished(job_id).state is JobState.DONE


def test_a_permanent_failure_is_not_repeated(works: Works) -> None:
    works.model.failures.append(AnalysisFailed("No usable answer.", permanent=True))
    job = works.finished(works.settle().id)
    assert (job.state, job.error) == (JobState.FAILED, "No usable answer.")
    assert len(works.model.asked) == 1


def test_a_defect_ends_the_job_and_not_the_server(works: Works) -> None:
    works.model.failures.append(ZeroDivisionError("of all things"))
    job = works.finished(works.settle().id)
    assert job.state is JobState.FAILED
    assert job.error == (
        "Unexpected ZeroDivisionError in step analyse; the server's log has the trace."
    )
    works.retry(job.id)
    assert works.finished(job.id).state is JobState.DONE


def test_a_failed_job_that_is_retried_is_analysed_again(works: Works) -> None:
    works.model.failures.append(AnalysisFailed("No.", permanent=True))
    job = works.finished(works.settle().id)
    works.retry(job.id)
    assert works.finished(job.id).state is JobState.DONE
    assert len(works.model.asked) == 2


def test_a_job_is_of_the_models_that_read_it_whichever_it_waited_for(works: Works) -> None:
    """After an update it is read again by what runs now; monitoring compares like with like."""
    first = works.finished(works.settle().id)
    assert first.models_digest == models_digest(ALGORITHMS, "0.0.1")
    newer = make_algorithm(ModelTask.SEGMENT, version="2.0")
    works.stop()
    works.model.algorithms, works.software_version = (ALGORITHMS[0], newer), "0.0.2"
    works.start()
    retry_job(works.store.ledger, works.queue, first.id, anew=True)
    again = works.finished(first.id)
    assert again.models_digest == models_digest((ALGORITHMS[0], newer), "0.0.2")
    with works.store.database.read() as session:
        assert session.get_one(ReadingRow, first.id).models_digest == again.models_digest


def test_a_study_of_which_nothing_is_read_says_why(works: Works, tmp_path: Path) -> None:
    works.model.reason = Reason.NO_BREAST
    job = works.finished(works.settle().id)
    assert (job.state, job.error) == (
        JobState.NOT_ANALYSED,
        f"No image could be analysed: {Reason.NO_BREAST.sentence}",
    )
    assert (job.objects, job.deliveries) == ((), ())
    assert states(job) == [(StepName.ANALYSE, StepState.DONE, 1)]
    assert not (tmp_path / "out").exists()
    works.model.reason = None
    works.retry(job.id)
    assert works.finished(job.id).state is JobState.DONE


def test_a_verdict_that_was_cut_off_is_made_up_for(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is kept, and the process ends before the job does."""
    ledger = type(works.store.ledger)
    away = OutOfResources("The database does not take a write now.")
    monkeypatch.setattr(ledger, "finish", failing_first(ledger.finish, away))
    works.model.reason = Reason.NO_BREAST
    job = works.finished(works.settle().id)
    assert job.state is JobState.NOT_ANALYSED
    assert Reason.NO_BREAST.sentence in job.error
    assert len(works.model.asked) == 1


def test_an_image_that_is_not_read_does_not_stop_the_others(works: Works, tmp_path: Path) -> None:
    works.receive(tmp_path / "in", SCREENING[1], PartialView="YES")
    job = works.finished(works.settle().id)
    assert job.state is JobState.DONE
    assert job.result is not None
    assert [image.reason for image in job.result.images] == [None, Reason.PARTIAL_VIEW]
    assert [item.kind for item in job.objects] == [ObjectKind.SEG, ObjectKind.SR]


def test_a_file_that_was_lost_ends_the_job_with_a_sentence(works: Works) -> None:
    works.model.go.clear()
    job = works.settle()
    works.model.busy.wait(30)
    (held,) = works.store.catalogue.study(job.study_instance_uid).instances
    works.store.files.absolute(held.path).unlink()
    works.model.go.set()
    job = works.finished(job.id)
    assert job.state is JobState.FAILED
    assert job.steps[-1].error == job.error
    assert "Unexpected" not in job.error


def test_a_late_image_makes_a_second_revision_that_sends_only_what_is_new(
    works: Works, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pacs = install(monkeypatch, PretendedPacs(accept))
    first = works.finished(works.settle().id)
    works.receive(tmp_path / "in", SCREENING[1])
    second = works.finished(works.settle().id)
    assert (first.revision, second.revision) == (1, 2)
    assert second.state is JobState.DONE
    uids = [uid for uid, _ in pacs.received]
    assert len(uids) == len(set(uids))
    shared = {o.sop_instance_uid for o in first.objects} & {
        o.sop_instance_uid for o in second.objects
    }
    assert len(shared) == 1  # the SEG of the first image; the report is a new one
    assert [item.kind for item in second.objects] == [
        ObjectKind.SEG,
        ObjectKind.SEG,
        ObjectKind.SR,
        ObjectKind.REJECTION,
    ]


def test_an_archive_that_is_down_gets_the_results_later_without_a_second_analysis(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs = install(monkeypatch, PretendedPacs(put_off))
    job = works.settle()
    until(lambda: len(pacs.received) >= 4)
    waiting = works.in_state(job.id, JobState.DELIVERING)
    assert waiting.waiting_for.startswith("destination pacs")
    assert {item.status for item in waiting.deliveries} <= {"0xA700"}
    pacs.answer = accept
    done = works.finished(job.id)
    assert done.state is JobState.DONE
    assert len(works.model.asked) == 1
    assert len(set(pacs.received)) == 2  # the same bytes each time
    assert min(item.attempts for item in done.deliveries) >= 2


def test_an_archive_that_cannot_be_reached_is_tried_again(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(_: object) -> None:
        raise DeliveryFailed("pacs (127.0.0.1:104) does not answer.", permanent=False)

    pacs = install(monkeypatch, PretendedPacs(unreachable))  # type: ignore[arg-type]
    job = works.settle()
    until(lambda: len(pacs.received) >= 3)
    waiting = works.in_state(job.id, JobState.DELIVERING)
    until(lambda: any(d.error for d in works.job(job.id).deliveries))
    assert waiting.error == ""
    pacs.answer = accept
    assert works.finished(job.id).state is JobState.DONE


def test_what_was_accepted_before_the_archive_went_away_is_not_sent_again(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs = install(monkeypatch, PretendedPacs(accept))
    taken: list[str] = []

    def answer(item: object) -> object:
        if not taken:
            taken.append(item.sop_instance_uid)  # type: ignore[attr-defined]
            return accept(item)  # type: ignore[arg-type]
        pacs.answer = accept
        raise DeliveryFailed("The association was aborted.", permanent=False)

    pacs.answer = answer  # type: ignore[assignment]
    job = works.finished(works.settle().id)
    uids = [uid for uid, _ in pacs.received]
    assert job.state is JobState.DONE
    assert uids.count(taken[0]) == 1
    assert len(uids) == 3


def test_an_archive_that_answers_for_fewer_objects_gets_the_rest_again(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs = install(monkeypatch, PretendedPacs(accept))
    whole = pacs.send
    calls: list[int] = []

    def half(objects: list[object], destination: object, **options: object) -> object:
        calls.append(len(objects))
        return whole(objects[:1], destination, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("oncopixel_pacs.workflow.delivery.send", half)
    job = works.finished(works.settle().id)
    assert job.state is JobState.DONE
    assert calls == [2, 1]


def test_an_archive_that_refuses_for_good_fails_the_job_and_a_retry_sends_the_same_bytes(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs = install(monkeypatch, PretendedPacs(refuse))
    job = works.finished(works.settle().id)
    assert job.state is JobState.FAILED
    assert job.error.startswith("Not every result was delivered to pacs")
    assert {item.error for item in job.deliveries} == {"pacs: not this class."}
    assert states(job)[-1] == (StepName.DELIVER, StepState.FAILED, 1)
    pacs.answer = accept
    works.retry(job.id)
    done = works.finished(job.id)
    assert (done.state, done.error) == (JobState.DONE, "")
    assert len(works.model.asked) == 1
    assert pacs.received[:2] == pacs.received[2:]


def test_a_defect_of_a_courier_fails_the_delivery_and_not_the_server(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(_: object) -> None:
        raise ZeroDivisionError

    pacs = install(monkeypatch, PretendedPacs(break_down))  # type: ignore[arg-type]
    job = works.finished(works.settle().id)
    assert job.state is JobState.FAILED
    assert {item.error for item in job.deliveries} == {
        "Unexpected ZeroDivisionError on the way to pacs; the server's log has the trace."
    }
    pacs.answer = accept
    works.retry(job.id)
    assert works.finished(job.id).state is JobState.DONE


def test_one_archive_that_is_down_does_not_keep_another_waiting(
    works: Works, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    works.stop()
    works.destinations += (folder_destination(tmp_path / "second", "second"),)
    works.start()
    pacs = PretendedPacs(accept)
    real = works.destinations[1]

    def send(objects: object, destination: object, **options: object) -> object:
        pacs.answer = accept if destination == real else put_off
        return pacs.send(objects, destination, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("oncopixel_pacs.workflow.delivery.send", send)
    job = works.settle()
    until(
        lambda: (
            {item.state for item in works.job(job.id).deliveries if item.destination == "second"}
            == {DeliveryState.ACCEPTED}
        )
    )
    assert works.job(job.id).state is JobState.DELIVERING
    assert "destination pacs" in works.job(job.id).waiting_for


def test_without_destinations_results_are_written_and_the_job_is_done(
    works: Works, tmp_path: Path
) -> None:
    works.stop()
    works.destinations = ()
    works.start()
    job = works.finished(works.settle().id)
    assert (job.state, len(job.objects), job.deliveries) == (JobState.DONE, 2, ())
    assert [step.name for step in job.steps] == [StepName.ANALYSE, StepName.WRITE]
