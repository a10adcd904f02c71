"""What a person can have done to a job, from a page, the API or the shell."""

from __future__ import annotations

from collections.abc import Collection

from oncopixel_pacs.domain import Job, JobState
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.store.ledger import Ledger
from oncopixel_pacs.workflow.engine import WorkQueue

#: States in which a job has ended; the first three ended without success.
_ENDED = (JobState.FAILED, JobState.NOT_ANALYSED, JobState.CANCELLED, JobState.DONE)


def retry_job(
    ledger: Ledger,
    queue: WorkQueue,
    job_id: str,
    *,
    anew: bool = False,
    resend: Collection[str] | None = None,
) -> Job:
    """Queue a job again that ended without success, or any that ended, to read or send it anew.

    Parameters
    ----------
    resend
        Destinations to which what they accepted is sent again.

    Raises
    ------
    NotFound
        When there is no such job.
    ConfigurationError
        When the job is still running, or succeeded and nothing shall be done anew; or when
        results of a later revision took the place of its own, which would come after them.
    """
    newer = ledger.replaced_by(job_id)
    if newer:
        raise ConfigurationError(
            f"Results of a later revision of the study took the place of those of job {job_id}, "
            f"which are not sent any more; see job {newer}."
        )
    return ledger.restart(
        job_id,
        lambda session, job, run: queue.enqueue_study(session, job.id, run),
        _ENDED if anew or resend is not None else _ENDED[:3],
        anew=anew,
        resend=resend or (),
    )
