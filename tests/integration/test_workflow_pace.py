"""The engine looks for work seldom while there is none, and at once when there is some."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from conftest import Store
from dbos import DBOS
from workflow_builder import PretendedModel, Works, folder_destination, running, until

from oncopixel_pacs.domain import JobState
from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.workflow.pace import REST_AFTER_SECONDS, Pace

RESTING = 1.0


@pytest.fixture
def works(store: Store, tmp_path: Path) -> Iterator[Works]:
    """Run the workflow with a folder that takes results; nothing is received yet."""
    with running(Works(store, PretendedModel(), (folder_destination(tmp_path / "out"),))) as built:
        yield built


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(works: Works, clock: Clock) -> Pace:
    assert works.executor is not None
    return Pace(works.store.catalogue.has_open_work, works.executor.rest, clock)


def polled_every() -> list[float]:
    """Seconds between two looks into each queue, as the database says."""
    queues = ("study", "deliver:pacs")
    found = [DBOS.retrieve_queue(name) for name in queues]
    return [queue.polling_interval_sec for queue in found if queue is not None]


def test_an_engine_without_work_rests_after_a_while(pace: Pace, clock: Clock) -> None:
    working = polled_every()
    assert len(working) == 2 and max(working) < RESTING
    pace.keep()
    clock.seconds = REST_AFTER_SECONDS
    pace.keep()
    assert polled_every() == working
    clock.seconds += 1
    pace.keep()
    assert polled_every() == [RESTING, RESTING]


def test_an_image_wakes_it_and_its_study_is_read_and_sent(
    works: Works, pace: Pace, clock: Clock, tmp_path: Path
) -> None:
    working = polled_every()
    clock.seconds = REST_AFTER_SECONDS + 1
    pace.keep()
    works.receive(tmp_path / "in")
    pace.keep()
    assert polled_every() == working
    works.settler.settle_complete()
    # As long as anything is under way, and then for a while.
    clock.seconds += REST_AFTER_SECONDS + 1
    pace.keep()
    assert polled_every() == working
    until(lambda: works.store.ledger.counts() == {JobState.DONE: 1})
    clock.seconds += REST_AFTER_SECONDS
    pace.keep()
    assert polled_every() == working
    clock.seconds += 1
    pace.keep()
    assert polled_every() == [RESTING, RESTING]


def test_without_a_database_it_stays_as_it_is_and_is_tried_again(clock: Clock) -> None:
    told: list[bool] = []
    is_away = True

    def rest(rests: bool) -> None:
        if is_away:
            raise OutOfResources("The database is away.")
        told.append(rests)

    pace = Pace(lambda: False, rest, clock)
    clock.seconds = REST_AFTER_SECONDS + 1
    pace.keep()
    assert told == []
    is_away = False
    pace.keep()
    pace.keep()
    assert told == [True]


def test_an_engine_whose_tables_are_away_says_so(works: Works) -> None:
    assert works.executor is not None
    engine = works.store.database.engine
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE queues RENAME TO queues_away"))
    try:
        with pytest.raises(OutOfResources, match="engine's tables cannot be reached"):
            works.executor.rest(True)
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE queues_away RENAME TO queues"))
    works.executor.rest(True)
    assert polled_every() == [RESTING, RESTING]
