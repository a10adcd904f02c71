"""Jobs that failed, and whose study has a later revision: nobody has to see to them any more."""

from __future__ import annotations

from pathlib import Path

import pytest
from mammogram_builder import SCREENING
from workflow_builder import (
    PretendedPacs,
    Works,
    accept,
    install,
    refuse,
)

from oncopixel_pacs.actions import retry_job
from oncopixel_pacs.domain import Job, JobState
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.report.validation import Problem
from oncopixel_pacs.store.quarantine import Quarantine
from oncopixel_pacs.workflow import gate as gate_module


def late_image(works: Works, folder: Path) -> Job:
    """Have the study read again with an image that came late."""
    works.receive(folder / "in", SCREENING[1])
    return works.finished(works.settle().id)


def test_what_an_archive_refused_of_an_older_revision_is_no_alarm(
    works: Works, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs = install(monkeypatch, PretendedPacs(refuse))
    older = works.finished(works.settle().id)
    pacs.answer = accept
    newer = late_image(works, tmp_path)
    assert (older.state, newer.state) == (JobState.FAILED, JobState.DONE)
    assert works.store.ledger.failed() == 0
    assert works.outbox.oldest_problem("pacs") is None


def test_results_that_a_later_revision_replaced_are_not_sent_after_it(
    works: Works, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry put the older report beside the newer one, and no note took it back."""
    pacs = install(monkeypatch, PretendedPacs(refuse))
    older = works.finished(works.settle().id)
    pacs.answer = accept
    newer = late_image(works, tmp_path)
    sent = len(pacs.received)
    with pytest.raises(ConfigurationError, match=f"see job {newer.id}"):
        retry_job(works.store.ledger, works.queue, older.id)
    assert works.job(older.id).state is JobState.FAILED
    assert len(pacs.received) == sent


def test_what_the_gate_held_back_of_an_older_revision_is_no_alarm(
    works: Works, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as spoilt:
        wrong = (Problem("", "Something contradicts something."),)
        spoilt.setattr(gate_module, "find_problems", lambda *_: wrong)
        works.finished(works.settle().id)
    quarantine = Quarantine(works.store.database)
    assert quarantine.alarm()
    assert late_image(works, tmp_path).state is JobState.DONE
    assert not quarantine.alarm()
