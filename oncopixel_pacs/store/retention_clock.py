"""Whether retention may believe the clock: one that is months ahead would make everything old."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlmodel import select

from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.installation import InstallationRow

#: So long may a server be off, as over a weekend, before somebody must say that its clock is right.
_LONGEST_REST = timedelta(days=3)


class RetentionClock:
    """Compares the clock with the one that retention went by the last time.

    Parameters
    ----------
    host
        Name of the host whose clock it is.
    """

    def __init__(self, database: Database, host: str) -> None:
        self._database = database
        self._host = host

    def require(self, now: datetime) -> None:
        """Note the time, unless it leapt ahead.

        A clock that is set back moves nothing: when it is right again, it did not leap.

        Raises
        ------
        ConfigurationError
            When more time went by than a server is off; that stays an alarm until the clock of
            this host is right again, or somebody confirms it.
        OutOfResources
            When the database is gone.
        """
        with self._database.write() as session:
            row = session.exec(select(InstallationRow).with_for_update()).one()
            if said := self._leap(row.retention_at, now):
                row.retention_leap, row.retention_leap_on = said, self._host
            else:
                row.retention_at = max(row.retention_at or now, now)
                if row.retention_leap_on == self._host:
                    row.retention_leap = row.retention_leap_on = None
        if said:
            raise ConfigurationError(said)

    def confirm(self, now: datetime) -> None:
        """Take a person's word that the clock is right.

        Raises
        ------
        OutOfResources
            When the database is gone.
        """
        with self._database.write() as session:
            row = session.exec(select(InstallationRow).with_for_update()).one()
            row.retention_at, row.retention_leap, row.retention_leap_on = now, None, None

    def leap(self, now: datetime) -> str:
        """Say what `require` would refuse; empty when nothing."""
        with self._database.read() as session:
            return self._leap(session.exec(select(InstallationRow.retention_at)).one(), now)

    def alarm(self) -> str:
        """Say that retention stands still, on whichever host; empty while it does not."""
        with self._database.read() as session:
            return session.exec(select(InstallationRow.retention_leap)).one() or ""

    def _leap(self, last: datetime | None, now: datetime) -> str:
        if last is None or now - last <= _LONGEST_REST:
            return ""
        return (
            f"Retention deletes nothing: the clock of host {self._host} says "
            f"{now:%Y-%m-%d %H:%M} UTC, {(now - last).days} days after it last looked. Set a wrong "
            "clock right; where it is right, run oncopixel retention apply --clock-is-right."
        )
