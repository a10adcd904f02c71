"""The one shape in which every data set hands out its images."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Split(StrEnum):
    """Part of a data set, always by patient.

    Weights are changed by ``train`` alone; ``tune`` are patients taken out of it, by whom
    operating points and calibration are chosen; ``val`` and ``test`` are only scored.
    """

    TRAIN = "train"
    TUNE = "tune"
    VAL = "val"
    TEST = "test"

    @classmethod
    def of_table(cls, text: str) -> Split:
        """Read a part as tables state it; ``tune`` is the tasks' to choose.

        Raises
        ------
        ValueError
            When it is none of ``train``, ``val`` and ``test``.
        """
        split = cls(text)
        if split is cls.TUNE:
            raise ValueError(f"{text!r} is no part of a table")
        return split


class Record(Protocol):
    """One image with what is known of it.

    Pixels are read when asked for; listing a data set opens no image.
    """

    @property
    def source(self) -> str:
        """Name of the data set, e.g. ``mias``."""

    @property
    def key(self) -> str:
        """Name of the image, unique in its data set and usable as a file name."""

    @property
    def patient(self) -> str:
        """Patient, unique in the data set; splits and bootstraps go by it."""

    @property
    def split(self) -> Split:
        """Part of the data set that the patient belongs to."""

    @property
    def malignant(self) -> bool | None:
        """Whether the image shows a malignancy; ``None`` when the set cannot say."""

    @property
    def spacing_mm(self) -> tuple[float, float]:
        """``(row, column)`` size of a pixel."""

    def pixels(self) -> NDArray[np.float32]:
        """Image, ``(rows, columns)``, in [0, 1], bright tissue."""

    def lesions(self) -> NDArray[np.bool_] | None:
        """Mask of every outlined lesion, ``(rows, columns)``; ``None`` when places are unknown."""
