"""The models in memory, and the one way to ask them: images in, probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from oncopixel_pacs.child_process import usable_cores
from oncopixel_pacs.domain import Algorithm, ModelTask, Subject
from oncopixel_pacs.domain.model_choice import Candidate, RoutedImage, choose
from oncopixel_pacs.domain.rules import Rule
from oncopixel_pacs.errors import AnalysisFailed, ConfigurationError, DeviceLost
from oncopixel_pacs.infer.bundle import Network, load_network, output_shape
from oncopixel_pacs.infer.card import Card
from oncopixel_pacs.infer.cards import read_algorithms, read_card
from oncopixel_pacs.infer.trusted.network import TrustedNetwork
from oncopixel_pacs.settings import InferenceSettings, ModelSettings

#: Images at once where nothing is configured: the views of a screening study, and on a GPU those
#: of eight.
CPU_BATCH, GPU_BATCH = 4, 32


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A network together with what it is and where it runs."""

    algorithm: Algorithm
    card: Card
    network: Network
    device: torch.device
    rule: Rule = Rule()

    @property
    def candidate(self) -> Candidate:
        """What decides which images it reads."""
        return Candidate(
            self.algorithm.name,
            self.algorithm.task,
            self.rule,
            self.card.requirements,
            self.card.subject,
        )

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
            calibrated as its bundle says, ``(n, height, width)`` from a segmenter.

        Raises
        ------
        AnalysisFailed
            When the answer has the wrong shape, or holds NaN or infinity (permanent), or the
            device has no memory left even for one image (not permanent).
        DeviceLost
            When the device gave up.
        """
        logits = self._checked(images)
        sigmoid = self.card.activation == "sigmoid"
        scores = logits.sigmoid()[:, 0] if sigmoid else logits.softmax(dim=1)[:, 1]
        result: NDArray[np.float32] = scores.numpy()
        if self.card.calibrator.kind == "none":
            return result
        return self.card.calibrator.binary(result.astype(np.float64)).astype(np.float32)

    def class_probabilities(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Ask a model of pictures.

        Parameters
        ----------
        pictures
            ``(n, channels, height, width)``, as `imaging.picture_input` makes them.

        Returns
        -------
        ndarray
            float32 probability of every class of the card, not yet calibrated, adding up to 1
            unless a trusted bundle says otherwise:
            ``(n, classes)`` from a classifier, ``(n, classes, height, width)`` from a segmenter.

        Raises
        ------
        AnalysisFailed, DeviceLost
            As `probabilities`.
        """
        logits = self._checked(pictures)
        if self.card.activation == "none":
            scores = logits
        elif self.card.activation == "softmax":
            scores = logits.softmax(dim=1)
        else:
            second = logits.sigmoid()
            scores = torch.cat([1.0 - second, second], dim=1)
        result: NDArray[np.float32] = scores.numpy()
        return result

    def _checked(self, images: NDArray[np.float32]) -> torch.Tensor:
        logits = self._logits(images)
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
        return logits

    def _logits(self, images: NDArray[np.float32]) -> torch.Tensor:
        """Ask the network, for half of the images at a time where the memory is too small."""
        try:
            with torch.inference_mode(), _precision(self.device):
                batch = torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
                return self.network(batch).float().cpu()
        except torch.AcceleratorError as exc:
            raise DeviceLost(
                f"The device {self.device} gave up while model {self.algorithm.name} ran; "
                "look at its driver and the log of the kernel."
            ) from exc
        except RuntimeError as exc:
            if not _is_out_of_memory(exc):
                raise
            if len(images) == 1:
                raise AnalysisFailed(
                    f"Model {self.algorithm.name} ran out of memory on {self.device} with one "
                    "image; free memory there or set inference.device to cpu."
                ) from exc
        # Behind the except clause, which would hold the tensors of the failed attempt.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        middle = len(images) // 2
        structlog.get_logger().warning(
            "models.batch_halved", model=self.algorithm.name, images=len(images)
        )
        return torch.cat([self._logits(images[:middle]), self._logits(images[middle:])])


