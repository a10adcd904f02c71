"""The models in memory, and the one way to ask them: images in, probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from oncopixel_pacs.domain import Algorithm, ModelTask
from oncopixel_pacs.errors import AnalysisFailed, ConfigurationError
from oncopixel_pacs.infer.bundle import Network, load_network, output_shape
from oncopixel_pacs.infer.cards import Card, read_algorithms, read_card
from oncopixel_pacs.settings import InferenceSettings, ModelSettings


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A network together with what it is and where it runs."""

    algorithm: Algorithm
    card: Card
    network: Network
    device: torch.device

    def probabilities(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Ask the model.

        Parameters
        ----------
        images
            ``(n, 1, height, width)`` on the model's grid, as `imaging.preprocess` makes them.

        Returns
        -------
        ndarray
            Probability of malignancy, float32 in ``[0, 1]``: ``(n,)`` from a classifier,
            ``(n, height, width)`` from a segmenter.

        Raises
        ------
        AnalysisFailed
            When the answer has the wrong shape, or holds NaN or infinity (permanent), or the
            device has no memory left (not permanent).
        """
        try:
            with torch.inference_mode(), _precision(self.device):
                batch = torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
                logits = self.network(batch).float()
        except torch.OutOfMemoryError as exc:
            raise AnalysisFailed(
                f"Model {self.algorithm.name} ran out of memory on {self.device}; "
                "free memory there or set inference.device to cpu."
            ) from exc
        count, _, height, width = images.shape
        wanted = output_shape(self.card, count, (height, width))
        if tuple(logits.shape) != wanted:
            raise AnalysisFailed(
                f"Model {self.algorithm.name} answered with shape {tuple(logits.shape)} instead "
                f"of {wanted}; correct the bundle.",
                permanent=True,
            )
        if not torch.isfinite(logits).all():
            raise AnalysisFailed(
                f"Model {self.algorithm.name} answered NaN or infinity, so there is no result; "
                "look at the image and report it to who made the model.",
                permanent=True,
            )
        sigmoid = self.card.activation == "sigmoid"
        scores = logits.sigmoid()[:, 0] if sigmoid else logits.softmax(dim=1)[:, 1]
        result: NDArray[np.float32] = scores.cpu().numpy()
        return result


@dataclass(frozen=True, slots=True)
class LoadedModels:
    """The models that read a study.

    Attributes
    ----------
    algorithms
        In the order of the configuration.
    device
        Where they run, in words, such as ``cpu`` or ``cuda: NVIDIA H200``.
    """

    algorithms: tuple[Algorithm, ...]
    classifier: LoadedModel | None
    segmenter: LoadedModel | None
    device: str


def load_models(models: Sequence[ModelSettings], inference: InferenceSettings) -> LoadedModels:
    """Load the configured models into this process. Takes seconds; do it once.

    Raises
    ------
    ModelRefused
        When a model is not loaded; see `bundle.load_network` and `cards.read_algorithms`.
    ConfigurationError
        When the configured device is not there.
    """
    if inference.threads:
        torch.set_num_threads(inference.threads)
    device = _choose_device(inference)
    algorithms = read_algorithms(models)
    loaded = {
        algorithm.task: LoadedModel(
            algorithm, read_card(model), load_network(model, device), device
        )
        for model, algorithm in zip(models, algorithms, strict=True)
    }
    return LoadedModels(
        algorithms=algorithms,
        classifier=loaded.get(ModelTask.CLASSIFY),
        segmenter=loaded.get(ModelTask.SEGMENT),
        device=f"cuda: {torch.cuda.get_device_name()}" if device.type == "cuda" else "cpu",
    )


def _choose_device(inference: InferenceSettings) -> torch.device:
    available = torch.cuda.is_available()
    if inference.device == "cuda" and not available:
        raise ConfigurationError(
            "inference.device is cuda, but torch finds no usable GPU; set it to auto or cpu."
        )
    return torch.device("cuda" if available and inference.device != "cpu" else "cpu")


def _precision(device: torch.device) -> AbstractContextManager[object]:
    # bfloat16 has the exponent of float32, so no activation overflows.
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()
