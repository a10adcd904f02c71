"""What a worklist asked of us, and how far it has come. Speak of it as part of the domain."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class WorkitemState(StrEnum):
    """Where a workitem stands with us.

    `CLAIMING` has its Transaction UID, and may or may not be ours at the worklist; `CLAIMED` is.
    `LEFT` is somebody else's; `STUCK` is ours and cannot be ended there.
    """

    CLAIMING = "claiming"
    CLAIMED = "claimed"
    COMPLETED = "completed"
    CANCELED = "canceled"
    LEFT = "left"
    STUCK = "stuck"

    @property
    def final(self) -> bool:
        """Whether nothing more happens."""
        return self not in (WorkitemState.CLAIMING, WorkitemState.CLAIMED)


@dataclass(frozen=True, slots=True)
class Workitem:
    """One Unified Procedure Step (PS3.3 B.26) of one worklist that we claim.

    Attributes
    ----------
    workitem_uid
        SOP Instance UID of the procedure step.
    transaction_uid
        Ours, and the proof at the worklist that it is (PS3.4 CC.1.1); told to nobody else.
    study_instance_uid
        Of its input.
    pull_id
        The pull that was asked for; empty while there is none.
    attempts
        How often it was taken up since anything came of it.
    error
        One sentence; empty while nothing went wrong.
    """

    id: str
    worklist: str
    workitem_uid: str
    transaction_uid: str
    study_instance_uid: str
    state: WorkitemState
    created_at: datetime
    claimed_at: datetime | None = None
    pull_id: str = ""
    attempts: int = 0
    error: str = ""
    next_attempt_at: datetime | None = None
    ended_at: datetime | None = None
