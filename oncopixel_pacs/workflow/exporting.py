"""Sends reports that are no DICOM objects when a study is done, by the queue of the webhooks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from oncopixel_pacs.domain import Job, JobState, Study
from oncopixel_pacs.domain.webhooks import WebhookCall
from oncopixel_pacs.report.fhir_report import content_of, fhir_transaction, fhir_withdrawal
from oncopixel_pacs.settings import ExportSettings
from oncopixel_pacs.store.webhooks import Webhooks


@dataclass(frozen=True)
class FhirWriter:
    """Writes what one export sends of a job.

    Attributes
    ----------
    study
        Looks up a study; raises `NotFound` when it was deleted.
    jobs
        Looks up the jobs of a study.
    calls
        Remember what was told of each.
    """

    export: ExportSettings
    study: Callable[[str], Study]
    jobs: Callable[[str], Iterable[Job]]
    calls: Webhooks

    def __call__(self, job: Job, call: WebhookCall) -> bytes | None:
        """Write the transaction; ``None`` of a job of which nothing is to be told.

        That is one that told nothing before and has no result, or whose result a later job has
        replaced, however late the attempt or its retry.
        """
        every = list(self.jobs(job.study_instance_uid))
        if any(_has_result(item) and item.created_at > job.created_at for item in every):
            return None
        told = self.calls.told(self.export.name, [item.id for item in every], call.id)
        own = told.get(job.id)
        # Whatever became of a job since: what was told of it stands there.
        earlier = [
            (item, max(told[item.id].statements if item.id in told else 0, _statements(item)))
            for item in every
            if item.created_at < job.created_at and (_has_result(item) or item.id in told)
        ]
        if _has_result(job):
            study = self.study(job.study_instance_uid)
            statements, said = content_of(job)
            # Before it is sent: whether it arrives may never be known.
            self.calls.keep_content(call.id, said, statements)
            before = own.statements if own is not None and own.contents != {said} else None
            message = fhir_transaction(job, study, self.export.patient_system, earlier, before)
        elif job.state is JobState.NOT_ANALYSED and (earlier or own is not None):
            mine = [] if own is None else [(job, own.statements)]
            message = fhir_withdrawal([*mine, *earlier])
        else:
            return None
        return json.dumps(message).encode()


def _has_result(job: Job) -> bool:
    return job.state is JobState.DONE and job.result is not None


def _statements(job: Job) -> int:
    return 0 if job.result is None else content_of(job)[0]
