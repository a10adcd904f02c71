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
_EVERY_SECONDS = 3600.0
#: Workflows in one transaction: nobody who receives waits for it.
_AT_A_TIME = 200


def forget_ended(
    ledger: Ledger,
    queue: WorkQueue,
    now: datetime,
    stopping: Callable[[], bool] = lambda: False,
) -> int:
    """Delete workflows that ended well a day ago, but for those of unfinished jobs.

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
    while not stopping():
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
