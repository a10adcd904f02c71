"""Figures of a classifier: pooled, per fold, per subgroup, per breast and per study."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.calibration import brier_score, calibration_error
from training.metrics import Estimate, auc, bootstrap

Floats = NDArray[np.float64]
Labels = NDArray[np.intp]
LEAST_IMAGES = 20
ALL = "all"


@dataclass(frozen=True, slots=True)
class ClassScores:
    """What three classifiers said of the same images.

    Attributes
    ----------
    labels
        ``(n,)`` numbers of classes.
    called
        ``(n,)`` whether the model calls the positive class, at its fold's operating point.
    model, trivial, floor
        ``(n, classes)`` probabilities.
    """

    keys: tuple[str, ...]
    patients: tuple[str, ...]
    folds: tuple[int, ...]
    facts: tuple[Mapping[str, str], ...]
    labels: Labels
    called: NDArray[np.bool_]
    model: Floats
    trivial: Floats
    floor: Floats

    def at(self, index: Sequence[int] | NDArray[np.intp]) -> ClassScores:
        """Give the images of some places."""
        chosen = np.asarray(index, dtype=np.intp)
        return ClassScores(
            tuple(self.keys[i] for i in chosen),
            tuple(self.patients[i] for i in chosen),
            tuple(self.folds[i] for i in chosen),
            tuple(self.facts[i] for i in chosen),
            self.labels[chosen],
            self.called[chosen],
            self.model[chosen],
            self.trivial[chosen],
            self.floor[chosen],
        )


def joined(parts: Sequence[ClassScores]) -> ClassScores:
    """Pool the folds."""
    return ClassScores(
        tuple(key for part in parts for key in part.keys),
        tuple(patient for part in parts for patient in part.patients),
        tuple(fold for part in parts for fold in part.folds),
        tuple(facts for part in parts for facts in part.facts),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.called for part in parts]),
        np.concatenate([part.model for part in parts]),
        np.concatenate([part.trivial for part in parts]),
        np.concatenate([part.floor for part in parts]),
    )


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: a figure of the model beside the two floors.

    Attributes
    ----------
    subset
        ``all``, ``fold 0``, ``view CC``, ``breasts (mean of views)`` …
    """

    subset: str
    name: str
    model: Estimate
    trivial: Estimate | None = None
    floor: Estimate | None = None


def macro_auc(probability: Floats, labels: Labels) -> float:
    """AUC of the positive class of two; of more, each class against the rest, averaged."""
    if probability.shape[1] == 2:
        return auc(probability[:, 1], labels == 1)
    areas = [auc(probability[:, k], labels == k) for k in range(probability.shape[1])]
    return float(np.mean(areas))


def accuracy(probability: Floats, labels: Labels) -> float:
    """Share of images whose most likely class is the right one."""
    return float((probability.argmax(axis=1) == labels).mean())


def balanced_accuracy(probability: Floats, labels: Labels) -> float:
    """Mean over the classes that occur of the share that is found."""
    right = probability.argmax(axis=1) == labels
    return float(np.mean([right[labels == k].mean() for k in np.unique(labels)]))


_FIGURES: Mapping[str, Callable[[Floats, Labels], float]] = {
    "AUC": macro_auc,
    "accuracy": accuracy,
    "balanced accuracy": balanced_accuracy,
    "Brier score": brier_score,
    "calibration error": calibration_error,
}


def class_rows(scores: ClassScores, draws: int) -> list[Row]:
    """Every row of a classifier's table; intervals draw patients."""
    rows = [row for name in _FIGURES for row in [_row(scores, ALL, name, draws)]]
    if scores.model.shape[1] == 2:
        rows += _operating_rows(scores, draws)
    for subset, index in subsets(scores.folds, scores.facts).items():
        rows.append(_row(scores.at(index), subset, "AUC", draws))
    if scores.model.shape[1] == 2:
        for subset, pooled in _views(scores).items():
            rows.append(_row(pooled, subset, "AUC", draws))
    return rows


def _row(scores: ClassScores, subset: str, name: str, draws: int) -> Row:
    statistic = _FIGURES[name]

    def estimate(probability: Floats) -> Estimate:
        return bootstrap(
            lambda index: statistic(probability[index], scores.labels[index]),
            scores.patients,
            draws=draws,
        )

    return Row(
        subset, name, estimate(scores.model), estimate(scores.trivial), estimate(scores.floor)
    )


def _operating_rows(scores: ClassScores, draws: int) -> list[Row]:
    positive = scores.labels == 1
    rows = []
    for name, group, right in (
        ("sensitivity at the operating point", positive, scores.called),
        ("specificity at the operating point", ~positive, ~scores.called),
    ):
        chosen = np.flatnonzero(group)
        values = right[chosen].astype(np.float64)
        patients = [scores.patients[i] for i in chosen]
        rows.append(Row(ALL, name, _mean(values, patients, draws)))
    return rows


def _mean(values: Floats, patients: Sequence[str], draws: int) -> Estimate:
    return bootstrap(
        lambda index: float(values[index].mean()) if index.size else float("nan"),
        patients,
        draws=draws,
    )


def subsets(
    folds: Sequence[int], facts: Sequence[Mapping[str, str]]
) -> dict[str, NDArray[np.intp]]:
    """Places of each fold, and of each value of a fact that enough images have."""
    found: dict[str, NDArray[np.intp]] = {}
    if len(set(folds)) > 1:
        for fold in sorted(set(folds)):
            found[f"fold {fold}"] = np.flatnonzero(np.array(folds) == fold)
    for name in sorted({name for one in facts for name in one}):
        values = np.array([one.get(name, "") for one in facts])
        for value in sorted(set(values) - {""}):
            places = np.flatnonzero(values == value)
            if LEAST_IMAGES <= len(places) < len(values):
                found[f"{name} {value}"] = places
    return found


def _views(scores: ClassScores) -> dict[str, ClassScores]:
    """Breasts by the mean of their views, studies by the highest breast."""
    sides = [one.get("laterality", "") for one in scores.facts]
    if not all(sides):
        return {}
    breasts = grouped(scores, [f"{p} {s}" for p, s in zip(scores.patients, sides, strict=True)])
    return {
        "breasts (mean of views)": breasts,
        "studies (highest breast)": grouped(breasts, list(breasts.patients), highest=True),
    }


def grouped(scores: ClassScores, names: Sequence[str], *, highest: bool = False) -> ClassScores:
    """Join images by name: the mean of their probabilities, or those of the most suspicious.

    A group is positive when one of its images is.
    """
    unique = list(dict.fromkeys(names))
    places = [np.flatnonzero(np.array(names) == name) for name in unique]

    def pool(probability: Floats) -> Floats:
        if highest:
            return np.stack([probability[i[probability[i, 1].argmax()]] for i in places])
        return np.stack([probability[i].mean(axis=0) for i in places])

    first = scores.at([int(i[0]) for i in places])
    return replace(
        first,
        keys=tuple(unique),
        labels=np.array([scores.labels[i].max() for i in places]),
        called=np.array([scores.called[i].any() for i in places]),
        model=pool(scores.model),
        trivial=pool(scores.trivial),
        floor=pool(scores.floor),
    )
