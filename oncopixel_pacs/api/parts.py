"""What the HTTP side is given by the composition root."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi import Path as InPath

from oncopixel_pacs.domain import Algorithm, ImageResult, Job
from oncopixel_pacs.domain.conflicts import ShownConflict
from oncopixel_pacs.domain.model_choice import Candidate
from oncopixel_pacs.domain.uploads import Upload, UploadedFile
from oncopixel_pacs.imaging.frames import FrameDecoder
from oncopixel_pacs.sender_drift import DriftWatch
from oncopixel_pacs.settings import DestinationSettings, Settings
from oncopixel_pacs.store.accounts import Accounts
from oncopixel_pacs.store.activity import Activity
from oncopixel_pacs.store.api_tokens import ApiTokens
from oncopixel_pacs.store.audit_trail import AuditTrail
from oncopixel_pacs.store.briefs import Briefs
from oncopixel_pacs.store.callers import Callers
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.changes import Changes
from oncopixel_pacs.store.conflicts import Conflicts
from oncopixel_pacs.store.feedback import ReaderFeedback
from oncopixel_pacs.store.files import FileStore
from oncopixel_pacs.store.free_space import FreeSpace
from oncopixel_pacs.store.idempotency import IdempotencyKeys
from oncopixel_pacs.store.installation import Backups
from oncopixel_pacs.store.ledger import Ledger
from oncopixel_pacs.store.outbox import Outbox
from oncopixel_pacs.store.peers import AllowedPeers
from oncopixel_pacs.store.proofs import Proofs
from oncopixel_pacs.store.pulls import Pulls
from oncopixel_pacs.store.quarantine import Quarantine
from oncopixel_pacs.store.retention_clock import RetentionClock
from oncopixel_pacs.store.search import Search
from oncopixel_pacs.store.shadows import Shadows
from oncopixel_pacs.store.uploads import Uploads
from oncopixel_pacs.store.webhooks import Webhooks
from oncopixel_pacs.store.workitems import Workitems


@dataclass(frozen=True, slots=True)
class ApiParts:
    """Everything that the routes read from, and what they can have done.

    Attributes
    ----------
    briefs
        Lists of studies and jobs.
    free_space
        Room for new images; below its watermark an alarm stands on every page.
    retention_clock
        Whether retention believes the clock; an alarm stands on every page while it does not.
    backups
        When the last one was made; an alarm stands when no further ones come.
    quarantine
        Results that are held back; while there are any, an alarm stands on every page.
    proofs
        What is accepted and not found; while there is any, an alarm stands on every page.
    conflicts
        What came again with other content; while there is any, an alarm stands on every page.
    workitems
        What worklists asked of us; an alarm stands while one cannot be ended there.
    decoder
        Where compressed frames are decoded for DICOMweb.
    candidates
        What decides which images each configured model reads.
    models_ready
        Whether the models are loaded; ``None`` when another process runs them.
    models_alarm
        What is wrong with the hosts that run them; empty while all is well.
    retry
        Queues a job again; raises `OncoPixelError` when it cannot.
    cancel
        Gives a job up that failed; raises `OncoPixelError` when it did not.
    read_again
        Queues a job that has ended for the models to read its images anew.
    send_again
        Queues a job that has ended for its results to be sent again, accepted ones too.
    conflicts_of
        Lists what came under the UIDs of a study with other content, so many at most.
    take_conflicts, dismiss_conflicts
        Put those, by their ids or all, in place of what is held, or remove them; tell how many.
    changes
        What to ask for what happened since.
    echo
        Asks a destination whether it is there, and says what it answered.
    test_send
        Sends a destination a picture of no patient, and says what became of it.
    viewer
        Folder of an installed OHIF; ``None`` when there is none.
    take_upload
        Takes files in; is given them, the digest of an idempotency key, and whether nothing more
        will come.
    exposition
        What Prometheus reads, in its text format.
    render_overlay
        PNG of one image of a job with its findings outlined.
    """

    accounts: Accounts
    audit: AuditTrail
    tokens: ApiTokens
    activity: Activity
    briefs: Briefs
    catalogue: Catalogue
    changes: Changes
    callers: Callers
    allowed_peers: AllowedPeers
    feedback: ReaderFeedback
    free_space: FreeSpace
    drift: DriftWatch
    idempotency: IdempotencyKeys
    uploads: Uploads
    webhooks: Webhooks
    ledger: Ledger
    outbox: Outbox
    pulls: Pulls
    files: FileStore
    search: Search
    shadows: Shadows
    decoder: FrameDecoder
    settings: Settings
    quarantine: Quarantine
    backups: Backups
    retention_clock: RetentionClock
    workitems: Workitems
    proofs: Proofs
    conflicts: Conflicts
    algorithms: tuple[Algorithm, ...]
    models_ready: Callable[[], bool | None]
    models_alarm: Callable[[], str]
    retry: Callable[[str], Job]
    cancel: Callable[[str], Job]
    read_again: Callable[[str], Job]
    send_again: Callable[[str], Job]
    conflicts_of: Callable[[str, int], tuple[ShownConflict, ...]]
    take_conflicts: Callable[[str, Sequence[int]], int]
    dismiss_conflicts: Callable[[str, Sequence[int]], int]
    take_upload: Callable[[Sequence[UploadedFile], str, bool], Upload]
    render_overlay: Callable[[Job, ImageResult], bytes]
    echo: Callable[[DestinationSettings], str]
    test_send: Callable[[DestinationSettings], str]
    viewer: Path | None
    started_at: datetime
    version: str
    now: Callable[[], datetime]
    exposition: Callable[[], bytes]
    candidates: tuple[Candidate, ...] = ()


def parts_of(request: Request) -> ApiParts:
    """Return the parts that the application was made of."""
    return cast(ApiParts, request.app.state.parts)


#: Number of a row: what no database takes is not asked for.
RowId = Annotated[int, InPath(ge=1, le=2_147_483_647)]
Parts = Annotated[ApiParts, Depends(parts_of)]
#: A UID or job id in a path: printable, without blanks, and no longer than a UID may be.
Key = Annotated[str, InPath(pattern=r"^[!-~]{1,64}$")]
