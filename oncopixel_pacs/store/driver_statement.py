"""A statement handed to the driver as text: for the few that run with every image.

SQLAlchemy finds out for each execution what a statement is, and what its values become; that
takes longer than the statement itself. Here both are found out once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Dialect, Insert, Update
from sqlalchemy.types import NullType


class DriverStatement:
    """An INSERT or UPDATE, compiled for one kind of database.

    Parameters
    ----------
    statement
        Every value is a bound parameter; those without a name keep the value they have.
    as_text
        Parameters that come as the text that the database keeps: JSON that is written already.
    """

    def __init__(
        self, statement: Insert | Update, dialect: Dialect, as_text: Collection[str] = ()
    ) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        self._text = str(compiled)
        self._positions: list[str] | None = compiled.positiontup
        self._given: dict[str, Any] = dict(compiled.params)
        self._processors: list[tuple[str, Callable[[Any], Any]]] = []
        for name, parameter in compiled.binds.items():
            if isinstance(parameter.type, NullType):
                raise ValueError(f"Parameter {name} has no type: nobody would convert its value.")
            process = parameter.type.dialect_impl(dialect).bind_processor(dialect)
            if process is not None and name not in as_text:
                self._processors.append((name, process))

    def execute(self, cursor: Any, rows: Sequence[Mapping[str, Any]]) -> int:
        """Run it on a driver's cursor for each row of parameters.

        Returns
        -------
        int
            Number of rows that were changed.
        """
        if len(rows) == 1:
            cursor.execute(self._text, self._parameters(rows[0]))
        else:
            cursor.executemany(self._text, [self._parameters(row) for row in rows])
        changed: int = cursor.rowcount
        return changed

    def _parameters(self, row: Mapping[str, Any]) -> Any:
        values = {**self._given, **row}
        for name, process in self._processors:
            values[name] = process(values[name])
        if self._positions is None:
            return values
        return tuple([values[name] for name in self._positions])
