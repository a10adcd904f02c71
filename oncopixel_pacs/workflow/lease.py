"""The lease of a host on its work: without it, nothing is written and nothing is sent.

A host that was paused, or that the database cannot hear, is taken for dead by the others. When
it wakes it must not go on where it was: its work is done elsewhere. So every step asks for the
lease before each thing that others see. The lease runs out well before the others take over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from oncopixel_pacs.errors import ConfigurationError, OutOfResources
from oncopixel_pacs.store.hosts import Hosts
from oncopixel_pacs.workflow.steps import Interrupted

log = structlog.get_logger()

#: Of the time after which a host is taken for dead.
_LEASE_PART = 0.6
_BEAT_PART = 0.15
#: Long enough to hear whoever else works under the same name.
_LISTEN_PART = 0.4


class Ticket(Protocol):
    """The right to go on with one step."""

    def require(self) -> None:
        """Return at once or later while the right holds.

        Raises
        ------
        Interrupted
            When the work was taken from this host, or the server stops.
        """


class Leases(Protocol):
    """Who gives tickets."""

    def ticket(self) -> Ticket:
        """Give the right to begin a step; raises like `Ticket.require`."""


def boot_seconds() -> float:
    """Clock that nobody can set and that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class _Held:
    lease: HostLease
    epoch: str

    def require(self) -> None:
        self.lease.wait_for(self.epoch)


class HostLease:
    """Keeps a host's lease from a thread of its own until it is stopped.

    Parameters
    ----------
    takeover_seconds
        After so long without a beat others take over.
    reclaim
        Queues again what the engine still has under this host's name.
    clock
        In seconds.
    trouble
        What a person must see to on this host, told with every beat; empty while all is well.
    place
        Where nobody but this process works under the name, such as a data directory that it has
        locked: who had the name there before is dead. Elsewhere it may live.
    yields
        Called when another process took the name, and lives: this one is to end, for both would
        take each other's work away without end.
    """

    def __init__(
        self,
        hosts: Hosts,
        executor: str,
        takeover_seconds: float,
        reclaim: Callable[[], object],
        clock: Callable[[], float] = boot_seconds,
        trouble: Callable[[], str] = str,
        place: str = "",
        yields: Callable[[], object] | None = None,
    ) -> None:
        self._hosts = hosts
        self._executor = executor
        self._valid_for = takeover_seconds * _LEASE_PART
        self._beat_every = takeover_seconds * _BEAT_PART
        self._reclaim = reclaim
        self._clock = clock
        self._trouble = trouble
        self._place = place
        self._yields = yields
        self._changed = threading.Condition()
        self._epoch = ""
        self._until = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        """Take the name and keep it; the engine itself takes up what was left under it.

        Raises
        ------
        ConfigurationError
            When another process works under it.
        """
        self._require_silence()
        self._register()
        self._thread.start()

    def interrupt(self) -> None:
        """End every wait for the lease: the server stops."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    def stop(self) -> None:
        """Give the name back, so that others go on at once."""
        self.interrupt()
        if self._thread.ident is not None:
            self._thread.join()
        try:
            self._hosts.leave(self._executor, self._epoch)
        except OutOfResources as exc:
            log.warning("host.not_signed_off", error=exc.for_log)

    def ticket(self) -> Ticket:
        """Give the right to begin a step."""
        with self._changed:
            ticket = _Held(self, self._epoch)
        ticket.require()
        return ticket

    def wait_for(self, epoch: str) -> None:
        """Wait until the lease of an epoch holds; raises `Interrupted` when it never will."""
        with self._changed:
            while epoch == self._epoch and not self._stop.is_set():
                if self._clock() < self._until:
                    return
                self._changed.wait(self._beat_every)
        raise Interrupted

    def _run(self) -> None:
        while not self._stop.wait(self._beat_every):
            try:
                self._beat()
            except OutOfResources as exc:
                # Steps wait; when nobody took over in between they go on.
                log.warning("host.unheard", error=exc.for_log)
            except Exception:
                log.exception("host.defect")

    def _beat(self) -> None:
        # From before it was sent: when it is written, nobody can have counted from later.
        asked = self._clock()
        if self._hosts.beat(self._executor, self._epoch, self._trouble()):
            with self._changed:
                self._until = asked + self._valid_for
                self._changed.notify_all()
            return
        if self._yields is not None and self._other_epoch():
            log.error("host.name_taken", executor=self._executor)
            self.interrupt()
            self._yields()
            return
        log.warning("host.taken_over", executor=self._executor)
        self._take()

    def _other_epoch(self) -> str:
        """Epoch of whoever has the name; empty when its work was taken, which is no process."""
        last = self._hosts.heard().get(self._executor)
        return "" if last is None else last.epoch

    def _require_silence(self) -> None:
        """Listen for a process elsewhere that has the name and is heard."""
        last = self._hosts.heard().get(self._executor)
        if last is None or not last.epoch or last.epoch.startswith(self._place):
            return
        until = self._clock() + self._valid_for / _LEASE_PART * _LISTEN_PART
        while self._clock() < until and not self._stop.wait(self._beat_every / 8):
            now = self._hosts.heard().get(self._executor)
            if now is None or not now.epoch:
                return
            if (now.epoch, now.beats) != (last.epoch, last.beats):
                raise ConfigurationError(
                    f'Another process works under the name "{self._executor}" with this database; '
                    "stop it, or give each host an executor of its own."
                )

    def _take(self) -> None:
        with self._changed:
            # From here on every step of before is out of date.
            self._epoch = ""
            self._changed.notify_all()
        # What others have not taken yet is queued again before we count as alive.
        self._reclaim()
        self._register()

    def _register(self) -> None:
        asked = self._clock()
        epoch = self._hosts.register(self._executor, self._place)
        with self._changed:
            self._epoch, self._until = epoch, asked + self._valid_for
            self._changed.notify_all()
