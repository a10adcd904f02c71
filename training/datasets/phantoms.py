"""Generated phantoms as training images; figures on them are always kept apart.

Pixels take the way that the server takes: 12-bit stored values through the window that
`sample_dicom` writes into its studies. A test compares the two bit by bit.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from oncopixel_pacs.domain import Laterality, View
from sample_dicom import canvas
from sample_dicom import phantom as generator
from training.datasets.record import Split

SOURCE = "phantoms"
ROWS, COLUMNS = 1024, 832
VIEWS = (View.CC, View.MLO)
_WINDOW_CENTRE, _WINDOW_WIDTH = 2048.0, 4096.0  # as in the headers of sample studies


@dataclass(frozen=True, slots=True)
class PhantomRecord:
    """One view of a generated woman.

    Attributes
    ----------
    diseased
        Whether the woman has a lesion; it is in one breast, seen in both of its views.
    """

    seed: int
    laterality: Laterality
    view: View
    diseased: bool
    split: Split
    source: str = SOURCE

    @property
    def key(self) -> str:
        """Name that changes with the generator's code, so that no cache outlives it."""
        state = "lesion" if self.diseased else "free"
        return f"{_generator_digest()}-{self.seed}-{self.laterality}{self.view}-{state}"

    @property
    def patient(self) -> str:
        """The woman."""
        return f"{self.seed}-{'lesion' if self.diseased else 'free'}"

    @property
    def malignant(self) -> bool:
        """Whether this breast has the lesion."""
        return self.diseased and generator.lesion_side(self.seed) is self.laterality

    @property
    def spacing_mm(self) -> tuple[float, float]:
        """``(row, column)`` size of a pixel."""
        return (generator.FIELD_HEIGHT_MM / ROWS, generator.FIELD_HEIGHT_MM / ROWS)

    def pixels(self) -> NDArray[np.float32]:
        """Present the phantom as its written study would be, ``(rows, columns)``, in [0, 1]."""
        stored = self._make().pixels.astype(np.float32)
        # The LINEAR function of PS3.3 C.11.2.1.2.1, in its own order of operations.
        shown = (stored - (_WINDOW_CENTRE - 0.5)) / (_WINDOW_WIDTH - 1) + 0.5
        presented: NDArray[np.float32] = np.clip(shown, 0, 1).astype(np.float32)
        return presented

    def lesions(self) -> NDArray[np.bool_]:
        """Mask of the inserted lesion, ``(rows, columns)``."""
        return self._make().lesion

    def _make(self) -> generator.Phantom:
        return generator.make_phantom(
            self.seed,
            self.laterality,
            self.view,
            rows=ROWS,
            columns=COLUMNS,
            lesion=self.diseased,
        )


def phantom_records(seeds: Iterable[int], split: Split) -> list[PhantomRecord]:
    """List four views per seed.

    Every woman to train on has a lesion: her other breast is the example without. Of the women
    to score, those with even seeds have one.
    """
    return [
        PhantomRecord(seed, laterality, view, split is Split.TRAIN or seed % 2 == 0, split)
        for seed in seeds
        for laterality in Laterality
        for view in VIEWS
    ]


@cache
def _generator_digest() -> str:
    code = inspect.getsource(generator) + inspect.getsource(canvas)
    return hashlib.sha256(code.encode()).hexdigest()[:8]