@dataclass(frozen=True, slots=True)
class LoadedModels:
    """The models that read studies.

    Attributes
    ----------
    models
        In the order of the configuration.
    device
        Where they run, in words, such as ``cpu`` or ``cuda: NVIDIA H200``.
    batch_images
        Images that they are asked for at a time.
    gpus
        GPUs among which processes like this one are spread; 0 on the CPU.
    beside
        A thread in which one model may work while another does. It stays, since a process of a
        trusted bundle ends with the thread that started it.
    """

    models: tuple[LoadedModel, ...]
    device: str
    batch_images: int = CPU_BATCH
    gpus: int = 0
    beside: Executor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="beside"), compare=False
    )

    @property
    def algorithms(self) -> tuple[Algorithm, ...]:
        """What each model is."""
        return tuple(item.algorithm for item in self.models)

    @property
    def classifier(self) -> LoadedModel | None:
        """The first model that classifies."""
        return self._first(ModelTask.CLASSIFY)

    @property
    def segmenter(self) -> LoadedModel | None:
        """The first model that segments."""
        return self._first(ModelTask.SEGMENT)

    @property
    def subject(self) -> Subject:
        """What the images show that the first of them reads."""
        return self.models[0].card.subject if self.models else Subject.BREAST

    def chosen_for(self, images: Sequence[RoutedImage]) -> LoadedModels:
        """Keep the one model of each task that reads a study; see `model_choice`."""
        names = {item.name for item in choose(images, [item.candidate for item in self.models])}
        kept = tuple(item for item in self.models if item.algorithm.name in names)
        return replace(self, models=kept)

    def named(self, name: str) -> LoadedModels:
        """Keep one model; raises `AnalysisFailed` when there is none of that name."""
        kept = tuple(item for item in self.models if item.algorithm.name == name)
        if not kept:
            raise AnalysisFailed(f"No model {name} is loaded; restart the server.", permanent=True)
        return replace(self, models=kept)

    def try_trusted(self) -> None:
        """Run each trusted bundle once; raises `ModelRefused` when one does not fit."""
        for item in self.models:
            if isinstance(item.network, TrustedNetwork):
                item.network.try_once()

    def close(self) -> None:
        """End the processes of trusted bundles and the thread beside."""
        self.beside.shutdown()
        for item in self.models:
            if isinstance(item.network, TrustedNetwork):
                item.network.close()

    def _first(self, task: ModelTask) -> LoadedModel | None:
        return next((item for item in self.models if item.algorithm.task is task), None)


def load_models(
    models: Sequence[ModelSettings], inference: InferenceSettings, number: int = 0
) -> LoadedModels:
    """Load the configured models into this process. Takes seconds; do it once.

    Parameters
    ----------
    number
        Of this process among those that share the GPUs.

    Raises
    ------
    ModelRefused
        When a model is not loaded; see `bundle.load_network` and `cards.read_algorithms`.
    ConfigurationError
        When the configured device is not there.
    """
    threads = inference.threads
    if inference.processes > 1:
        threads = threads or max(usable_cores() // inference.processes, 1)
    if threads:
        torch.set_num_threads(threads)
    device = _choose_device(inference, number)
    algorithms = read_algorithms(models)
    loaded = tuple(
        LoadedModel(
            algorithm,
            read_card(model),
            _network(model, device, inference),
            device,
            model.rule.as_rule(),
        )
        for model, algorithm in zip(models, algorithms, strict=True)
    )
    on_gpu = device.type == "cuda"
    return LoadedModels(
        loaded,
        f"{device}: {torch.cuda.get_device_name(device)}" if on_gpu else "cpu",
        inference.batch_images or (GPU_BATCH if on_gpu else CPU_BATCH),
        torch.cuda.device_count() if on_gpu else 0,
    )


def _network(model: ModelSettings, device: torch.device, inference: InferenceSettings) -> Network:
    if model.trusted is None:
        return load_network(model, device)
    return TrustedNetwork(model, model.trusted, read_card(model), inference)


def _choose_device(inference: InferenceSettings, number: int) -> torch.device:
    available = torch.cuda.is_available()
    if inference.device == "cuda" and not available:
        raise ConfigurationError(
            "inference.device is cuda, but torch finds no usable GPU; set it to auto or cpu."
        )
    if not available or inference.device == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", number % torch.cuda.device_count())


def _is_out_of_memory(error: RuntimeError) -> bool:
    # On the CPU there is no type of its own for it.
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _precision(device: torch.device) -> AbstractContextManager[object]:
    # bfloat16 has the exponent of float32, so no activation overflows.
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()
