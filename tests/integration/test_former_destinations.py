"""What waits for a destination that leaves the configuration, is renamed, or comes back."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest
from conftest import Store
from outbox_builder import Desk
from pydicom.uid import SegmentationStorage as Segmentation
from typer.testing import CliRunner
from workflow_builder import (
    PretendedModel,
    PretendedPacs,
    Works,
    accept,
    folder_destination,
    install,
    put_off,
    refuse,
    running,
    until,
)

from oncopixel_pacs.audit import AuditKind
from oncopixel_pacs.cli import app
from oncopixel_pacs.deliver import OutgoingObject
from oncopixel_pacs.domain import DeliveryState, Job, JobState, ObjectKind
from oncopixel_pacs.errors import ConfigurationError, DeliveryFailed
from oncopixel_pacs.store.audit_trail import AuditTrail
from oncopixel_pacs.store.former_destinations import FormerDestinations, GivenUp

GONE = (
    "Destination pacs is no longer configured; add it again under [[destinations]] and retry the "
    "job, or give up what waits for it: oncopixel destinations forget pacs."
)


@pytest.fixture
def pacs(monkeypatch: pytest.MonkeyPatch) -> PretendedPacs:
    return install(monkeypatch, PretendedPacs(put_off))


@pytest.fixture
def works(store: Store, pacs: PretendedPacs, tmp_path: Path) -> Works:
    """Have a server with a study that is yet to be settled."""
    built = Works(store, PretendedModel(), (folder_destination(tmp_path / "out"),))
    built.receive(tmp_path / "in")
    return built


@pytest.fixture
def desk(any_store: Store, pacs: PretendedPacs, tmp_path: Path) -> Desk:
    names = ("archive", "pacs")
    return Desk(any_store, [folder_destination(tmp_path / name, name) for name in names])


def configure(works: Works, *names: str) -> None:
    """Restart the server with these destinations."""
    works.stop()
    works.destinations = tuple(folder_destination(Path("out"), name) for name in names)
    works.start()


def states(job: Job) -> set[tuple[str, DeliveryState]]:
    return {(item.destination, item.state) for item in job.deliveries}


def remove_pacs(desk: Desk) -> None:
    desk.destinations = [item for item in desk.destinations if item.name != "pacs"]


def forget(desk: Desk) -> GivenUp:
    return FormerDestinations(desk.store.database).forget("pacs", desk.time)


def test_results_wait_for_a_destination_that_was_left_out_until_it_is_back(
    works: Works, pacs: PretendedPacs
) -> None:
    """A retry without it ended as done, with results that nobody ever sent."""
    with running(works):
        job = works.settle()
        until(lambda: "next attempt" in works.job(job.id).waiting_for)
        configure(works)
        assert works.finished(job.id).state is JobState.FAILED
        works.retry(job.id)
        failed = works.finished(job.id)
        assert failed.state is JobState.FAILED
        assert {item.error for item in failed.deliveries} == {GONE}
        pacs.answer = accept
        configure(works, "pacs")
        works.retry(job.id)
        assert works.finished(job.id).state is JobState.DONE
        assert states(works.job(job.id)) == {("pacs", DeliveryState.ACCEPTED)}


def test_what_was_sent_where_nothing_is_any_more_stays_sent(
    works: Works, pacs: PretendedPacs
) -> None:
    """Sent again, to the archive of now, it counted for ever as waiting for the one of before."""
    pacs.answer = accept
    with running(works):
        job_id = works.finished(works.settle().id).id
        configure(works, "archive")
        works.send_again(job_id)
        assert works.finished(job_id).state is JobState.DONE
        taken = DeliveryState.ACCEPTED
        assert states(works.job(job_id)) == {("archive", taken), ("pacs", taken)}


def test_what_a_destination_is_not_to_take_any_more_is_not_sent_there(
    works: Works, pacs: PretendedPacs, tmp_path: Path
) -> None:
    """As operations says of an archive that does not take segmentations: leave them out, retry."""
    pacs.answer = lambda item: (refuse if item.sop_class_uid == Segmentation else accept)(item)
    with running(works):
        job_id = works.finished(works.settle().id).id
        assert works.job(job_id).state is JobState.FAILED
        works.stop()
        works.destinations = (folder_destination(tmp_path, objects=(ObjectKind.SR,)),)
        works.start()
        works.retry(job_id)
        assert works.finished(job_id).state is JobState.DONE
        assert states(works.job(job_id)) == {("pacs", DeliveryState.ACCEPTED)}


def test_nothing_rests_that_is_not_there(desk: Desk, pacs: PretendedPacs) -> None:
    """Of the jobs for an archive that was away for good one ended every five minutes."""

    def away(_: OutgoingObject) -> None:
        raise DeliveryFailed("nothing listens there.", permanent=False)

    pacs.answer = away  # type: ignore[assignment]  # it never answers
    remove_pacs(desk)
    desk.destinations = [folder_destination(Path("out"))]
    jobs = [desk.add_job(number).id for number in range(8)]
    while not desk.outbox.backlogs()["pacs"].circuit.open:
        desk.work()
        desk.wait(60)
    desk.destinations = []
    for _ in range(3):
        desk.wait(desk.settings.max_retry_seconds)
    assert {desk.store.ledger.job(job).state for job in jobs} == {JobState.FAILED}


def test_what_waits_for_a_destination_that_is_gone_can_be_given_up(
    desk: Desk, pacs: PretendedPacs
) -> None:
    waiting, failed = desk.add_job(0).id, desk.add_job(1).id
    pacs.answer = refuse
    desk.handed = [item for item in desk.handed if item[2] == "pacs" and item[0] == failed]
    desk.work()
    remove_pacs(desk)
    assert forget(desk) == GivenUp(objects=4, jobs=2)
    assert "pacs" not in desk.outbox.backlogs()
    assert desk.outbox.oldest_problem("pacs") is None
    left = {("archive", DeliveryState.QUEUED)}
    assert [states(desk.store.ledger.job(job)) for job in (waiting, failed)] == [left, left]


@pytest.mark.parametrize("elsewhere", [accept, refuse])
def test_a_job_ends_as_what_else_became_of_it_says(
    desk: Desk, pacs: PretendedPacs, elsewhere: object
) -> None:
    job = desk.add_job(0)
    pacs.answer = elsewhere  # type: ignore[assignment]
    desk.handed = desk.handed[:1]
    desk.work()
    remove_pacs(desk)
    desk.handed = [(job.id, 1, "pacs")]
    desk.work()
    assert desk.store.ledger.job(job.id).state is JobState.FAILED
    forget(desk)
    ended = desk.store.ledger.job(job.id)
    if elsewhere is accept:
        assert (ended.state, ended.error) == (JobState.DONE, "")
    else:
        assert ended.state is JobState.FAILED
        assert ended.error.startswith("Not every result was delivered to archive;")


def test_the_alarm_for_what_a_former_destination_does_not_show_ends_with_it(
    desk: Desk, pacs: PretendedPacs
) -> None:
    pacs.answer = accept
    shown = [item.model_copy(update={"proof": "auto"}) for item in desk.destinations]
    desk.destinations = shown[1:]
    desk.add_job(0)
    desk.work()
    while not desk.proofs.alarm():
        desk.wait(desk.settings.confirm_seconds)
    remove_pacs(desk)
    forget(desk)
    assert not desk.proofs.alarm()


def test_the_shell_gives_up_only_what_is_not_configured(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.add_job(0)
    url = desk.store.database.engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("ONCOPIXEL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ONCOPIXEL_DATABASE_URL", url)
    config = tmp_path / "oncopixel.toml"
    config.write_text('[[destinations]]\nname = "pacs"\ntype = "folder"\npath = "out"\n')
    command = ["destinations", "forget", "pacs", "--config", str(config)]
    refused = CliRunner().invoke(app, command).exception
    assert isinstance(refused, ConfigurationError)
    assert "is configured" in str(refused)
    config.write_text("")
    assert "2 result objects of 1 job are" in CliRunner().invoke(app, command).stdout
    kind = AuditKind.SETTINGS.name.lower()
    (record,) = AuditTrail(desk.store.database, "ONCOPIXEL").records(kind=kind).items
    said = b64encode(b"gave up 2 result objects of 1 job for destination pacs").decode()[:-4]
    assert said in record.message
