"""Choosing thresholds and calibration, on images that changed no weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from oncopixel_pacs.infer.calibration import Calibrator
from training.batches import lesions_of
from training.calibration import calibrate
from training.figures import centres_inside, predicted_mask
from training.metrics import dice
from training.predict import Classified, Segmented

_STEP = 0.02
_LEAST_SHARE = 0.97


def segmenter_threshold(
    phantoms: Sequence[Segmented], real: Mapping[str, Sequence[Segmented]]
) -> float:
    """Threshold with the best mean Dice on the real sets among those safe on phantoms.

    Safe: the centre of at least 97 % of the inserted lesions lies inside the predicted mask, and
    at least 97 % of the patients have no finding on any of their lesion-free images. Where no
    threshold is safe, the one
    that is nearest to it is taken; without real sets, the middle of the safe ones.

    Returns
    -------
    float
        In (0, 1), rounded to two digits.
    """
    grid = [round(float(value), 2) for value in np.arange(0.1, 0.96, _STEP)]
    safety = [_phantom_safety(phantoms, threshold) for threshold in grid]
    least = min(_LEAST_SHARE, max(safety))
    safe = [cut for cut, share in zip(grid, safety, strict=True) if share >= least]
    if not real:
        return safe[len(safe) // 2]
    return max(safe, key=lambda threshold: _mean_dice(real, threshold))


def classifier_threshold(scored: Mapping[str, Sequence[Classified]]) -> float:
    """Threshold with the best Youden index, averaged over the sets.

    Returns
    -------
    float
        In (0, 1), rounded to two digits.
    """
    grid = [round(float(value), 2) for value in np.arange(0.02, 0.99, 0.01)]

    def youden(items: Sequence[Classified], threshold: float) -> float:
        positive = np.array([item.sample.malignant is True for item in items])
        called = np.array([item.probability >= threshold for item in items])
        if positive.all() or not positive.any():
            return 0.0
        return float(called[positive].mean() - called[~positive].mean())

    indices = [
        float(np.mean([youden(items, threshold) for items in scored.values()]))
        for threshold in grid
    ]
    best = [cut for cut, index in zip(grid, indices, strict=True) if index >= max(indices) - 1e-9]
    return best[len(best) // 2]


def learn_calibration(scored: Sequence[Classified]) -> Calibrator:
    """Platt scaling of real images, all sets together.

    What comes out is a probability among women as in those images, of whom far more are ill than
    where women are screened.
    """
    probability = np.array([item.probability for item in scored], dtype=np.float64)
    labels = np.array([item.sample.malignant is True for item in scored], dtype=np.intp)
    return calibrate(np.stack([1.0 - probability, probability], axis=1), labels)


def _phantom_safety(phantoms: Sequence[Segmented], threshold: float) -> float:
    found: list[float] = []
    clean_patients: dict[str, bool] = {}
    for item in phantoms:
        lesions = lesions_of(item.sample)
        mask = predicted_mask(item.probability, threshold)
        if lesions.any():
            found.append(centres_inside(lesions, mask))
        else:
            patient = item.sample.patient
            clean_patients[patient] = clean_patients.get(patient, True) and not mask.any()
    clean = list(clean_patients.values())
    return float(min(np.mean(found) if found else 1.0, np.mean(clean) if clean else 1.0))


def _mean_dice(real: Mapping[str, Sequence[Segmented]], threshold: float) -> float:
    per_set = []
    for items in real.values():
        values = [
            dice(predicted_mask(item.probability, threshold), lesions_of(item.sample))
            for item in items
            if lesions_of(item.sample).any()
        ]
        if values:
            per_set.append(float(np.mean(values)))
    return float(np.mean(per_set)) if per_set else 0.0
