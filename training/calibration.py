"""From scores to probabilities, learned on validation patients only, and how good they are."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logit, softmax
from sklearn.linear_model import LogisticRegression

from oncopixel_pacs.infer.calibration import Calibrator

Floats = NDArray[np.float64]
Labels = NDArray[np.intp]
_BINS = 10
_TINY = 1e-6


def calibrate(probability: Floats, labels: Labels) -> Calibrator:
    """Learn a calibrator; without images of every class nothing is changed.

    Parameters
    ----------
    probability
        ``(n, classes)`` on validation images.
    labels
        ``(n,)`` numbers of classes.
    """
    classes = probability.shape[1]
    if len(np.unique(labels)) < classes or len(labels) < 2 * classes:
        return Calibrator("none")
    clipped = np.clip(probability, _TINY, 1.0 - _TINY)
    if classes == 2:
        scores = logit(clipped[:, 1])[:, None]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = LogisticRegression(C=10.0).fit(scores, labels)
        slope, shift = float(model.coef_[0, 0]), float(model.intercept_[0])
        # A falling curve would turn the ranking round: then there is nothing to calibrate.
        return Calibrator("platt", slope, shift) if slope > 0 else Calibrator("none")

    def loss(log_slope: float) -> float:
        scaled = softmax(np.exp(log_slope) * np.log(clipped), axis=1)
        return float(-np.log(scaled[np.arange(len(labels)), labels] + _TINY).mean())

    best = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded")
    return Calibrator("temperature", float(np.exp(best.x)))


def calibration_error(probability: Floats, labels: Labels) -> float:
    """Measure the expected calibration error of the most likely class, ten bins of equal width.

    Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.
    """
    sure = probability.max(axis=1)
    right = probability.argmax(axis=1) == labels
    bins = np.minimum((sure * _BINS).astype(np.intp), _BINS - 1)
    error = 0.0
    for number in range(_BINS):
        inside = bins == number
        if inside.any():
            error += inside.mean() * abs(float(right[inside].mean() - sure[inside].mean()))
    return float(error)


def brier_score(probability: Floats, labels: Labels) -> float:
    """Mean squared error of the probabilities; of two classes, of the positive one."""
    if probability.shape[1] == 2:
        return float(((probability[:, 1] - (labels == 1)) ** 2).mean())
    wanted = np.eye(probability.shape[1])[labels]
    return float(((probability - wanted) ** 2).sum(axis=1).mean())


def youden_threshold(probability: Floats, labels: Labels) -> float:
    """Threshold of the positive class with the best sensitivity plus specificity; 0.5 without."""
    if len(np.unique(labels)) < 2:
        return 0.5
    scores = probability[:, 1]
    grid = np.unique(np.concatenate([[0.5], np.round(scores, 4)]))
    positive = labels == 1
    index = [(scores[positive] >= cut).mean() + (scores[~positive] < cut).mean() for cut in grid]
    best = grid[np.flatnonzero(np.isclose(index, max(index)))]
    return float(np.clip(best[len(best) // 2], 0.01, 0.99))
