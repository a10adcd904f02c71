"""Everyone who is told that a study is finished, each by a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from oncopixel_pacs.deliver.fhir import post_transaction
from oncopixel_pacs.domain import Job
from oncopixel_pacs.settings import Settings
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.ledger import Ledger
from oncopixel_pacs.store.webhooks import Webhooks
from oncopixel_pacs.workflow.exporting import FhirWriter
from oncopixel_pacs.workflow.notifying import Notifier, notifying
from oncopixel_pacs.workflow.repeated import Repeated

#: Of a study; the newest.
_MOST_JOBS = 200


def tellers(
    settings: Settings,
    database: Database,
    ledger: Ledger,
    catalogue: Catalogue,
    now: Callable[[], datetime],
) -> Iterator[Repeated]:
    """Make the threads: one that gives no answer keeps no other from hearing."""
    calls = Webhooks(database)

    def jobs(study_instance_uid: str) -> tuple[Job, ...]:
        return ledger.jobs(study_instance_uid=study_instance_uid, limit=_MOST_JOBS).items

    for webhook in settings.webhooks:
        yield notifying(Notifier(calls, ledger, [webhook], now))
    for export in settings.exports:
        write = FhirWriter(export, catalogue.study, jobs, calls)
        yield notifying(Notifier(calls, ledger, [export], now, post_transaction, write))
