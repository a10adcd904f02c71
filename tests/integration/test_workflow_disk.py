"""Disks and databases that are away for a while fail no job."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from failing_calls import failing_first
from workflow_builder import Works, until

from oncopixel_pacs.domain import JobState, StepName, StepState
from oncopixel_pacs.errors import AnalysisFailed, OutOfResources
from oncopixel_pacs.report import source_file


def refusal(number: int) -> OSError:
    """Say what a disk says."""
    return OSError(number, os.strerror(number))


def test_a_disk_that_is_full_for_a_moment_fails_no_job(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = type(works.store.files)
    monkeypatch.setattr(files, "write", failing_first(files.write, refusal(errno.ENOSPC)))
    job = works.finished(works.settle().id)
    assert job.state is JobState.DONE
    step = job.steps[1]
    assert (step.name, step.state, step.attempts) == (StepName.WRITE, StepState.DONE, 2)
    assert len(works.model.asked) == 1


def test_nor_does_a_database_that_is_away_for_a_moment(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = type(works.store.ledger)
    away = OutOfResources("The database does not take a write now.")
    monkeypatch.setattr(ledger, "save_result", failing_first(ledger.save_result, away))
    assert works.finished(works.settle().id).state is JobState.DONE


@pytest.mark.parametrize(("module", "name"), [(Path, "read_bytes"), (source_file, "dcmread")])
def test_nor_does_one_that_cannot_be_read_for_a_moment(
    works: Works, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    monkeypatch.setattr(module, name, failing_first(getattr(module, name), refusal(errno.EIO)))
    job = works.finished(works.settle().id)
    assert (job.state, job.error) == (JobState.DONE, "")
    step = job.steps[1]
    assert (step.name, step.state, step.attempts) == (StepName.WRITE, StepState.DONE, 2)


def test_what_fails_while_the_disk_takes_nothing_waits_for_it(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is elsewhere, as PostgreSQL is."""

    def away(**_named: object) -> None:
        raise refusal(errno.EIO)

    works.model.ended = AnalysisFailed("The file of image 1.2.3 cannot be opened.")
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "TemporaryFile", away)
        job = works.settle()
        until(lambda: works.job(job.id).error != "")
        said = works.job(job.id).error
        assert not works.job(job.id).state.final
    assert "Is tried again." in said
    assert "does not take a file (Input/output error); see what is wrong with the disk" in said
    works.model.ended = None
    done = works.finished(job.id)
    assert (done.state, done.error) == (JobState.DONE, "")


def test_what_the_disk_said_is_told_in_a_sentence(works: Works) -> None:
    works.model.ended = OSError(errno.EIO, os.strerror(errno.EIO), "/data/labels/81ff")
    job = works.settle()
    until(lambda: works.job(job.id).error != "")
    assert works.job(job.id).error == (
        "Is tried again. The disk of data_dir failed (Input/output error); "
        "see what is wrong with the disk."
    )
    works.model.ended = None
    assert works.finished(job.id).state is JobState.DONE


def test_what_fails_while_the_disk_is_well_is_over(works: Works) -> None:
    works.model.ended = AnalysisFailed("The file of image 1.2.3 cannot be opened.")
    job = works.finished(works.settle().id)
    assert (job.state, job.error) == (JobState.FAILED, str(works.model.ended))
