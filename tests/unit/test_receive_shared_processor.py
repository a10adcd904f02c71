"""Threads that receive small objects share one processor, and what they start does not."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from oncopixel_pacs.receive.shared_processor import (
    CHOSEN_FOR_SECONDS,
    SharedProcessor,
    run_anywhere,
)

ALL = os.sched_getaffinity(0)

pytestmark = pytest.mark.skipif(len(ALL) < 2, reason="there is one processor")


class Clock:
    """Tells the time that it is set to."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def here() -> set[int]:
    return os.sched_getaffinity(0)


def after(*calls: Callable[[], None]) -> set[int]:
    """Return where a new thread may run that made these calls."""

    def run() -> set[int]:
        for call in calls:
            call()
        return here()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def test_others_follow_the_thread_that_looked_around() -> None:
    processor = SharedProcessor(Clock())
    first = after(processor.join, processor.join)
    assert len(first) == 1
    assert first < ALL
    assert after(processor.join) == after(processor.join) == first


def test_until_one_has_looked_around_nobody_is_held() -> None:
    processor = SharedProcessor(Clock())
    assert after(processor.join) == ALL
    assert after(processor.join) == ALL


def test_after_a_while_one_is_let_go_to_look_again() -> None:
    clock = Clock()
    processor = SharedProcessor(clock)

    def wait() -> None:
        clock.seconds += CHOSEN_FOR_SECONDS

    assert after(processor.join, processor.join, wait, processor.join) == ALL
    assert len(after(processor.join)) == 1
    assert len(after(wait, processor.join, processor.join)) == 1


def test_what_is_started_after_run_anywhere_runs_anywhere() -> None:
    processor = SharedProcessor(Clock())
    started: list[set[int]] = []

    def start() -> None:
        thread = threading.Thread(target=lambda: started.append(here()))
        thread.start()
        thread.join()

    assert after(processor.join, processor.join, start, run_anywhere, start) == ALL
    held, free = started
    assert len(held) == 1
    assert free == ALL


def test_where_there_is_one_processor_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda _: {min(ALL)})
        processor = SharedProcessor(Clock())
    assert after(processor.join, processor.join) == ALL


def test_a_processor_that_is_taken_away_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    processor = SharedProcessor(Clock())
    real, answers = os.sched_setaffinity, [OSError(22, "Invalid argument")]

    def lost(thread: int, processors: set[int]) -> None:
        if answers:
            raise answers.pop()
        real(thread, processors)

    monkeypatch.setattr(os, "sched_setaffinity", lost)
    assert after(processor.join, processor.join) == ALL
    assert not answers
    assert after(processor.join) == ALL
