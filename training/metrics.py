"""Figures of merit with patient-bootstrap intervals. Plain NumPy.

AUC is the Mann-Whitney statistic; intervals are percentile bootstraps over patients, since the
images of one patient are not independent (Rutter, Acad Radiol 7, 413 (2000)). FROC follows
Bunch et al., Proc. SPIE 127, 124 (1977): a lesion counts once, every other mark is false.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DRAWS = 2000
FALSE_POSITIVE_RATES = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval; all NaN when it is not defined on these images.

    Attributes
    ----------
    images, patients
        How many it rests on.
    """

    value: float
    low: float
    high: float
    images: int
    patients: int

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "not defined"
        return f"{self.value:.3f} [{self.low:.3f}–{self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class Marks:
    """What a detector marked on one image, and what it should have found.

    Attributes
    ----------
    hits
        Highest score of a mark on each lesion; minus infinity for a lesion without a mark.
    false
        Scores of the marks that lie on no lesion.
    """

    hits: tuple[float, ...]
    false: tuple[float, ...]


def auc(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve; ties count half. NaN when one class is missing."""
    ones, zeros = int(positive.sum()), int((~positive).sum())
    if ones == 0 or zeros == 0:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2.0
    rank_sum = float(mean_rank[inverse][positive].sum())
    return (rank_sum - ones * (ones + 1) / 2.0) / (ones * zeros)


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Dice coefficient of two masks of one shape; 1 when both are empty."""
    total = int(found.sum()) + int(truth.sum())
    return 1.0 if total == 0 else 2.0 * int((found & truth).sum()) / total


def sensitivity_at(marks: Sequence[Marks], false_per_image: float) -> float:
    """Share of lesions found when the threshold allows so many false marks per image.

    The threshold is the lowest score at which the rate is kept; a mark counts when it is
    at or above it. NaN without lesions.
    """
    hits = np.array([score for mark in marks for score in mark.hits], dtype=np.float64)
    if hits.size == 0:
        return float("nan")
    false = np.sort([score for mark in marks for score in mark.false])[::-1]
    allowed = int(np.floor(false_per_image * len(marks) + 1e-9))
    if allowed >= false.size:
        return float(np.isfinite(hits).mean())
    return float((hits > false[allowed]).mean())


def froc_curve(marks: Sequence[Marks]) -> tuple[Floats, Floats]:
    """Trace false marks per image and sensitivity, one point per score, falling threshold."""
    hits = np.array([score for mark in marks for score in mark.hits], dtype=np.float64)
    false = np.array([score for mark in marks for score in mark.false], dtype=np.float64)
    finite = hits[np.isfinite(hits)]
    cuts = np.unique(np.concatenate([finite, false]))[::-1]
    rates = np.array([(false >= cut).sum() for cut in cuts], dtype=np.float64) / len(marks)
    found = np.array([(hits >= cut).sum() for cut in cuts], dtype=np.float64)
    return np.append(0.0, rates), np.append(0.0, found / max(hits.size, 1))


def bootstrap(
    statistic: Callable[[NDArray[np.intp]], float],
    patients: Sequence[str],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """Estimate with a 95 % percentile interval by drawing patients with replacement.

    Parameters
    ----------
    statistic
        From the indices of images (repeats allowed) to the figure, NaN where it is not defined.
    patients
        Patient of each image.
    draws
        Number of resamplings; those without a defined figure are left out.
    seed
        Of the resampling.
    """
    names, owner = np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)
    images_of = [np.flatnonzero(owner == index) for index in range(len(names))]
    value = statistic(np.arange(len(patients))) if len(patients) else float("nan")
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(draws if np.isfinite(value) else 0):
        chosen = generator.integers(len(names), size=len(names))
        figure = statistic(np.concatenate([images_of[index] for index in chosen]))
        if np.isfinite(figure):
            found.append(figure)
    low, high = np.quantile(found, (0.025, 0.975)) if found else (float("nan"),) * 2
    return Estimate(float(value), float(low), float(high), len(patients), len(names))


def auc_with_interval(
    scores: Floats, positive: NDArray[np.bool_], patients: Sequence[str], *, draws: int = DRAWS
) -> Estimate:
    """AUC over images with its patient-bootstrap interval."""
    return bootstrap(lambda index: auc(scores[index], positive[index]), patients, draws=draws)


def mean_with_interval(values: Floats, patients: Sequence[str], *, draws: int = DRAWS) -> Estimate:
    """Mean over images with its patient-bootstrap interval."""

    def mean(index: NDArray[np.intp]) -> float:
        return float(values[index].mean()) if index.size else float("nan")

    return bootstrap(mean, patients, draws=draws)


def sensitivity_with_interval(
    marks: Sequence[Marks],
    patients: Sequence[str],
    false_per_image: float,
    *,
    draws: int = DRAWS,
) -> Estimate:
    """Lesion sensitivity at a rate of false marks, with its patient-bootstrap interval."""

    def at_rate(index: NDArray[np.intp]) -> float:
        return sensitivity_at([marks[i] for i in index], false_per_image)

    return bootstrap(at_rate, patients, draws=draws)
