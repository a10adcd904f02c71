"""Patients set apart from training choose the operating point; each is in one fold, whole."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from training.datasets import Record, Split
from training.datasets.mias import MiasRecord
from training.gather import set_apart
from training.operating_point import learn_calibration
from training.predict import Classified
from training.prepared import Sample
from training.task import Tuning

FOLDS = 5


def women(ill: int, well: int, split: Split = Split.TRAIN) -> list[Record]:
    """Two films of each woman; one film of an ill woman shows the malignancy."""
    return [
        MiasRecord(
            Path("no-film.png"),
            f"{split}-{number}-{side}",
            f"{split}-{number}",
            split,
            number < ill and side == "L",
            (),
        )
        for number in range(ill + well)
        for side in "LR"
    ]


def apart(records: Sequence[Record], fold: int) -> set[str]:
    return set_apart("mias", records, Tuning(folds=FOLDS, fold=fold))


def test_every_training_patient_is_in_one_fold_and_ill_women_are_spread() -> None:
    records = [*women(10, 20), *women(5, 5, Split.VAL)]
    folds = [apart(records, fold) for fold in range(FOLDS)]

    assert sorted(name for fold in folds for name in fold) == sorted(
        {record.patient for record in records if record.split is Split.TRAIN}
    )
    ill = {record.patient for record in records if record.malignant}
    assert [len(fold & ill) for fold in folds] == [2] * FOLDS
    assert [len(fold - ill) for fold in folds] == [4] * FOLDS


def test_the_same_women_are_set_apart_in_whatever_order_they_are_listed() -> None:
    records = women(4, 9)
    shuffled = records.copy()
    random.Random(3).shuffle(shuffled)

    assert apart(records, 1) == apart(shuffled, 1) != apart(records, 2)


def test_without_the_wish_nobody_is_set_apart() -> None:
    assert set_apart("mias", women(2, 2), None) == set()


def scored(probability: float, malignant: bool) -> Classified:
    blank = np.zeros((4, 4), np.float32)
    sample = Sample("mias", "", "", Split.TUNE, malignant, blank, blank.astype(bool), lesions=None)
    return Classified(sample, probability)


def test_calibration_brings_scores_to_the_share_of_malignant_images() -> None:
    generator = np.random.default_rng(0)
    scores = generator.uniform(0.4, 0.9, 400)
    # Far too high: where the network says 0.4 to 0.9, about one image in five is malignant.
    malignant = generator.random(400) < (scores - 0.4) * 0.8
    items = [scored(float(p), bool(ill)) for p, ill in zip(scores, malignant, strict=True)]

    calibrator = learn_calibration(items)

    calibrated = calibrator.binary(scores)
    assert calibrator.kind == "platt"
    assert calibrated.mean() == pytest.approx(malignant.mean(), abs=0.01)
    assert np.array_equal(np.argsort(calibrated), np.argsort(scores))


def test_images_of_one_kind_calibrate_nothing() -> None:
    assert learn_calibration([scored(0.3, False), scored(0.6, False)]).kind == "none"
    assert learn_calibration([]).kind == "none"
