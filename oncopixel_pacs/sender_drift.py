"""What each sender's studies looked like at first and look like now, compared now and then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter

from oncopixel_pacs.drift import REFERENCE, WINDOW, Drift, Verdict, mix_drift, score_drift
from oncopixel_pacs.store.history import History, ReadStudy

#: Stands for the studies of all senders together.
EVERYONE = "*"
#: A comparison holds for so long: hundreds of studies do not change within minutes.
HOLDS = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class SenderDrift:
    """The studies of one sender, the oldest first, and whether they changed.

    Attributes
    ----------
    sender
        AE title; empty for uploads; `EVERYONE` for all together.
    """

    sender: str
    studies: tuple[ReadStudy, ...]
    scores: Drift
    views: Drift

    @property
    def sentences(self) -> tuple[str, ...]:
        """Say what has drifted; empty while nothing has."""
        whose = f"sender {self.sender}" if self.sender else "uploads"
        whose = "all senders together" if self.sender == EVERYONE else whose
        return tuple(
            f"{what} of {whose} have drifted: the latest {found.window} studies differ from the "
            f"first {found.reference} (PSI {found.psi:.2f}). Look at the models page."
            for what, found in (("Scores", self.scores), ("Views", self.views))
            if found.verdict is Verdict.DRIFT
        )


def compare(studies: Sequence[ReadStudy]) -> tuple[SenderDrift, ...]:
    """Compare the latest studies with the first ones, of all together and of each sender.

    Parameters
    ----------
    studies
        The oldest first.
    """
    if not studies:
        return ()
    by_sender = sorted(studies, key=attrgetter("sender"))  # stable: each stays in its order
    groups = [(name, tuple(items)) for name, items in groupby(by_sender, attrgetter("sender"))]
    return tuple(
        SenderDrift(
            name,
            tuple(items),
            score_drift([item.probability for item in items]),
            mix_drift([item.views for item in items]),
        )
        for name, items in [(EVERYONE, tuple(studies)), *groups]
    )


class DriftWatch:
    """Compares when it is asked, and again when the last comparison is old.

    Parameters
    ----------
    now
        Clock, timezone-aware UTC.
    """

    def __init__(self, history: History, now: Callable[[], datetime]) -> None:
        self._history = history
        self._now = now
        self._lock = threading.Lock()
        self._found: tuple[SenderDrift, ...] = ()
        self._until: datetime | None = None

    def compared_now(self) -> tuple[SenderDrift, ...]:
        """Compare now, for whoever looks at it."""
        return compare(self._history.studies(REFERENCE + WINDOW))

    def senders(self) -> tuple[SenderDrift, ...]:
        """Tell what the last comparison found, at most `HOLDS` ago; everyone first."""
        with self._lock:
            now = self._now()
            if self._until is None or not self._until - HOLDS <= now < self._until:
                self._found = self.compared_now()
                self._until = now + HOLDS
            return self._found
