"""What goes out, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class OutgoingObject:
    """One stored object: its identity and its Part 10 file."""

    sop_instance_uid: str
    sop_class_uid: str
    path: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a destination said about one object.

    Attributes
    ----------
    accepted
        The destination says that it has the object. Nothing else counts as accepted.
    status
        Its answer in its own terms, such as ``0x0000`` or ``HTTP 200``; empty without one.
    error
        One sentence; also a warning that came with acceptance. Empty when all is well.
    permanent
        Sending the same bytes again is no use.
    path
        The file, where the caller named files.
    """

    sop_instance_uid: str
    accepted: bool
    status: str
    error: str
    permanent: bool
    path: Path | None = None
