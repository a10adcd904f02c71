"""Who is trained on, who decides, who is only ever scored: by patient, never by image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from training.datasets.example import Example
from training.datasets.record import Split
from training.datasets.tables import DataSetFault
from training.duplicates import copies_as_patients, patient_of
from training.recipe import DataPart

_TEST_PARTS, _VALIDATION_PARTS = 5, 6


@dataclass(frozen=True, slots=True)
class Parts:
    """The images of one fold.

    Attributes
    ----------
    dropped
        Training images that are copies of test images, left out of everything.
    """

    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Confounder:
    """How much a fact that no model should need tells of the label.

    Attributes
    ----------
    association
        Cramér's V, 0 (none) to 1 (the fact tells the label).
    counts
        Images per value and label.
    """

    fact: str
    association: float
    counts: dict[str, dict[str, int]]


def label_of(example: Example, data: DataPart) -> str | None:
    """Label of an image under a recipe: a label or a fact, merged; ``None`` when not among them."""
    found = example.label if data.label == "label" else example.facts.get(data.label)
    if found is None:
        return None
    merged = data.merge.get(found, found)
    return merged if merged in data.classes else None


def split_by_patient(
    examples: Sequence[Example], data: DataPart, *, fold: int = 0, seed: int = 0
) -> Parts:
    """Split the images of a recipe.

    With one fold the official test part is kept where there is one, else a fifth of the patients
    who are not of the official validation part is tested on. With more, official parts are
    ignored and every patient is tested on once. Validation is the official part, or a sixth of
    the patients that are left.

    Parameters
    ----------
    fold
        Which part is tested on, from 0.

    Raises
    ------
    DataSetFault
        When a class has too few patients to be split.
    """
    groups = np.array(
        copies_as_patients(examples)
        if data.duplicates == "perceptual"
        else [patient_of(example) for example in examples]
    )
    strata = np.array([f"{label_of(one, data)}/{one.source}" for one in examples])
    official = np.array([str(example.split or "") for example in examples])
    everything = np.arange(len(examples))
    if data.folds > 1:
        official[:] = ""
        test = _part(everything, strata, groups, data.folds, fold, seed)
    elif (official == Split.TEST).any():
        test = everything[official == Split.TEST]
    else:
        others = everything[official != Split.VAL]
        test = _part(others, strata, groups, _TEST_PARTS, fold, seed)
    tested = np.isin(groups, groups[test])
    rest = everything[~tested]
    dropped = everything[tested & ~np.isin(everything, test)]
    val = rest[official[rest] == Split.VAL]
    if not val.size:
        val = _part(rest, strata, groups, _VALIDATION_PARTS, 0, seed)
    train = rest[~np.isin(groups[rest], groups[val])]
    return Parts(
        train=tuple(examples[i] for i in train),
        val=tuple(examples[i] for i in val),
        test=tuple(examples[i] for i in test),
        dropped=tuple(examples[i].key for i in dropped),
    )


def _part(
    chosen: NDArray[np.intp],
    strata: NDArray[np.str_],
    groups: NDArray[np.str_],
    parts: int,
    number: int,
    seed: int,
) -> NDArray[np.intp]:
    """One of several parts of the chosen images, whole groups, classes spread evenly."""
    per_class = {name: len(set(groups[chosen][strata[chosen] == name])) for name in strata[chosen]}
    common = {name for name, count in per_class.items() if count >= 2}
    if not common:
        raise DataSetFault(
            f"No class has two patients among {len(chosen)} images, so nothing can be set aside; "
            "add patients."
        )
    # A class of one patient goes along with the most common one; it cannot be spread.
    largest = max(common, key=lambda name: per_class[name])
    spread = [name if name in common else largest for name in strata[chosen]]
    parts = max(2, min(parts, min(per_class[name] for name in common)))
    folds = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    split = list(folds.split(chosen, spread, groups[chosen]))
    part: NDArray[np.intp] = chosen[split[number % parts][1]]
    return part


def confounders(examples: Sequence[Example], data: DataPart) -> list[Confounder]:
    """List the facts, and the source, by how much they tell of the label, strongest first."""
    labelled = [(one, label) for one in examples if (label := label_of(one, data)) is not None]
    names = {"source"} | {name for one, _ in labelled for name in one.facts if name != data.label}
    found = []
    for name in sorted(names):
        pairs = [(_fact(one, name), label) for one, label in labelled]
        counts: dict[str, dict[str, int]] = {}
        for (value, label), count in sorted(Counter(pairs).items()):
            counts.setdefault(value, {})[label] = count
        if 1 < len(counts) <= max(2, len(pairs) // 4):
            found.append(Confounder(name, cramers_v(counts), counts))
    return sorted(found, key=lambda one: -one.association)


def _fact(example: Example, name: str) -> str:
    return example.source if name == "source" else example.facts.get(name, "unknown")


def cramers_v(counts: dict[str, dict[str, int]]) -> float:
    """Cramér's V of a table of counts; 0 when it has one column."""
    columns = sorted({label for row in counts.values() for label in row})
    table = np.array([[row.get(label, 0) for label in columns] for row in counts.values()], float)
    if min(table.shape) < 2:
        return 0.0
    total = table.sum()
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / total
    statistic = float(((table - expected) ** 2 / expected).sum())
    return float(np.sqrt(statistic / (total * (min(table.shape) - 1))))
