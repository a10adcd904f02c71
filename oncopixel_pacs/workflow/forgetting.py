"""Forgets what the engine remembers of work that is over, so that its tables stay small.

The ledger keeps what became of every study. The engine's rows serve to go on with work in flight;
it never deletes them, and its looks at all jobs take as long as it has rows.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from oncopixel_pacs.store.ledger import Ledger
from oncopixel_pacs.workflow.engine import WorkQueue
from oncopixel_pacs.workflow.repeated import Repeated

#: Longer than anything that is queued twice is apart.
KEPT_FOR = timedelta(days=1)
_EVERY_SECONDS = 60.0
#: Workflows in one transaction, and transactions in a minute: nobody who receives waits for it,
#: also where years are to be forgotten after an upgrade.
_AT_A_TIME, _TIMES = 200, 20


def forget_ended(
    ledger: Ledger,
    queue: WorkQueue,
    now: datetime,
    stopping: Callable[[], bool] = lambda: False,
) -> int:
    """Delete some workflows that ended well a day ago, but none of unfinished jobs.

    Returns
    -------
    int
        How many were deleted.

    Raises
    ------
    OutOfResources
        When the database is away.
    """
    unfinished = {job_id for job_id, _ in ledger.unfinished()}
    kept = deleted = 0
    for _ in range(_TIMES):
        if stopping():
            break
        ended = queue.ended_well(now - KEPT_FOR, kept, _AT_A_TIME)
        over = [key for key in ended if key.partition("-")[0] not in unfinished]
        if over:
            queue.delete(over)
        deleted += len(over)
        kept += len(ended) - len(over)
        if len(ended) < _AT_A_TIME:
            break
    return deleted


def forgetter(ledger: Ledger, queue: WorkQueue, now: Callable[[], datetime]) -> Repeated:
    """Make the thread that forgets."""
    return Repeated(
        "forgetting", lambda stopping: forget_ended(ledger, queue, now(), stopping), _EVERY_SECONDS
    )
