"""From a network's probabilities to calibrated ones; learned by `training.calibration`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, softmax

_TINY = 1e-6


@dataclass(frozen=True, slots=True)
class Calibrator:
    """Platt scaling of two classes, one temperature for more, or nothing.

    Attributes
    ----------
    slope, shift
        ``expit(slope * logit(p) + shift)``, or ``softmax(slope * log p)``.
    """

    kind: Literal["none", "platt", "temperature"]
    slope: float = 1.0
    shift: float = 0.0

    def __call__(self, probability: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrate ``(n, classes)``; rows still add up to 1."""
        if self.kind == "none":
            return probability
        clipped = np.clip(probability, _TINY, 1.0 - _TINY)
        if self.kind == "platt":
            positive: NDArray[np.float64] = expit(self.slope * logit(clipped[:, 1]) + self.shift)
            return np.stack([1.0 - positive, positive], axis=1)
        found: NDArray[np.float64] = softmax(self.slope * np.log(clipped), axis=1)
        return found

    def binary(self, probability: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrate ``(n,)`` probabilities of the positive one of two classes; order is kept."""
        calibrated: NDArray[np.float64] = self(np.stack([1.0 - probability, probability], axis=1))
        return calibrated[:, 1]

    def as_dict(self) -> Mapping[str, str | float]:
        """Literal content, for a report or a bundle."""
        return asdict(self)
