"""Pictures of the images of one study, each drawn once for all the objects that show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oncopixel_pacs.domain import ImageResult
from oncopixel_pacs.errors import ResultRejected, UnreadableImage
from oncopixel_pacs.imaging.mammogram import read_mammogram
from oncopixel_pacs.imaging.overlay import draw_overlay
from oncopixel_pacs.imaging.picture import read_picture
from oncopixel_pacs.report.sentences import caption

ReadMap = Callable[[str], NDArray[np.uint8] | None]

#: Enough to see where a finding lies; the original is what is read.
HEIGHT_PX = 1280


class Pictures:
    """Draws views with their findings outlined, `HEIGHT_PX` high.

    Parameters
    ----------
    paths
        Part 10 file of each image by SOP Instance UID.
    read_labels
        Label map of an image by its SOP Instance UID, see `build_segmentation`.
    """

    def __init__(self, paths: Mapping[str, Path], read_labels: ReadMap) -> None:
        self._paths = paths
        self._read_labels = read_labels
        self._drawn: dict[str, NDArray[np.uint8]] = {}

    def draw(self, image: ImageResult) -> NDArray[np.uint8]:
        """Draw an image that was analysed.

        Returns
        -------
        numpy.ndarray
            uint8 ``(height, width, 3)``, RGB, with view, score and notice burnt in.

        Raises
        ------
        ResultRejected
            When the image cannot be drawn, or label map and image do not belong together.
        """
        uid = image.facts.sop_instance_uid
        if uid not in self._drawn:
            self._drawn[uid] = draw_picture(self._paths[uid], image, self._read_labels(uid))
        return self._drawn[uid]


def draw_picture(
    path: Path, image: ImageResult, labels: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """Draw one image with its findings, see `Pictures.draw`."""
    if image.findings and labels is None:
        raise ResultRejected(
            f"Image {image.facts.name} has findings but no label map; analyse it again."
        )
    try:
        source = read_mammogram(path) if image.picture is None else read_picture(path)
    except UnreadableImage as exc:
        raise ResultRejected(
            f"Image {image.facts.name} cannot be drawn ({exc}); check its file."
        ) from exc
    if labels is not None and labels.shape != source.pixels.shape[-2:]:
        raise ResultRejected(
            f"The label map of image {image.facts.name} is {labels.shape}, the image "
            f"{source.pixels.shape[-2:]}; analyse it again."
        )
    return draw_overlay(source, labels, _caption(image), HEIGHT_PX)


def _caption(image: ImageResult) -> str:
    outcome = "" if image.findings or image.picture is not None else "  no candidate"
    return f"AI {caption(image)}{outcome}"
