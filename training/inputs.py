"""From an example to the arrays that a network reads, exactly as the server would make them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from oncopixel_pacs.domain import Reason
from oncopixel_pacs.errors import UnreadableImage
from oncopixel_pacs.imaging.header import read_image_facts
from oncopixel_pacs.imaging.picture_input import PictureInput
from oncopixel_pacs.imaging.preprocess import Preprocessing, prepare
from training.datasets.example import Classes, Example, Pixels
from training.datasets.pictures import dicom_header
from training.recipe import DataPart

#: Height of a detector or film, taken where a published file gives no size of a pixel.
ASSUMED_HEIGHT_MM = 240.0
_DICOM = frozenset({".dcm", ".dicom"})


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image as a network reads it.

    Attributes
    ----------
    image
        ``(channels, height, width)``.
    mask
        ``(height, width)`` of class numbers; ``None`` when places are unknown.
    breast
        ``(height, width)``; all true for pictures.
    """

    image: Pixels
    mask: Classes | None
    breast: NDArray[np.bool_]


def picture_input(data: DataPart) -> PictureInput:
    """How pictures of a recipe become inputs."""
    channels = 3 if data.reading == "colour" else 1
    return PictureInput(channels, data.size[0], data.size[1])


def prepare_example(example: Example, data: DataPart) -> Prepared:
    """Read and prepare one image.

    Raises
    ------
    UnreadableImage
        When no breast is found in a mammogram.
    """
    if data.reading == "breast":
        return _breast(example)
    image = picture_input(data).prepare(example.image())
    mask = example.mask()
    if mask is not None:
        mask = _nearest(mask, (data.size[0], data.size[1]))
    return Prepared(image, mask, np.ones(image.shape[1:], dtype=np.bool_))


def _breast(example: Example) -> Prepared:
    image = example.image()
    if len(image) != 1:
        raise UnreadableImage(Reason.NOT_MONOCHROME, "")
    prepared = prepare(image[0], _spacing(example, image.shape[1]), Preprocessing())
    mask = example.mask()
    if mask is not None:
        mask = prepared.geometry.mask_to_model(mask > 0).astype(np.uint8)
    return Prepared(prepared.image, mask, prepared.breast)


def _spacing(example: Example, rows: int) -> tuple[float, float]:
    found = example.spacing_mm
    if found is None and example.files[0].suffix.lower() in _DICOM:
        found = read_image_facts(dicom_header(example.files[0])).spacing_mm
    return found or (ASSUMED_HEIGHT_MM / rows, ASSUMED_HEIGHT_MM / rows)


def _nearest(mask: Classes, shape: tuple[int, int]) -> Classes:
    rows = ((np.arange(shape[0]) + 0.5) * mask.shape[0] / shape[0]).astype(np.intp)
    columns = ((np.arange(shape[1]) + 0.5) * mask.shape[1] / shape[1]).astype(np.intp)
    return np.ascontiguousarray(mask[rows[:, None], columns[None, :]])


class Preparer:
    """Prepares images, and keeps prepared mammograms on disk: finding the breast is dear.

    Parameters
    ----------
    data
        How images are read.
    cache
        Folder for prepared mammograms; safe to delete.
    """

    def __init__(self, data: DataPart, cache: Path) -> None:
        self._data = data
        self._folder = cache / f"examples-{Preprocessing().digest()[:12]}"

    def readable(self, examples: Sequence[Example]) -> tuple[list[Example], list[str]]:
        """Part the examples into those with a breast and the keys of those without."""
        if self._data.reading != "breast":
            return list(examples), []
        kept, left = [], []
        for example in track(
            examples, "Preparing images", disable=len(examples) < 20, console=Console(stderr=True)
        ):
            try:
                self(example)
            except UnreadableImage:
                left.append(example.key)
            else:
                kept.append(example)
        return kept, left

    def __call__(self, example: Example) -> Prepared:
        """Prepare one image, or read what was prepared before."""
        if self._data.reading != "breast":
            return prepare_example(example, self._data)
        path = self._folder / example.source / f"{_state(example)}.npz"
        if not path.is_file():
            self._write(path, prepare_example(example, self._data))
        with np.load(path, allow_pickle=False) as kept:
            return Prepared(kept["image"], kept.get("mask"), kept["breast"])

    def _write(self, path: Path, prepared: Prepared) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, NDArray[np.generic]] = {
            "image": prepared.image,
            "breast": prepared.breast,
        }
        if prepared.mask is not None:
            arrays["mask"] = prepared.mask
        partial = path.with_suffix(f".{os.getpid()}.part.npz")
        np.savez(partial, **arrays)  # type: ignore[arg-type]
        partial.replace(path)


def _state(example: Example) -> str:
    """Digest of what an image is made of, so that changed files are prepared anew."""
    parts = [example.source, example.key, str(example.spacing_mm)]
    for path in example.files:
        state = path.stat()
        parts.append(f"{path}:{state.st_size}:{state.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
