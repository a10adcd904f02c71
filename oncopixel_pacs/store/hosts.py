"""Hosts that share the database: who is at work, told by counting, never by comparing clocks."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlmodel import col, delete, select, update

from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.host_tables import HostRow


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a host last said.

    Attributes
    ----------
    epoch
        Drawn anew whenever a process begins to work under this name; empty once its work was
        taken from it.
    beats
        How often it was heard since.
    trouble
        What a person must see to there; empty while all is well.
    """

    epoch: str
    beats: int
    trouble: str = ""


class Hosts:
    """The hosts with role ``work``. Every method that writes is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, executor: str, place: str = "") -> str:
        """Begin to work under a name; whoever had it before has lost it. Returns the epoch.

        Parameters
        ----------
        place
            What the epoch begins with: where this process is, for those who come after it.
        """
        epoch = f"{place}{uuid.uuid4().hex}"
        with self._database.write() as session:
            row = session.get(HostRow, executor, with_for_update=True)
            if row is None:
                row = HostRow(executor=executor, epoch=epoch)
                session.add(row)
            row.epoch, row.beats, row.trouble = epoch, 0, ""
        return epoch

    def beat(self, executor: str, epoch: str, trouble: str = "") -> bool:
        """Say that this host is at work; false when its work was taken from it.

        Parameters
        ----------
        trouble
            What a person must see to here; empty while all is well.
        """
        with self._database.write() as session:
            done = session.exec(
                update(HostRow)
                .where(col(HostRow.executor) == executor, col(HostRow.epoch) == epoch)
                .values(beats=col(HostRow.beats) + 1, trouble=trouble)
            )
            return bool(done.rowcount)

    def take_from(self, executor: str, last: Heartbeat) -> bool:
        """Take the work from a host, unless it was heard again since `last`."""
        with self._database.write() as session:
            done = session.exec(
                update(HostRow)
                .where(
                    col(HostRow.executor) == executor,
                    col(HostRow.epoch) == last.epoch,
                    col(HostRow.beats) == last.beats,
                )
                .values(epoch="")
            )
            return bool(done.rowcount)

    def leave(self, executor: str, epoch: str) -> None:
        """Stop working under a name."""
        with self._database.write() as session:
            session.exec(
                delete(HostRow).where(
                    col(HostRow.executor) == executor, col(HostRow.epoch) == epoch
                )
            )

    def heard(self) -> Mapping[str, Heartbeat]:
        """Tell what every host last said, by its name."""
        with self._database.read() as session:
            rows = session.exec(select(HostRow)).all()
            return {row.executor: Heartbeat(row.epoch, row.beats, row.trouble) for row in rows}


@dataclass(frozen=True)
class HostWatch:
    """Says what is wrong with the hosts that work, from a process that may not be one of them.

    `monotonic` is this process's own clock in seconds; see `workflow.takeover.Reaper`.
    """

    hosts: Hosts
    takeover_seconds: float
    monotonic: Callable[[], float] = time.monotonic
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)

    def alarm(self) -> str:
        """Say what a person must see to; empty while all is well."""
        heard = self.hosts.heard()
        alive = [name for name in sorted(heard) if self._is_alive(name, heard[name])]
        if not alive:
            return (
                "No process with the role work is heard of, so studies wait: none runs, or it "
                "cannot write to the database. Start one, or see its log."
            )
        return " ".join(
            f"Host {name}: {heard[name].trouble}" for name in alive if heard[name].trouble
        )

    def _is_alive(self, name: str, last: Heartbeat) -> bool:
        moment = self.monotonic()
        beats, since = self._seen.get(name, (-1, moment))
        if last.beats != beats:
            self._seen[name] = (last.beats, moment)
            return bool(last.epoch)
        return bool(last.epoch) and moment - since < self.takeover_seconds
