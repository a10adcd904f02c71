"""Sends reports that are no DICOM objects when a study is done, by the queue of the webhooks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from oncopixel_pacs.domain import Job, JobState, Study
from oncopixel_pacs.report.fhir_report import fhir_transaction
from oncopixel_pacs.settings import ExportSettings
from oncopixel_pacs.webhooks import WebhookCall


@dataclass(frozen=True)
class FhirWriter:
    """Writes what one export sends of a job.

    Attributes
    ----------
    study
        Looks up a study; raises `NotFound` when it was deleted.
    """

    export: ExportSettings
    study: Callable[[str], Study]

    def __call__(self, job: Job, _call: WebhookCall) -> bytes | None:
        """Write the transaction; ``None`` of a job without a result, of which nothing is sent."""
        if job.state is not JobState.DONE or job.result is None:
            return None
        study = self.study(job.study_instance_uid)
        return json.dumps(fhir_transaction(job, study, self.export.patient_system)).encode()
