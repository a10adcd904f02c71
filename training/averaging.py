"""Averages of weights over the steps of a training, from the first step on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

_WARM_UP = 10


@dataclass(frozen=True, slots=True)
class WarmAverage:
    """An exponential moving average whose decay rises from nearly nothing to `decay`.

    With one decay throughout, the weights that a network begins with keep a share of
    ``decay ** steps``: after 240 steps at 0.999 four fifths of the average are still random. Here
    the decay at step ``n`` is at most ``(1 + n) / (10 + n)``, so the average follows soon.

    Attributes
    ----------
    decay
        Share of the average that a step leaves, once it is warm.
    """

    decay: float

    @torch.no_grad()
    def __call__(self, averaged: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
        """From the average, the current weight and the number of steps before to the new one."""
        if not averaged.is_floating_point():
            return current
        count = float(steps)
        share = min(self.decay, (1.0 + count) / (_WARM_UP + count))
        return averaged.lerp(current.to(averaged.dtype), 1.0 - share)


class WarmWeightAveraging(WeightAveraging):
    """Keeps the `WarmAverage` of weights and buffers, and validates with it.

    Parameters
    ----------
    decay
        See `WarmAverage`.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=True, avg_fn=WarmAverage(decay))
