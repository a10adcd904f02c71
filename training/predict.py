"""What a network says of prepared images, on the model's grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from training.prepared import Sample

Network = Callable[[Tensor], Tensor]
"""From images ``(n, 1, height, width)`` to logits."""


@dataclass(frozen=True, slots=True)
class Segmented:
    """An image with its probability map, ``(height, width)``, zero outside the breast."""

    sample: Sample
    probability: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Classified:
    """An image with its probability of malignancy."""

    sample: Sample
    probability: float


def segment(network: Network, samples: Sequence[Sample]) -> list[Segmented]:
    """Ask a segmenter about images, one at a time."""
    return [
        Segmented(sample, np.where(sample.breast, _ask(network, sample)[0], np.float32(0.0)))
        for sample in track(samples, "Segmenting")
    ]


def classify(network: Network, samples: Sequence[Sample]) -> list[Classified]:
    """Ask a classifier about images, one at a time."""
    return [
        Classified(sample, float(_ask(network, sample)[0]))
        for sample in track(samples, "Classifying")
    ]


def _ask(network: Network, sample: Sample) -> NDArray[np.float32]:
    with torch.inference_mode():
        logits = network(torch.from_numpy(sample.image[None, None]))
    probability: NDArray[np.float32] = logits.sigmoid()[0].numpy()
    return probability
