"""The pictures that pages and the API show of what was found in an image."""

from __future__ import annotations

from oncopixel_pacs.domain import ImageResult, Job
from oncopixel_pacs.errors import NotFound, UnreadableImage
from oncopixel_pacs.imaging.mammogram import Decoder, read_mammogram
from oncopixel_pacs.imaging.overlay import render_overlay
from oncopixel_pacs.imaging.picture import read_picture
from oncopixel_pacs.infer.label_maps import read_label_map
from oncopixel_pacs.report.sentences import caption
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.files import FileStore


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
    try:
        labels = read_label_map(files.labels_dir(job.id), uid)
        read = read_mammogram if image.picture is None else read_picture
        source = read(files.absolute(instance.path), decoder)
    except (UnreadableImage, OSError) as exc:
        raise NotFound(f"Image {uid} cannot be drawn; its file is damaged or gone.") from exc
    return render_overlay(source, labels, caption(image))
