"""Other content under a SOP Instance UID that is held. Speak of it as part of the domain."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Conflict:
    """Content that came under a UID whose content is another.

    Attributes
    ----------
    path, digest
        Of what came later.
    held_path
        Of what is held and analysed.
    """

    id: int
    sop_instance_uid: str
    study_instance_uid: str
    path: str
    digest: str
    held_path: str
    received_at: datetime
    calling_ae_title: str


@dataclass(frozen=True, slots=True)
class Difference:
    """An attribute that two contents do not share, its values as text.

    Attributes
    ----------
    name
        Keyword, or the tag of a private attribute.
    held, other
        ``None`` where the attribute is missing.
    """

    name: str
    held: str | None
    other: str | None


@dataclass(frozen=True, slots=True)
class ShownConflict:
    """A conflict with what tells the two contents apart."""

    conflict: Conflict
    differences: tuple[Difference, ...]
