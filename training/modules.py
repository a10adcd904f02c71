"""Lightning modules: loss, optimiser, schedule. The network inside is a plain MONAI class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from monai.losses.dice import DiceCELoss
from monai.networks import nets
from torch import Tensor
from torch.nn.functional import (
    adaptive_avg_pool2d,
    binary_cross_entropy_with_logits,
)

from oncopixel_pacs.domain import ModelTask
from training.task import NetworkConfig, Phase

Batch = Mapping[str, Tensor]
_RARE = -3.0  # log odds of a lesion in a cell, to begin with
_CELL_PX = 32
"""Side of a cell of the last feature map of MONAI's ResNet, in pixels of its input."""


def build_network(config: NetworkConfig) -> torch.nn.Module:
    """Build the network with fresh weights; it answers logits."""
    network: torch.nn.Module = getattr(nets, config.target)(**config.arguments)
    return network


class _TrainedNetwork(pl.LightningModule):
    """AdamW under a one-cycle schedule; the loss is the subclass's."""

    def __init__(self, network: torch.nn.Module, phase: Phase) -> None:
        super().__init__()
        self.network = network
        self._phase = phase

    def forward(self, image: Tensor) -> Tensor:
        """Logits for images ``(n, 1, height, width)``."""
        logits: Tensor = self.network(image)
        return logits

    def loss(self, batch: Batch) -> Tensor:
        """Loss of one batch."""
        raise NotImplementedError

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one training batch."""
        loss = self.loss(batch)
        self.log("train_loss", loss, prog_bar=True, on_step=True, batch_size=len(batch["image"]))
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        """Loss of one validation batch; in one column per step, never used to select weights."""
        self.log("val_loss", self.loss(batch), prog_bar=True, batch_size=len(batch["image"]))

    def configure_optimizers(self) -> Any:
        """AdamW, one cycle over the steps of the phase."""
        optimiser = torch.optim.AdamW(
            self.parameters(),
            lr=self._phase.learning_rate,
            weight_decay=self._phase.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, self._phase.learning_rate, total_steps=self._phase.steps, pct_start=0.15
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Segmenter(_TrainedNetwork):
    """Cross-entropy per pixel, and Dice over the whole batch.

    Over the batch, a false region in an image without lesion costs as much Dice as one beside a
    lesion; per image it would cost none. Sums over a batch need more digits than bfloat16 has.
    """

    def __init__(self, network: torch.nn.Module, phase: Phase) -> None:
        super().__init__(network, phase)
        self._criterion = DiceCELoss(sigmoid=True, batch=True, lambda_ce=4.0)

    def loss(self, batch: Batch) -> Tensor:
        """Loss of images and masks, both ``(n, 1, height, width)``."""
        logits = self(batch["image"]).float()
        with torch.autocast(self.device.type, enabled=False):
            loss: Tensor = self._criterion(logits, batch["label"])
        return loss


class Classifier(_TrainedNetwork):
    """Binary cross-entropy with softened labels; on crops also a map of where the lesion is.

    A residual network averages its features over the image before the last layer, so a lesion
    weighs less the larger the image is. On crops the features are therefore added up, not
    averaged, and a second head, which is thrown away, has to find the lesion in them. What is
    learned on crops then holds for whole images.
    """

    def __init__(self, network: torch.nn.Module, phase: Phase) -> None:
        super().__init__(network, phase)
        self._part_of = phase.part_of
        self._features: list[Tensor] = []
        if phase.part_of is not None:
            self._where = torch.nn.Conv2d(self._fc("weight").shape[1], 1, kernel_size=1)
            torch.nn.init.constant_(self._where.bias, _RARE)  # type: ignore[arg-type]
            pooling = network.get_submodule("avgpool")
            self._hook = pooling.register_forward_pre_hook(
                lambda _, inputs: self._features.append(inputs[0])
            )

    def on_fit_end(self) -> None:
        """Leave the network ready for whole images: it averages where the phase added up."""
        self._features.clear()
        if self._part_of is not None:
            self._hook.remove()
            with torch.no_grad():
                self._fc("weight").mul_(self._cells(self._part_of))

    def loss(self, batch: Batch) -> Tensor:
        """Loss of images ``(n, 1, height, width)``, labels ``(n,)`` and, on crops, masks."""
        self._features.clear()
        logits = self(batch["image"])[:, 0].float()
        target = batch["malignant"].float() * 0.9 + 0.05
        if self._part_of is None:
            return binary_cross_entropy_with_logits(logits, target)
        features = self._features[0].float()
        added = (features * self._fc("weight")[0, :, None, None]).sum(dim=(1, 2, 3))
        whole = binary_cross_entropy_with_logits(added + self._fc("bias"), target)
        return whole + self._where_loss(features, batch) if self.training else whole

    def _where_loss(self, features: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy per cell, added up over a crop."""
        found = self._where(features)[:, 0]
        area = adaptive_avg_pool2d(batch["label"].float(), (found.shape[1], found.shape[2]))[:, 0]
        most = area.amax(dim=(1, 2), keepdim=True).clamp(min=1e-6)
        wanted = area / most * batch["malignant"].float()[:, None, None]
        return binary_cross_entropy_with_logits(found, wanted, reduction="sum") / len(found)

    def _fc(self, name: str) -> Tensor:
        tensor: Tensor = getattr(self.network.get_submodule("fc"), name)
        return tensor

    @staticmethod
    def _cells(shape: tuple[int, int]) -> float:
        return shape[0] * shape[1] / _CELL_PX**2


def module_for(task: ModelTask, network: torch.nn.Module, phase: Phase) -> pl.LightningModule:
    """Wrap a network for one phase of training."""
    kind = Segmenter if task is ModelTask.SEGMENT else Classifier
    return kind(network, phase)
