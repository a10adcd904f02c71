"""The log of a stage that was interrupted: Lightning begins the file anew, the run keeps it."""

from __future__ import annotations

import csv
from pathlib import Path

_LOG, _EARLIER = "metrics.csv", "earlier.csv"


def set_log_aside(folder: Path) -> None:
    """Put away what a stage logged so far, before it is taken up again.

    Parameters
    ----------
    folder
        ``logs`` of the stage; it may be missing.
    """
    if (folder / _LOG).is_file():
        _write(folder / _EARLIER, _joined(folder))
        (folder / _LOG).unlink()


def join_log(folder: Path) -> None:
    """Leave one ``metrics.csv`` of the whole stage; steps that were repeated stand there once."""
    if (folder / _EARLIER).is_file():
        _write(folder / _LOG, _joined(folder))
        (folder / _EARLIER).unlink()


def _joined(folder: Path) -> list[dict[str, str]]:
    later = _rows(folder / _LOG)
    first = min((int(row["step"]) for row in later), default=None)
    earlier = [row for row in _rows(folder / _EARLIER) if first is None or int(row["step"]) < first]
    return [*earlier, *later]


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    partial = path.with_suffix(".part")
    with partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, sorted({name for row in rows for name in row}))
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(path)
