"""What a trained network says of examples, as probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor

from training.data_module import Bag, Items
from training.inputs import Prepared, Preparer
from training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Answer:
    """One bag with its answers.

    Attributes
    ----------
    probability
        ``(classes,)`` of the image; ``None`` of a segmenter.
    where
        ``(classes, height, width)`` of the pixels, one channel for a lesion; ``None`` of a
        classifier.
    """

    bag: Bag
    probability: NDArray[np.float64] | None
    where: NDArray[np.float32] | None


def ask(
    network: torch.nn.Module, bags: Sequence[Bag], recipe: Recipe, preparer: Preparer
) -> Iterator[Answer]:
    """Ask a network about whole images, one bag at a time, as the server would."""
    items = Items(bags, recipe, preparer, None)
    for number, bag in enumerate(
        track(bags, "Scoring", disable=len(bags) < 20, console=Console(stderr=True))
    ):
        with torch.inference_mode():
            output = network(items[number]["image"][None])
        what = where = None
        if recipe.kind == "classify":
            what = output
        elif recipe.kind == "segment":
            where = output
        else:
            where, what = output
        yield Answer(
            bag,
            None if what is None else class_probability(what)[0],
            None if where is None else _inside(pixel_probability(where)[0], preparer(bag[0])),
        )


def class_probability(logits: Tensor) -> NDArray[np.float64]:
    """From logits ``(n, 1 or classes)`` to probabilities ``(n, classes)``; one logit is two."""
    values = logits.float().cpu()
    if values.shape[1] == 1:
        positive = values.sigmoid()
        return torch.cat([1.0 - positive, positive], dim=1).numpy().astype(np.float64)
    return values.softmax(dim=1).numpy().astype(np.float64)


def pixel_probability(logits: Tensor) -> NDArray[np.float32]:
    """From logits ``(n, channels, height, width)`` to probabilities of the same shape."""
    values = logits.float().cpu()
    found = values.sigmoid() if values.shape[1] == 1 else values.softmax(dim=1)
    return np.asarray(found.numpy(), dtype=np.float32)


def _inside(probability: NDArray[np.float32], prepared: Prepared) -> NDArray[np.float32]:
    if probability.shape[0] > 1:
        return probability
    return np.where(prepared.breast, probability, np.float32(0.0))
