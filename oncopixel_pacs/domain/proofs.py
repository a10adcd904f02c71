"""Whether a destination really has what it accepted: what asking it gave."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

#: Way of asking: the archive takes over the responsibility for the object (PS3.4 Annex J).
COMMITMENT = "storage commitment"


class Verdict(StrEnum):
    """What is known of one object after its destination was asked.

    `PENDING`: it was asked and answers later. `UNKNOWN`: it gave no answer. `UNPROVABLE`: it
    offers no way to ask.
    """

    PRESENT = "present"
    ABSENT = "absent"
    PENDING = "pending"
    UNKNOWN = "unknown"
    UNPROVABLE = "unprovable"


@dataclass(frozen=True, slots=True)
class Proof:
    """What asking a destination for one object gave.

    Attributes
    ----------
    how
        Way in which it was asked, such as ``C-FIND``.
    sentence
        What was wrong; empty when it is there.
    """

    sop_instance_uid: str
    verdict: Verdict
    how: str
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """Event Information of an N-EVENT-REPORT of storage commitment (PS3.4 J.3.3.1).

    Attributes
    ----------
    failed
        Failure Reason (PS3.3 C.14.1.1) of each object that is not committed, by its UID.
    """

    transaction_uid: str
    committed: tuple[str, ...]
    failed: dict[str, int]
