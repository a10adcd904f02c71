"""The one shape in which a reader of a published data set hands out its images.

A reader is a function from the data set's own folder to a list of `Example`; it opens tables and
lists files, and reads pixels only when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.datasets.record import Record, Split

Pixels = NDArray[np.float32]
"""``(channels, rows, columns)`` in [0, 1]: 1 channel is grey with bright tissue, 3 are RGB."""
Classes = NDArray[np.uint8]
"""``(rows, columns)`` of class numbers; `IGNORED` where nobody looked."""
IGNORED = 255

Reader = Callable[[Path], "list[Example]"]


@dataclass(frozen=True, slots=True)
class Example:
    """One image with what its data set says of it.

    Attributes
    ----------
    source
        Name of the data set.
    key
        Name of the image, unique in its data set.
    patient
        Patient, or the nearest to it that the set knows; splits and intervals go by it.
    label
        Class of the image; ``None`` when the set cannot say.
    split
        Part in the official split; ``None`` where there is none.
    files
        Every file that the image and its labels are read from.
    spacing_mm
        ``(row, column)`` size of a pixel; ``None`` when unknown or without meaning.
    facts
        What subgroups and confounders are made of: ``density``, ``view``, ``vendor``, ``lesion`` …
    """

    source: str
    key: str
    patient: str
    label: str | None
    split: Split | None
    files: tuple[Path, ...]
    read_image: Callable[[], Pixels]
    read_mask: Callable[[], Classes | None] | None = None
    spacing_mm: tuple[float, float] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)

    def image(self) -> Pixels:
        """Read the pixels, ``(channels, rows, columns)`` in [0, 1]."""
        return self.read_image()

    def mask(self) -> Classes | None:
        """Read the class of every pixel, ``(rows, columns)``; ``None`` when places are unknown."""
        return None if self.read_mask is None else self.read_mask()


def example_of(record: Record, facts: Mapping[str, str] | None = None) -> Example:
    """Hand out a `Record` of the mammography sets as an `Example`; lesions are class 1."""
    label = {True: "malignant", False: "benign", None: None}[record.malignant]
    return Example(
        source=record.source,
        key=record.key,
        patient=record.patient,
        label=label,
        split=record.split,
        files=tuple(
            path
            for name in ("path", "image_path", "mask_path")
            if (path := getattr(record, name, None)) is not None
        ),
        read_image=partial(_record_image, record),
        read_mask=partial(_record_mask, record),
        spacing_mm=record.spacing_mm,
        facts=dict(facts or {}),
    )


def _record_image(record: Record) -> Pixels:
    return record.pixels()[None]


def _record_mask(record: Record) -> Classes | None:
    lesions = record.lesions()
    return None if lesions is None else lesions.astype(np.uint8)
