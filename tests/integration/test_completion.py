"""A study is complete when someone says so, by API, command or program; for one revision."""

from __future__ import annotations

from pathlib import Path

import pytest
from api_builders import HEADER, make_parts, queue, receive, serving
from builders import STUDY_UID, judged, later, make_instance
from conftest import Store
from typer.testing import CliRunner
from workflow_builder import PretendedModel, Works, running

from oncopixel_pacs.cli import app
from oncopixel_pacs.domain import StudyState
from oncopixel_pacs.errors import NotFound
from oncopixel_pacs.settings import CompletionSettings

PATIENT = CompletionSettings(quiet_seconds=3600, settle_seconds=3600, max_wait_seconds=7200)
COMPLETE = f"/api/v1/studies/{STUDY_UID}/complete"
FROM_A_PROGRAM = {"X-Requested-With": "test"}


def is_complete(store: Store) -> bool:
    study = store.catalogue.study(STUDY_UID)
    return judged(study, study.first_received_at, later(2), PATIENT).complete


def test_a_study_that_is_declared_complete_waits_no_more(any_store: Store) -> None:
    receive(any_store, 1)
    assert not is_complete(any_store)
    assert any_store.catalogue.mark_complete(STUDY_UID, later(2))
    assert is_complete(any_store)


def test_the_word_holds_for_one_revision(any_store: Store) -> None:
    receive(any_store, 1)
    any_store.catalogue.mark_complete(STUDY_UID, later(2))
    queue(any_store)
    assert any_store.catalogue.study(STUDY_UID).revision == 1
    late = make_instance(2, received_at=later(90))
    any_store.catalogue.add_instance(late, HEADER)
    assert any_store.catalogue.study(STUDY_UID).state is StudyState.RECEIVING
    assert not is_complete(any_store)


def test_a_settled_study_has_nothing_to_wait_for(any_store: Store) -> None:
    receive(any_store, 1)
    queue(any_store)
    assert not any_store.catalogue.mark_complete(STUDY_UID, later(2))
    assert not any_store.catalogue.study(STUDY_UID).declared_complete


def test_an_unknown_study_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound):
        store.catalogue.mark_complete("1.2.3", later(0))


def test_the_server_takes_it_up_by_itself(store: Store, tmp_path: Path) -> None:
    works = Works(store, PretendedModel(), completion=PATIENT)
    with running(works):
        works.receive(tmp_path / "in")
        assert works.settler.settle_complete() == []
        store.catalogue.mark_complete("2.25.1000", later(0))
        works.finished(works.settle().id)
    assert store.catalogue.study("2.25.1000").revision == 1


def test_the_api_declares_a_study_complete(store: Store) -> None:
    receive(store, 1)
    with serving(make_parts(store)) as client:
        answer = client.post(COMPLETE, headers=FROM_A_PROGRAM)
        assert (answer.status_code, answer.json()["declared_complete"]) == (202, True)
        queue(store)
        refused = client.post(COMPLETE, headers=FROM_A_PROGRAM)
        assert (refused.status_code, "settled already" in refused.text) == (409, True)
        assert client.post(COMPLETE.replace(STUDY_UID, "1.2.3"), headers=FROM_A_PROGRAM).is_error


def test_so_does_the_command_line(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONCOPIXEL_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    receive(store, 1)
    said = CliRunner().invoke(app, ["studies", "complete", STUDY_UID], catch_exceptions=False)
    assert "is taken as complete" in said.output
    assert store.catalogue.study(STUDY_UID).declared_complete
    queue(store)
    said = CliRunner().invoke(app, ["studies", "complete", STUDY_UID], catch_exceptions=False)
    assert "settled already" in said.output
