"""One commit for all who wait: each gets its own outcome, and nobody waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from queue import SimpleQueue

import pytest

from oncopixel_pacs.store.group_commit import MOST_ITEMS, GroupCommit
from tests.dimse_builder import until


class Journal:
    """Commits that can be held up, and remember what came together."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun = threading.Event()
        self.go = threading.Event()

    def commit(self, items: Sequence[int]) -> list[str | Exception]:
        self.batches.append(list(items))
        self.begun.set()
        assert self.go.wait(15)
        return [ValueError(f"{item}") if item < 0 else f"kept {item}" for item in items]


def in_threads(group: GroupCommit[int, str], items: Sequence[int]) -> dict[int, str]:
    found: dict[int, str] = {}

    def one(item: int) -> None:
        try:
            found[item] = group.commit(item)
        except Exception as exc:
            found[item] = repr(exc)

    threads = [threading.Thread(target=one, args=(item,), daemon=True) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    return found


def test_who_comes_while_another_commits_shares_the_next_commit() -> None:
    journal = Journal()
    group = GroupCommit(journal.commit)
    first = threading.Thread(target=group.commit, args=(0,), daemon=True)
    first.start()
    assert journal.begun.wait(15)
    rest = threading.Thread(target=in_threads, args=(group, range(1, 9)), daemon=True)
    rest.start()
    waiting = threading.Event()
    while len(group._waiting) < 8:
        waiting.wait(0.01)
    journal.go.set()
    first.join(15)
    rest.join(15)
    assert journal.batches[0] == [0]
    assert sorted(journal.batches[1]) == list(range(1, 9))
    assert len(journal.batches) == 2


def test_the_failure_of_one_is_told_to_that_one_alone() -> None:
    journal = Journal()
    journal.go.set()
    found = in_threads(GroupCommit(journal.commit), [1, -2, 3])
    assert found == {1: "kept 1", -2: "ValueError('-2')", 3: "kept 3"}


def test_a_commit_that_fails_is_told_to_all_and_the_next_goes_on() -> None:
    failing = [OSError("full")]

    def commit(items: Sequence[int]) -> list[int]:
        if failing:
            raise failing.pop()
        return list(items)

    group = GroupCommit[int, int](commit)
    with pytest.raises(OSError, match="full"):
        group.commit(1)
    assert group.commit(2) == 2


def test_there_is_a_most_that_is_committed_at_once() -> None:
    journal = Journal()
    journal.go.set()
    assert len(in_threads(GroupCommit(journal.commit), range(3 * MOST_ITEMS))) == 3 * MOST_ITEMS
    assert max(map(len, journal.batches)) <= MOST_ITEMS


def test_who_is_committed_does_not_wait_for_the_commit_that_follows() -> None:
    begun: SimpleQueue[list[int]] = SimpleQueue()
    go: SimpleQueue[None] = SimpleQueue()

    def commit(items: Sequence[int]) -> list[int]:
        begun.put(list(items))
        go.get(timeout=15)
        return list(items)

    group = GroupCommit[int, int](commit)

    def come(*items: int) -> list[threading.Thread]:
        waiting = len(group._waiting)
        threads = [
            threading.Thread(target=group.commit, args=(item,), daemon=True) for item in items
        ]
        for thread in threads:
            thread.start()
        until(lambda: len(group._waiting) == waiting + len(items))
        return threads

    first = threading.Thread(target=group.commit, args=(0,), daemon=True)
    first.start()
    assert begun.get(timeout=15) == [0]
    several = come(1, 2, 3)
    go.put(None)
    assert sorted(begun.get(timeout=15)) == [1, 2, 3]
    last = come(4)
    go.put(None)
    assert begun.get(timeout=15) == [4]
    for thread in (first, *several):
        thread.join(15)
        assert not thread.is_alive()
    assert last[0].is_alive()
    go.put(None)
    last[0].join(15)
    assert not last[0].is_alive()


def test_who_is_about_to_come_is_waited_for() -> None:
    batches: list[list[int]] = []

    def commit(items: Sequence[int]) -> list[int]:
        batches.append(list(items))
        return list(items)

    group = GroupCommit[int, int](commit, most_waited_seconds=15)
    for _ in range(3):
        group.announce()
    threads = [
        threading.Thread(target=group.commit, args=(item,), kwargs={"announced": True}, daemon=True)
        for item in (1, 2)
    ]
    for number, thread in enumerate(threads, 1):
        thread.start()
        until(lambda: len(group._waiting) == number)  # noqa: B023
    assert not batches
    group.withdraw()
    for thread in threads:
        thread.join(15)
    assert batches == [[1, 2]]


def test_who_was_announced_and_does_not_come_is_not_waited_for_long() -> None:
    journal = Journal()
    journal.go.set()
    group = GroupCommit(journal.commit, most_waited_seconds=0.01)
    group.announce()
    assert group.commit(1) == "kept 1"
    assert group.commit(2) == "kept 2"
    group.withdraw()
    assert group.commit(3) == "kept 3"
