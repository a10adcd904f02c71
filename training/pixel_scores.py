"""Figures of a segmenter: Dice, share of zeros, and lesions found by false marks."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from training.candidates import judge, peaks
from training.class_scores import ALL, Row, subsets
from training.datasets.example import IGNORED, Classes
from training.metrics import Estimate, Marks, bootstrap, mean_with_interval, sensitivity_at

Floats = NDArray[np.float64]
RATES = (0.5, 1.0, 2.0, 4.0)
GRID = tuple(round(0.05 * step, 2) for step in range(1, 20))


@dataclass(frozen=True, slots=True)
class PixelScore:
    """One answer on one image.

    Attributes
    ----------
    overlap
        ``(classes, 3)`` pixels of both, of the answer, of the truth; ignored pixels left out.
    marks
        Peaks of the map on lesions and elsewhere; of a lesion segmenter only.
    """

    overlap: NDArray[np.int64]
    marks: Marks | None

    def dice(self) -> Floats:
        """Dice per class; NaN where the truth does not have the class."""
        both, answer, truth = self.overlap.T.astype(np.float64)
        found: Floats = np.where(truth > 0, 2.0 * both / np.maximum(answer + truth, 1.0), np.nan)
        return found


@dataclass(frozen=True, slots=True)
class AnsweredClasses:
    """Class of each pixel by the model, compressed: there is one for every image of a set."""

    shape: tuple[int, int]
    compressed: bytes

    @classmethod
    def of(
        cls, probability: NDArray[np.float32], inside: NDArray[np.bool_], threshold: float
    ) -> Self:
        """Keep the answer of a map, as `score_pixels` takes it."""
        answered = _answered(probability, inside, threshold)
        return cls(inside.shape, zlib.compress(answered.tobytes(), level=1))

    def classes(self) -> Classes:
        """Give the classes back, ``(height, width)``."""
        return np.frombuffer(zlib.decompress(self.compressed), np.uint8).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class PixelScores:
    """What three segmenters said of the same images.

    Attributes
    ----------
    answers
        Of the model.
    """

    keys: tuple[str, ...]
    patients: tuple[str, ...]
    folds: tuple[int, ...]
    facts: tuple[Mapping[str, str], ...]
    classes: tuple[str, ...]
    answers: tuple[AnsweredClasses, ...]
    model: tuple[PixelScore, ...]
    trivial: tuple[PixelScore, ...]
    floor: tuple[PixelScore, ...]


def score_pixels(
    probability: NDArray[np.float32],
    mask: Classes,
    inside: NDArray[np.bool_],
    *,
    threshold: float,
    pixel_mm: float | None,
) -> PixelScore:
    """Score a map ``(classes, height, width)``, or ``(1, …)`` of a lesion at a threshold.

    Parameters
    ----------
    inside
        Where a lesion may be.
    pixel_mm
        Size of a pixel, for marks; ``None`` for tissue classes.
    """
    known = mask != IGNORED
    answer = _answered(probability, inside, threshold)
    judged = range(probability.shape[0]) if probability.shape[0] > 1 else (1,)
    pairs = [(answer == k, mask == k) for k in judged]
    overlap = np.array(
        [[(a & b & known).sum(), (a & known).sum(), (b & known).sum()] for a, b in pairs]
    )
    marks = None
    if pixel_mm is not None and probability.shape[0] == 1:
        marks = judge(peaks(probability[0], inside, pixel_mm), mask == 1, pixel_mm)
    return PixelScore(overlap, marks)


def _answered(
    probability: NDArray[np.float32], inside: NDArray[np.bool_], threshold: float
) -> Classes:
    lesion = probability.shape[0] == 1
    answer: Classes = (
        ((probability[0] >= threshold) & inside) if lesion else probability.argmax(axis=0)
    ).astype(np.uint8)
    return answer


def best_threshold(maps: Sequence[tuple[NDArray[np.float32], Classes, NDArray[np.bool_]]]) -> float:
    """Threshold with the best mean Dice over validation images that have a lesion."""
    with_lesion = [one for one in maps if (one[1] == 1).any()]
    if not with_lesion:
        return 0.5

    def mean_dice(threshold: float) -> float:
        return float(
            np.mean(
                [
                    score_pixels(p, mask, inside, threshold=threshold, pixel_mm=None).dice()[0]
                    for p, mask, inside in with_lesion
                ]
            )
        )

    return max(GRID, key=mean_dice)


def pixel_rows(scores: PixelScores, draws: int) -> list[Row]:
    """Every row of a segmenter's table; intervals draw patients."""
    everything = np.arange(len(scores.keys))
    rows: list[Row] = []
    for number, name in enumerate(scores.classes):
        rows += _dice_rows(scores, everything, ALL, number, name, draws)
    if len(scores.classes) > 1:
        rows.append(_mean_dice(scores, everything, ALL, draws))
    if scores.model and scores.model[0].marks is not None:
        rows += [_found(scores, rate, draws) for rate in RATES]
    for subset, index in subsets(scores.folds, scores.facts).items():
        rows.append(_mean_dice(scores, index, subset, draws))
    return rows


def dice_values(scores: Sequence[PixelScore]) -> Floats:
    """Mean Dice over the classes that each image has; NaN for an image without any."""
    table = np.stack([score.dice() for score in scores])
    present = ~np.isnan(table)
    total = np.where(present, table, 0.0).sum(axis=1)
    count = present.sum(axis=1)
    found: Floats = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return found


def _dice_rows(
    scores: PixelScores, index: NDArray[np.intp], subset: str, number: int, name: str, draws: int
) -> list[Row]:
    columns = {
        key: np.array([getattr(scores, key)[i].dice()[number] for i in index])
        for key in ("model", "trivial", "floor")
    }
    has = np.flatnonzero(~np.isnan(columns["model"]))
    if not has.size:
        return []
    patients = [scores.patients[index[i]] for i in has]

    def row(title: str, zeros: bool) -> Row:
        found = {
            key: mean_with_interval(
                (values[has] == 0).astype(np.float64) if zeros else values[has],
                patients,
                draws=draws,
            )
            for key, values in columns.items()
        }
        return Row(subset, title, **found)

    return [row(f"Dice of {name}", False), row(f"share with Dice zero, {name}", True)]


def _mean_dice(scores: PixelScores, index: NDArray[np.intp], subset: str, draws: int) -> Row:
    def estimate(answers: Sequence[PixelScore]) -> Estimate:
        values = dice_values([answers[i] for i in index])
        has = np.flatnonzero(~np.isnan(values))
        patients = [scores.patients[index[i]] for i in has]
        return mean_with_interval(values[has], patients, draws=draws)

    return Row(
        subset,
        "mean Dice",
        estimate(scores.model),
        estimate(scores.trivial),
        estimate(scores.floor),
    )


def _found(scores: PixelScores, rate: float, draws: int) -> Row:
    def estimate(answers: Sequence[PixelScore]) -> Estimate:
        marks = [answer.marks or Marks((), ()) for answer in answers]
        return bootstrap(
            lambda index: sensitivity_at([marks[i] for i in index], rate),
            scores.patients,
            draws=draws,
        )

    return Row(
        ALL,
        f"lesion sensitivity at {rate:g} false marks per image",
        estimate(scores.model),
        estimate(scores.trivial),
        estimate(scores.floor),
    )
