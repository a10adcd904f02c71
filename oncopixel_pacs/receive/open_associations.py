"""Tells the other processes who has an association open: a study of theirs may grow."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Set
from datetime import datetime, timedelta

import structlog

from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.store.associations import AssociationLeases

log = structlog.get_logger()

#: How often the listener is looked at; a shorter association is known by its images alone.
POLL_SECONDS = 0.25
#: For how long an association counts as open without a further word from us.
LEASE_SECONDS = 15.0
#: Age at which a lease is renewed.
RENEW_SECONDS = 5.0


class AssociationWatch:
    """A thread that keeps leases for the callers who have an association open.

    Parameters
    ----------
    callers
        Calling AE titles that have an association open now.
    now
        Clock, timezone-aware UTC.
    """

    def __init__(
        self,
        leases: AssociationLeases,
        callers: Callable[[], Set[str]],
        now: Callable[[], datetime],
    ) -> None:
        self._leases = leases
        self._callers = callers
        self._now = now
        self._listener = uuid.uuid4().hex
        self._open: frozenset[str] = frozenset()
        self._renewed_at = now()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="associations", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; whoever had an association open has none any more."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._tell(frozenset())

    def _run(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            self._tell(frozenset(self._callers()))

    def _tell(self, now_open: frozenset[str]) -> None:
        now = self._now()
        closed = self._open - now_open
        age = abs((now - self._renewed_at).total_seconds())
        try:
            if closed:
                self._leases.set(self._listener, closed, now, now)
            if now_open and (now_open != self._open or age >= RENEW_SECONDS):
                until = now + timedelta(seconds=LEASE_SECONDS)
                self._leases.set(self._listener, now_open, until, now)
                self._renewed_at = now
        except OutOfResources as exc:
            # The next look tells it; until then the last lease holds, or runs out.
            log.warning("association.lease_unwritten", reason=exc.for_log)
            return
        self._open = now_open
