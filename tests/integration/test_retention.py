"""Retention: what may go, what may not, and what stays of it; also where it is interrupted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from conftest import Store
from mammogram_builder import SCREENING
from typer.testing import CliRunner
from workflow_builder import (
    PretendedModel,
    PretendedPacs,
    Works,
    accept,
    folder_destination,
    install,
    refuse,
    running,
    until,
    utc_now,
)

from oncopixel_pacs.cli import app
from oncopixel_pacs.domain import DeliveryState, IntakeOutcome, Job, JobState, ObjectKind
from oncopixel_pacs.errors import ConfigurationError, NotFound, OutOfResources
from oncopixel_pacs.receive.intake import Intake
from oncopixel_pacs.settings import RetentionSettings
from oncopixel_pacs.store.removal import FolderRemoval
from oncopixel_pacs.store.retention import Retention
from oncopixel_pacs.store.retention_clock import RetentionClock
from oncopixel_pacs.store.shadows import Shadows
from oncopixel_pacs.workflow.purging import Purge, purger


@pytest.fixture
def pacs(monkeypatch: pytest.MonkeyPatch) -> PretendedPacs:
    return install(monkeypatch, PretendedPacs(accept))


@pytest.fixture
def works(request: pytest.FixtureRequest, tmp_path: Path, pacs: PretendedPacs) -> Iterator[Works]:
    """Run the workflow with a pretended archive, and one image received."""
    kept_in = "any_store" if "any_store" in request.fixturenames else "store"
    store: Store = request.getfixturevalue(kept_in)
    built = Works(store, PretendedModel(), (folder_destination(tmp_path / "out"),))
    with running(built):
        built.receive(tmp_path / "in")
        yield built


def change(works: Works, statement: str, **values: object) -> None:
    with works.store.database.engine.begin() as connection:
        connection.execute(sa.text(statement), values)


def confirm(works: Works) -> None:
    """Let every destination have proven that it holds what it accepted."""
    change(works, "UPDATE delivery SET state = :state", state=DeliveryState.CONFIRMED.value)


def purge(works: Works, days: float | None = 0.0) -> Purge:
    retention = Retention(works.store.database, works.store.files)
    settings = RetentionSettings(days=days)
    clock = RetentionClock(works.store.database, "local")
    return Purge(retention, works.queue, settings, lambda: utc_now() + timedelta(seconds=1), clock)


def done(works: Works) -> Job:
    return works.finished(works.settle().id)


def files(works: Works) -> list[Path]:
    # Folders may go while they are walked through.
    names = ("instances", "results", "labels", "quarantine", "deleting")
    walked = (step for name in names for step in os.walk(works.store.files.data_dir / name))
    return [Path(folder) / name for folder, _, held in walked for name in held]


@pytest.mark.usefixtures("any_store")
def test_a_study_that_is_confirmed_everywhere_goes_and_a_record_stays(works: Works) -> None:
    job = done(works)
    confirm(works)
    policy = purge(works)
    shadows, named = Shadows(works.store.database), ("next", "2.0", "segment")
    since, lease = policy.before - timedelta(days=1), timedelta(minutes=1)
    assert shadows.claim("d" * 64, named, utc_now(), since=since, lease=lease) == (job.id, 1)
    (planned,) = policy.retention.expired(policy.before)
    assert files(works)
    assert [item.study_instance_uid for item in policy.run()] == [job.study_instance_uid]
    assert files(works) == []
    with pytest.raises(NotFound):
        works.store.catalogue.study(job.study_instance_uid)
    with pytest.raises(NotFound):
        works.store.ledger.job(job.id)
    assert works.queue.states([job.id]) == {}
    assert shadows.of_job(job.id) == ()
    (record,) = policy.retention.deletions()
    assert (record.images, record.results, record.revision) == (1, len(job.objects), 1)
    assert record.size_bytes == planned.size_bytes
    assert {(item.sop_instance_uid, item.sha256) for item in job.objects} <= set(record.objects)
    assert "every delivery confirmed" in record.policy


@pytest.mark.usefixtures("any_store")
def test_what_an_older_revision_failed_at_keeps_no_study_whose_newest_is_confirmed(
    works: Works, pacs: PretendedPacs, tmp_path: Path
) -> None:
    pacs.answer = refuse
    older = done(works)
    assert list(purge(works).run()) == []
    pacs.answer = accept
    works.receive(tmp_path / "late", SCREENING[1])
    newer = done(works)
    assert (older.state, newer.state) == (JobState.FAILED, JobState.DONE)
    assert list(purge(works).run()) == []
    change(works, "UPDATE delivery SET state = 'confirmed' WHERE state = 'accepted'")
    (gone,) = purge(works).run()
    assert set(gone.jobs) == {older.id, newer.id}
    assert files(works) == []


#: What keeps a study, and how it is mended.
KEPT = {
    "merely accepted": ("UPDATE delivery SET state = 'accepted'", ""),
    "still queued": ("UPDATE delivery SET state = 'queued'", ""),
    "failed for good": ("UPDATE delivery SET state = 'failed'", ""),
    "a job that failed": ("UPDATE job SET state = 'failed'", "UPDATE job SET state = 'done'"),
    "a job under way": (
        "UPDATE job SET state = 'delivering'",
        "UPDATE job SET state = 'done'",
    ),
    "a study that waits for images": (
        "UPDATE study SET state = 'receiving'",
        "UPDATE study SET state = 'settled'",
    ),
    "a conflict": ("UPDATE study SET conflicts = 1", "UPDATE study SET conflicts = 0"),
    "results that nobody was sent": ("DELETE FROM delivery", ""),
    "results of no destination": ("DELETE FROM job_object", ""),
}


@pytest.mark.usefixtures("any_store")
def test_whatever_is_not_proven_is_kept(works: Works) -> None:
    done(works)
    policy = purge(works)
    before = files(works)
    for why, (breaks, mends) in KEPT.items():
        confirm(works)
        change(works, breaks)
        assert list(policy.run()) == [], why
        assert files(works) == before, why
        assert policy.retention.held_back(policy.before) == 1, why
        if mends:
            change(works, mends)


@pytest.mark.usefixtures("pacs")
def test_what_no_destination_asks_for_goes_with_what_was_sent(
    any_store: Store, tmp_path: Path
) -> None:
    # Segmentations are made in any case, since reports refer to them.
    place = folder_destination(tmp_path / "out", objects=(ObjectKind.SR,))
    works = Works(any_store, PretendedModel(), (place,))
    with running(works):
        works.receive(tmp_path / "in")
        job = done(works)
        assert {item.kind for item in job.objects} == {ObjectKind.SEG, ObjectKind.SR}
        assert list(purge(works).run()) == []
        confirm(works)
        assert [item.study_instance_uid for item in purge(works).run()] == [job.study_instance_uid]
        assert files(works) == []


def test_nothing_younger_than_the_policy_goes_and_nothing_without_one(works: Works) -> None:
    done(works)
    confirm(works)
    assert list(purge(works, days=1).run()) == []
    with pytest.raises(ConfigurationError, match=r"set days under \[retention\]"):
        list(purge(works, days=None).run())


def test_an_image_that_comes_while_it_is_deleted_keeps_the_study(
    works: Works, tmp_path: Path
) -> None:
    done(works)
    confirm(works)
    policy = purge(works)
    (listed,) = policy.retention.expired(policy.before)
    works.receive(tmp_path / "late", SOPInstanceUID="2.25.99")
    assert not policy.retention.delete(listed, policy.before, utc_now(), "test")
    assert len(list((works.store.files.data_dir / "instances").rglob("*.dcm"))) == 2


def test_a_study_that_comes_again_goes_on_counting(works: Works, tmp_path: Path) -> None:
    first = done(works)
    confirm(works)
    list(purge(works).run())
    works.receive(tmp_path / "again")
    second = done(works)
    assert (second.revision, second.state) == (2, JobState.DONE)
    assert second.id != first.id


@pytest.mark.usefixtures("any_store")
@pytest.mark.parametrize("committed", [False, True])
def test_an_interrupted_deletion_is_undone_or_finished(
    works: Works, committed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(works)
    confirm(works)
    policy = purge(works)
    before = files(works)

    class PlugPulled(BaseException):
        """Ends it as kill -9 would: nothing is cleaned up."""

    def die(*_: object) -> None:
        raise PlugPulled

    with monkeypatch.context() as patch:
        patch.setattr(FolderRemoval, "mend", lambda *_: None)
        if committed:
            patch.setattr(FolderRemoval, "finish", die)
        else:
            patch.setattr("oncopixel_pacs.store.retention._delete_rows", die)
        with pytest.raises(PlugPulled):
            list(policy.run())
    assert any("deleting" in path.parts for path in files(works))
    Retention(works.store.database, works.store.files).recover()
    intake = Intake(works.store.files, works.store.catalogue, utc_now)
    assert intake.adopt_orphans() == 0
    assert files(works) == ([] if committed else before)


def test_a_disk_that_fails_in_the_middle_deletes_nothing(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(works)
    confirm(works)
    before = files(works)
    policy = purge(works)

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("oncopixel_pacs.store.retention._delete_rows", fail)
    with pytest.raises(OSError, match="Input/output"):
        list(policy.run())
    assert files(works) == before
    assert policy.retention.deletions() == ()


def test_an_object_that_is_deleted_while_it_comes_is_not_acknowledged(
    works: Works, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works.receive(tmp_path / "more", SOPInstanceUID="2.25.5")
    intake = Intake(works.store.files, works.store.catalogue, utc_now)
    path = next((tmp_path / "more").glob("*.dcm"))
    taken = works.store.catalogue.add_instances

    def deleted_meanwhile(batch: list[tuple[object, object]]) -> object:
        outcome = taken(batch)  # type: ignore[arg-type]
        for stored in (works.store.files.data_dir / "instances").rglob("*.dcm"):
            stored.unlink()
        return outcome

    with monkeypatch.context() as patch:
        patch.setattr(works.store.catalogue, "add_instances", deleted_meanwhile)
        with pytest.raises(OutOfResources, match="send it again"):
            intake.accept_file(path, "MODALITY")
    assert intake.accept_file(path, "MODALITY") is IntakeOutcome.DUPLICATE
    assert len(list((works.store.files.data_dir / "instances").rglob("*.dcm"))) == 1


def test_the_server_deletes_by_itself(works: Works) -> None:
    done(works)
    confirm(works)
    deleting = purger(purge(works))
    deleting.start()
    until(lambda: not files(works))
    deleting.stop()


@pytest.mark.usefixtures("any_store")
def test_a_clock_that_leapt_ahead_deletes_nothing_until_it_is_right_or_confirmed(
    works: Works,
) -> None:
    done(works)
    confirm(works)
    clock, ahead = RetentionClock(works.store.database, "local"), timedelta(days=400)
    believing = purge(works, days=90)
    assert list(believing.run()) == []
    leapt = replace(believing, now=lambda: utc_now() + ahead)
    with pytest.raises(ConfigurationError, match=r"host local says .* (399|400) days after"):
        list(leapt.run())
    assert "retention apply --clock-is-right" in clock.alarm()
    # Another host whose clock is right does not end the alarm of this one.
    elsewhere = RetentionClock(works.store.database, "other")
    list(replace(believing, clock=elsewhere).run())
    assert clock.alarm() != ""
    with pytest.raises(ConfigurationError):
        list(leapt.run())
    list(believing.run())
    assert clock.alarm() == ""
    with pytest.raises(ConfigurationError):
        list(leapt.run())
    assert files(works)
    clock.confirm(leapt.now())
    assert clock.alarm() == ""
    assert len(list(leapt.run())) == 1


def test_a_clock_that_was_set_back_has_not_leapt_when_it_is_right_again(works: Works) -> None:
    clock = RetentionClock(works.store.database, "local")
    clock.require(utc_now())
    clock.require(utc_now() - timedelta(days=20_000))
    clock.require(utc_now() + timedelta(days=2))
    assert clock.alarm() == ""


def test_a_refused_result_keeps_its_study(works: Works, pacs: PretendedPacs) -> None:
    pacs.answer = refuse
    assert done(works).state is JobState.FAILED
    assert list(purge(works).run()) == []


def test_the_commands_plan_delete_and_tell(store: Store, tmp_path: Path, pacs: object) -> None:
    works = Works(store, PretendedModel(), (folder_destination(tmp_path / "out"),))
    with running(works):
        works.receive(tmp_path / "in")
        job = done(works)
        confirm(works)
    config = tmp_path / "oncopixel.toml"
    config.write_text(f'data_dir = "{tmp_path}"\n[retention]\ndays = 0\n', encoding="utf-8")

    def said(*words: str) -> str:
        command = ["retention", *words, "--config", str(config)]
        return (
            CliRunner().invoke(app, command, catch_exceptions=False, env={"COLUMNS": "200"}).output
        )

    assert "1 studies would be deleted" in said("plan")
    assert job.study_instance_uid in said("plan", "--json")
    assert files(works)
    assert "1 studies were deleted" in said("apply")
    assert files(works) == []
    assert "every delivery confirmed" in said("records")
    assert job.objects[0].sha256 in said("records", "--json")
    assert "0 studies would be deleted" in said("plan")
    with works.store.database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE installation SET retention_at = '2020-01-01 00:00:00'"))
    assert "the clock of host local says" in said("plan")
    refused = CliRunner().invoke(app, ["retention", "apply", "--config", str(config)])
    assert isinstance(refused.exception, ConfigurationError)
    assert "0 studies were deleted" in said("apply", "--clock-is-right")
    assert "the clock of host" not in said("plan")
