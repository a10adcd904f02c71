"""Pictures of analysed images: drawn one at a time, and the last few kept."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from functools import partial

from anyio import CapacityLimiter, to_thread

from oncopixel_pacs.api.parts import ApiParts
from oncopixel_pacs.domain import ImageResult, Job
from oncopixel_pacs.errors import NotFound

_KEPT = 16


class OverlayShelf:
    """Draws overlays without letting them crowd out other requests.

    Decoding a mammogram takes a second and hundreds of megabytes. Requests wait here without
    holding one of the threads that answer everything else. Used from the event loop alone.
    """

    def __init__(self, parts: ApiParts) -> None:
        self._parts = parts
        self._one_at_a_time = CapacityLimiter(1)
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    async def picture(self, tag: str, job: Job, image: ImageResult) -> bytes:
        """PNG of one image; `tag` names its content.

        Raises
        ------
        NotFound
            When the image is no longer on disk.
        """
        if tag not in self._kept:
            draw = partial(self._draw, job, image)
            self._kept[tag] = await to_thread.run_sync(draw, limiter=self._one_at_a_time)
        self._kept.move_to_end(tag)
        picture = self._kept[tag]
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return picture

    def _draw(self, job: Job, image: ImageResult) -> bytes:
        try:
            return self._parts.render_overlay(job, image)
        except FileNotFoundError as exc:
            raise NotFound(
                f"The file of image {image.facts.sop_instance_uid} is no longer on disk."
            ) from exc


def analysed_image(parts: ApiParts, job_id: str, sop_instance_uid: str) -> tuple[Job, ImageResult]:
    """Find an image that the models read in a job.

    Raises
    ------
    NotFound
        When the job, or the image in it, is not there, or the image was not analysed.
    """
    job = parts.ledger.job(job_id)
    for image in job.result.images if job.result else ():
        if image.facts.sop_instance_uid == sop_instance_uid:
            if image.reason is not None:
                raise NotFound(f"The image was not analysed: {image.reason.sentence}")
            return job, image
    raise NotFound(f"Job {job_id} has no result for an image {sop_instance_uid}.")


def tag_of(job: Job, image: ImageResult) -> str:
    """Entity tag (RFC 9110, 8.8.3) that changes with what the picture shows."""
    text = f"{job.id}\x1f{image!r}"
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
