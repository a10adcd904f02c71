"""A trusted bundle as `loaded_models` asks it: images in, probabilities out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from oncopixel_pacs.child_process import usable_cores
from oncopixel_pacs.errors import AnalysisFailed, ModelRefused
from oncopixel_pacs.infer.card import Card
from oncopixel_pacs.infer.trusted.process import TrustedProcess
from oncopixel_pacs.settings import InferenceSettings, ModelSettings, TrustedSettings

_TRIAL_SHAPE = (320, 256)  # no square, so that a bundle that mixes up its axes is found out


class TrustedNetwork:
    """From images to probabilities, by a process that is started when it is first needed.

    It is not started before: a bundle that does not load fails the studies that it should read,
    and leaves the models beside it alone. `try_once` says beforehand whether it does.
    """

    def __init__(
        self,
        model: ModelSettings,
        trusted: TrustedSettings,
        card: Card,
        inference: InferenceSettings,
    ) -> None:
        self._name = model.name
        self._card = card
        threads = inference.threads or usable_cores()
        self._process = TrustedProcess(model, trusted, card.keys, threads)

    def __call__(self, images: Tensor) -> Tensor:
        """Ask for the classes of some images.

        Parameters
        ----------
        images
            ``(n, channels, rows, columns)`` in [0, 1].

        Returns
        -------
        Tensor
            float32 ``(n, classes)``; in [0, 1] where it is finite.

        Raises
        ------
        AnalysisFailed
            When the process gave no answer, or none that is a probability for each class.
        """
        wanted = (len(self._card.classes),)
        answers = [self._process.ask(image.cpu().numpy()) for image in images]
        for answer in answers:
            if answer.shape != wanted:
                raise AnalysisFailed(
                    f"Model {self._name} answered with shape {answer.shape} where its metadata "
                    f"state {wanted[0]} classes; correct the bundle.",
                    permanent=True,
                )
        values = np.stack(answers)
        if np.isfinite(values).all() and (values.min() < 0.0 or values.max() > 1.0):
            raise AnalysisFailed(
                f"Model {self._name} answered {values.min():.3g} to {values.max():.3g}, which are "
                "no probabilities; set activation of its trusted table to softmax or sigmoid.",
                permanent=True,
            )
        return torch.from_numpy(values)

    def try_once(self) -> None:
        """Run the bundle on an artificial image, and end its process.

        Raises
        ------
        ModelRefused
            When it does not load or gives no usable answer.
        """
        height, width = _TRIAL_SHAPE
        ramp = torch.linspace(0.0, 1.0, height * width).reshape(1, 1, height, width)
        channels = self._card.channels[0]
        try:
            self._process.start()
            answer = self(ramp.expand(1, channels, height, width))
        except AnalysisFailed as exc:
            raise ModelRefused(str(exc)) from exc
        finally:
            self.close()
        if not torch.isfinite(answer).all():
            raise ModelRefused(
                f"Model {self._name} answers NaN or infinity to an artificial image; report it to "
                "who made the model."
            )

    def close(self) -> None:
        """End the process."""
        self._process.close()
