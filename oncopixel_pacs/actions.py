"""What a person can have done to a job, from a page, the API or the shell."""

from __future__ import annotations

from oncopixel_pacs.domain import ImageResult, Job, JobState
from oncopixel_pacs.errors import NotFound, UnreadableImage
from oncopixel_pacs.imaging.mammogram import Decoder, read_mammogram
from oncopixel_pacs.imaging.overlay import render_overlay
from oncopixel_pacs.imaging.picture import read_picture
from oncopixel_pacs.infer.label_maps import read_label_map
from oncopixel_pacs.report.sentences import caption
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.files import FileStore
from oncopixel_pacs.store.ledger import Ledger
from oncopixel_pacs.workflow.engine import WorkQueue

#: States in which a job has ended; the first three ended without success.
_ENDED = (JobState.FAILED, JobState.NOT_ANALYSED, JobState.CANCELLED, JobState.DONE)


def retry_job(
    ledger: Ledger, queue: WorkQueue, job_id: str, *, anew: bool = False, resend: bool = False
) -> Job:
    """Queue a job again that ended without success, or any that ended, to read or send it anew.

    Raises
    ------
    NotFound
        When there is no such job.
    ConfigurationError
        When the job is still running, or succeeded and nothing shall be done anew.
    """
    return ledger.restart(
        job_id,
        lambda session, job, run: queue.enqueue_study(session, job.id, run),
        _ENDED if anew or resend else _ENDED[:3],
        anew=anew,
        resend=resend,
    )


def overlay_png(
    catalogue: Catalogue, files: FileStore, decoder: Decoder, job: Job, image: ImageResult
) -> bytes:
    """Draw one image of a job with its findings outlined.

    Raises
    ------
    NotFound
        When the image is no longer held, or its file cannot be drawn.
    """
    uid = image.facts.sop_instance_uid
    study = catalogue.study(job.study_instance_uid)
    instance = next((i for i in study.instances if i.facts.sop_instance_uid == uid), None)
    if instance is None:
        raise NotFound(f"Image {uid} is no longer held.")
    labels = read_label_map(files.labels_dir(job.id), uid)
    try:
        read = read_mammogram if image.picture is None else read_picture
        source = read(files.absolute(instance.path), decoder)
    except (UnreadableImage, OSError) as exc:
        raise NotFound(f"Image {uid} cannot be drawn; its file is damaged or gone.") from exc
    return render_overlay(source, labels, caption(image))
