"""Sends reports that are no DICOM objects when a study is done, by the queue of the webhooks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from oncopixel_pacs.domain import Job, JobState, Study
from oncopixel_pacs.domain.webhooks import WebhookCall
from oncopixel_pacs.report.fhir_report import fhir_transaction, fhir_withdrawal
from oncopixel_pacs.settings import ExportSettings


@dataclass(frozen=True)
class FhirWriter:
    """Writes what one export sends of a job.

    Attributes
    ----------
    study
        Looks up a study; raises `NotFound` when it was deleted.
    jobs
        Looks up the jobs of a study.
    """

    export: ExportSettings
    study: Callable[[str], Study]
    jobs: Callable[[str], Iterable[Job]]

    def __call__(self, job: Job, _call: WebhookCall) -> bytes | None:
        """Write the transaction; ``None`` of a job of which nothing is to be told.

        That is one that told nothing before and has no result, or whose result a later job has
        replaced, however late the attempt or its retry.
        """
        others = [item for item in self.jobs(job.study_instance_uid) if _has_result(item)]
        if any(item.created_at > job.created_at for item in others):
            return None
        earlier = [item for item in others if item.created_at < job.created_at]
        if _has_result(job):
            study = self.study(job.study_instance_uid)
            told = fhir_transaction(job, study, self.export.patient_system, earlier)
        elif job.state is JobState.NOT_ANALYSED and earlier:
            told = fhir_withdrawal(earlier)
        else:
            return None
        return json.dumps(told).encode()


def _has_result(job: Job) -> bool:
    return job.state is JobState.DONE and job.result is not None
