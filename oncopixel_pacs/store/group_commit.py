"""One commit for all who wait for one, and a journal is written once instead of ten times.

There is no thread for it: whoever comes first commits, and those who come meanwhile wait for
the next turn, which the first of them takes for all. Who has said before that it is about to
come is waited for, a moment: to commit one more costs a fraction of another commit.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

#: More at once would make the first of them wait for too long.
MOST_ITEMS = 64
#: About as long as a commit takes: to wait longer for those who are coming gains nothing.
MOST_WAITED_SECONDS = 0.002


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Item, Outcome]):
    item: Item
    #: Held until it is committed, or until it is the one to commit.
    called: threading.Lock = field(default_factory=threading.Lock)
    outcomes: list[Outcome | BaseException] = field(default_factory=list)


class GroupCommit(Generic[Item, Outcome]):
    """Joins calls from many threads into few commits.

    Parameters
    ----------
    commit
        Commits some items durably; gives for each its outcome, or the exception that is raised
        to whoever waits for it. What it raises itself is raised to all of them.
    most_waited_seconds
        How long a commit waits for those who were announced.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Item]], Sequence[Outcome | Exception]],
        most_waited_seconds: float = MOST_WAITED_SECONDS,
    ) -> None:
        self._commit = commit
        self._most_waited_seconds = most_waited_seconds
        self._waiting: deque[_Waiting[Item, Outcome]] = deque()
        self._is_committing = False
        self._lock = threading.Lock()
        self._coming = 0
        #: Held while someone waits for those who are coming.
        self._gathering: threading.Lock | None = None

    def announce(self) -> None:
        """Say that this thread commits in a moment: `commit` or `withdraw` must follow."""
        with self._lock:
            self._coming += 1

    def withdraw(self) -> None:
        """Say that what was announced does not come."""
        with self._lock:
            self._came()

    def commit(self, item: Item, *, announced: bool = False) -> Outcome:
        """Return when the item is committed, with its outcome.

        Parameters
        ----------
        announced
            Whether `announce` was called for it.

        Raises
        ------
        Exception
            What became of it otherwise.
        """
        mine: _Waiting[Item, Outcome] = _Waiting(item)
        with self._lock:
            self._waiting.append(mine)
            if announced:
                self._came()
            waits, self._is_committing = self._is_committing, True
            if waits:
                mine.called.acquire()
        if waits:
            # Each is called by itself: whoever is done need not queue behind the next commit.
            mine.called.acquire()
        if not mine.outcomes:
            self._commit_waiting(mine)
        outcome = mine.outcomes[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def _commit_waiting(self, mine: _Waiting[Item, Outcome]) -> None:
        """Commit what waits, `mine` first, and leave the next commit to who waits longest."""
        self._gather()
        number = min(len(self._waiting), MOST_ITEMS)
        batch = [self._waiting.popleft() for _ in range(number)]
        try:
            outcomes = self._commit([waiting.item for waiting in batch])
            for waiting, outcome in zip(batch, outcomes, strict=True):
                waiting.outcomes.append(outcome)
        except BaseException as exc:
            for waiting in batch:
                waiting.outcomes[:] = [exc]
        with self._lock:
            called = batch
            if self._waiting:
                called = [self._waiting[0], *batch]
            else:
                self._is_committing = False
        for waiting in called:
            if waiting is not mine:
                waiting.called.release()

    def _came(self) -> None:
        """Count one off who was coming; the caller holds the lock."""
        self._coming -= 1
        if self._coming == 0 and self._gathering is not None:
            gathering, self._gathering = self._gathering, None
            gathering.release()

    def _gather(self) -> None:
        """Wait for those who are coming, but not for long."""
        with self._lock:
            if self._coming == 0:
                return
            gathering = self._gathering = threading.Lock()
            gathering.acquire()
        gathering.acquire(timeout=self._most_waited_seconds)
        with self._lock:
            self._gathering = None
