"""How often one may try to sign in."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

_LONGEST = timedelta(minutes=15)
_FIRST = timedelta(seconds=15)
#: So many failures are free: of one user from one address, of an address, of a user.
FREE_FAILURES = (5, 20, 50)
_MOST_KEYS = 20_000


@dataclass(frozen=True, slots=True)
class _Failures:
    count: int
    until: datetime


class LoginLimits:
    """Counts failures and says how long to wait; each further failure doubles the wait.

    Counted are a user name from an address, an address, and a user name. The first is strict;
    the others are lenient, so that a stranger cannot keep a user out, nor one user of a proxy
    all others. It is kept in memory: a restart forgets, which an attacker cannot bring about.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._failures: OrderedDict[tuple[str, str], _Failures] = OrderedDict()
        self._lock = threading.Lock()

    def wait_seconds(self, user: str, address: str) -> int:
        """Seconds until the next try is heard; 0 for at once."""
        now = self._now()
        with self._lock:
            found = [self._failures.get(key) for key in _keys(user, address)]
        waits = [(item.until - now).total_seconds() for item in found if item is not None]
        return max(0, *(int(wait) + 1 for wait in waits if wait > 0), 0)

    def failed(self, user: str, address: str) -> None:
        """Count a failure."""
        now = self._now()
        with self._lock:
            for key, free in zip(_keys(user, address), FREE_FAILURES, strict=True):
                before = self._failures.pop(key, _Failures(0, now))
                # Who was quiet for long enough begins anew.
                count = 1 if now - before.until > _LONGEST else before.count + 1
                wait = min(_FIRST * 2 ** min(count - free, 20), _LONGEST)
                until = now + wait if count >= free else now
                self._failures[key] = _Failures(count, until)
            while len(self._failures) > _MOST_KEYS:
                self._failures.popitem(last=False)

    def succeeded(self, user: str, address: str) -> None:
        """Forget the failures of this user from this address."""
        with self._lock:
            self._failures.pop(_keys(user, address)[0], None)


def _keys(user: str, address: str) -> tuple[tuple[str, str], ...]:
    name = user.casefold()[:64]
    return (name, address), ("", address), (name, "")
