"""Hosts that share the database: who is at work, told by counting, never by comparing clocks."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from sqlmodel import col, delete, select, update

from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.tables import HostRow


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
    """

    epoch: str
    beats: int


class Hosts:
    """The hosts with role ``work``. Every method that writes is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, executor: str) -> str:
        """Begin to work under a name; whoever had it before has lost it. Returns the epoch."""
        epoch = uuid.uuid4().hex
        with self._database.write() as session:
            row = session.get(HostRow, executor, with_for_update=True)
            if row is None:
                row = HostRow(executor=executor, epoch=epoch)
                session.add(row)
            row.epoch, row.beats = epoch, 0
        return epoch

    def beat(self, executor: str, epoch: str) -> bool:
        """Say that this host is at work; false when its work was taken from it."""
        with self._database.write() as session:
            done = session.exec(
                update(HostRow)
                .where(col(HostRow.executor) == executor, col(HostRow.epoch) == epoch)
                .values(beats=col(HostRow.beats) + 1)
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
            return {row.executor: Heartbeat(row.epoch, row.beats) for row in rows}
