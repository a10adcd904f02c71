"""Reports of storage commitment that archives bring us on associations of their own."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from pynetdicom import evt

from oncopixel_pacs.deliver import commitment
from oncopixel_pacs.domain.proofs import CommitmentReport
from oncopixel_pacs.errors import OutOfResources

log = structlog.get_logger()

#: Keeps a report; false when its request is none of ours. Raises `OutOfResources`.
TakeReport = Callable[[CommitmentReport], bool]


class CommitmentReports:
    """Serves N-EVENT-REPORT: we asked as SCU, and the archive calls back as SCP (PS3.4 J.3.3)."""

    def __init__(self, take: TakeReport) -> None:
        self._take = take

    def on_report(self, event: evt.Event) -> tuple[int, None]:
        """Answer a report; success only once what it says is in the ledger."""
        report = commitment.read_report(event.event_information)
        caller = str(event.assoc.requestor.ae_title).strip()
        if report is None:
            return commitment.INVALID_ARGUMENT, None
        try:
            known = self._take(report)
        except OutOfResources as exc:
            log.warning("commitment.report_unwritten", calling_ae_title=caller, reason=exc.for_log)
            return commitment.PROCESSING_FAILURE, None
        log.info(
            "commitment.report" if known else "commitment.report_unknown",
            calling_ae_title=caller,
            transaction_uid=report.transaction_uid,
            committed=len(report.committed),
            failed=len(report.failed),
        )
        return commitment.SUCCESS if known else commitment.INVALID_ARGUMENT, None
