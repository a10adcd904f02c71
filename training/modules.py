"""Lightning modules: loss, optimiser, schedule. The network inside is a plain MONAI class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from monai.losses.dice import DiceFocalLoss
from monai.networks import nets
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from oncopixel_pacs.domain import ModelTask
from training.task import NetworkConfig, Phase

Batch = Mapping[str, Tensor]
_SMOOTHING_PX = 20.0


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
            self.network.parameters(),
            lr=self._phase.learning_rate,
            weight_decay=self._phase.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, self._phase.learning_rate, total_steps=self._phase.steps, pct_start=0.15
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Segmenter(_TrainedNetwork):
    """Dice and focal loss on lesion masks, each crop by itself.

    The Dice term is smoothed by an area, so that small lesions count as much as large ones and a
    crop without lesion pulls false regions down.
    """

    def __init__(self, network: torch.nn.Module, phase: Phase) -> None:
        super().__init__(network, phase)
        self._criterion = DiceFocalLoss(
            sigmoid=True,
            gamma=2.0,
            lambda_dice=1.0,
            lambda_focal=5.0,
            smooth_nr=_SMOOTHING_PX,
            smooth_dr=_SMOOTHING_PX,
        )

    def loss(self, batch: Batch) -> Tensor:
        """Loss of images and masks, both ``(n, 1, height, width)``."""
        loss: Tensor = self._criterion(self(batch["image"]), batch["label"])
        return loss


class Classifier(_TrainedNetwork):
    """Binary cross-entropy with softened labels; film labels are not free of error."""

    def loss(self, batch: Batch) -> Tensor:
        """Loss of images ``(n, 1, height, width)`` and labels ``(n,)``, 1 for malignant."""
        target = batch["malignant"].float() * 0.9 + 0.05
        return binary_cross_entropy_with_logits(self(batch["image"])[:, 0], target)


def module_for(task: ModelTask, network: torch.nn.Module, phase: Phase) -> pl.LightningModule:
    """Wrap a network for one phase of training."""
    kind = Segmenter if task is ModelTask.SEGMENT else Classifier
    return kind(network, phase)
