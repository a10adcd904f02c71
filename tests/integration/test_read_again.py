"""A job that is read again: what it said before goes nowhere any more."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Store
from workflow_builder import (
    PretendedModel,
    PretendedPacs,
    Works,
    accept,
    folder_destination,
    install,
    refuse,
    running,
)

from oncopixel_pacs.actions import retry_job
from oncopixel_pacs.domain import Job
from oncopixel_pacs.store.search import Criteria, Search


def read_again(works: Works, job: Job) -> Job:
    """Read its images by another version, whose results have UIDs of their own."""
    works.software_version = "0.0.2"
    with running(works):
        retry_job(works.store.ledger, works.queue, job.id, anew=True)
        return works.finished(job.id)


def uids(job: Job) -> set[str]:
    return {item.sop_instance_uid for item in job.objects}


@pytest.fixture
def works(store: Store, tmp_path: Path) -> Works:
    return Works(store, PretendedModel(), (folder_destination(tmp_path / "out"),))


def first(works: Works, tmp_path: Path) -> Job:
    with running(works):
        works.receive(tmp_path / "in")
        return works.finished(works.settle().id)


def test_a_destination_that_is_added_gets_what_holds_now(
    works: Works, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs = install(monkeypatch, PretendedPacs(accept))
    old = first(works, tmp_path)
    new = read_again(works, old)
    held = uids(new) - uids(old)
    shown = Search(works.store.database).objects(Criteria())
    assert (
        {item.sop_instance_uid for item in shown if item.is_result}
        == {item.sop_instance_uid for item in new.current}
        <= held
    )
    works.destinations += (folder_destination(tmp_path / "other", "other"),)
    pacs.received.clear()
    with running(works):
        works.send_again(old.id)
        again = works.finished(old.id)
    there = {i.sop_instance_uid for i in again.deliveries if i.destination == "other"}
    assert there
    assert there <= held
    assert not {uid for uid, _ in pacs.received} & uids(old)


def test_what_an_archive_refused_before_is_not_sent_to_it_afterwards(
    works: Works, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place,) = works.destinations
    works.destinations = (place.model_copy(update={"retract": False}),)
    pacs = install(monkeypatch, PretendedPacs(refuse))
    old = first(works, tmp_path)
    pacs.answer = accept
    pacs.received.clear()
    read_again(works, old)
    assert pacs.received
    assert not {uid for uid, _ in pacs.received} & uids(old)
