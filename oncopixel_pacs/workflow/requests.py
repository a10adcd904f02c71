"""What the models are asked about a job."""

from __future__ import annotations

from pathlib import Path

from oncopixel_pacs.domain import Job
from oncopixel_pacs.domain.rules import Origin
from oncopixel_pacs.infer.reading import AnalysisRequest, RequestedImage
from oncopixel_pacs.route import why_not_in_study
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.files import FileStore


def request_for(
    job: Job, catalogue: Catalogue, files: FileStore, labels_dir: Path, only: str = ""
) -> AnalysisRequest:
    """Ask about the images of a job.

    Parameters
    ----------
    labels_dir
        Folder for the maps of the images.
    only
        The one model that shall read them; every model where empty.

    Raises
    ------
    NotFound
        When the study is not here.
    """
    study = catalogue.study(job.study_instance_uid)
    wanted = set(job.sop_instance_uids)
    reasons = why_not_in_study([item.facts for item in study.instances])
    return AnalysisRequest(
        study_instance_uid=job.study_instance_uid,
        revision=job.revision,
        images=tuple(
            RequestedImage(
                facts=item.facts,
                path=files.absolute(item.path),
                reason=reason,
                origin=Origin(item.calling_ae_title, item.called_ae_title),
            )
            for item, reason in zip(study.instances, reasons, strict=True)
            if item.facts.sop_instance_uid in wanted
        ),
        labels_dir=labels_dir,
        only=only,
    )
