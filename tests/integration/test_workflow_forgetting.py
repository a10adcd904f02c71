"""Years of work: what the engine remembers stays small, and looks at it do not grow with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from conftest import Store
from workflow_builder import (
    PretendedModel,
    PretendedPacs,
    Works,
    accept,
    folder_destination,
    install,
    put_off,
    running,
    until,
    utc_now,
)

from oncopixel_pacs.domain import JobState
from oncopixel_pacs.workflow.forgetting import forget_ended


@pytest.fixture
def pacs(monkeypatch: pytest.MonkeyPatch) -> PretendedPacs:
    return install(monkeypatch, PretendedPacs(accept))


@pytest.fixture
def works(store: Store, tmp_path: Path, pacs: PretendedPacs) -> Iterator[Works]:
    """Run the workflow with a pretended archive that waits long after it was not there."""
    built = Works(store, PretendedModel(), (folder_destination(tmp_path / "out"),))
    built.delivery = built.delivery.model_copy(
        update={"first_retry_seconds": 1000.0, "max_retry_seconds": 1000.0}
    )
    with running(built):
        built.receive(tmp_path / "in")
        yield built


def remembered(works: Works) -> dict[str, str]:
    with works.store.database.engine.connect() as connection:
        found = connection.execute(sa.text("SELECT workflow_uuid, status FROM workflow_status"))
        return {key: state for key, state in found}


def idle(works: Works) -> None:
    until(lambda: set(remembered(works).values()) == {"SUCCESS"})


def test_work_that_is_over_is_forgotten_after_a_day_and_work_in_flight_never(
    works: Works, pacs: PretendedPacs, tmp_path: Path
) -> None:
    over = works.finished(works.settle().id)
    pacs.answer = put_off
    works.receive_studies(tmp_path / "more", 1)
    (waits,) = works.settler.settle_complete()
    until(lambda: "next attempt" in works.job(waits.id).waiting_for)
    idle(works)
    forget = (works.store.ledger, works.queue)
    assert forget_ended(*forget, utc_now()) == 0
    assert forget_ended(*forget, utc_now() + timedelta(days=2)) == 2
    assert {key.partition("-")[0] for key in remembered(works)} == {waits.id}
    assert works.store.ledger.job(over.id).state is JobState.DONE
    assert works.reconciler.reconcile() == 0


def test_a_look_at_all_jobs_takes_as_many_statements_for_thousands_as_for_one(
    works: Works, pacs: PretendedPacs, tmp_path: Path
) -> None:
    """The archive is down for the night: no study that arrives may wait for the jobs that wait."""
    pacs.answer = put_off
    works.receive_studies(tmp_path / "more", 5)
    jobs = works.settler.settle_complete()
    until(lambda: all("next attempt" in works.job(job.id).waiting_for for job in jobs))
    idle(works)
    asked: list[tuple[threading.Thread, str]] = []
    sa.event.listen(
        works.store.database.engine,
        "before_cursor_execute",
        lambda _c, _cursor, statement, *_: asked.append((threading.current_thread(), statement)),
    )
    assert works.reconciler.reconcile() == 0
    # The engine looks into its queues meanwhile, by threads of its own.
    mine = [told for thread, told in asked if thread is threading.current_thread()]
    assert len([told for told in mine if "workflow_status" in told]) == 2
