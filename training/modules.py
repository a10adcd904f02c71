"""Lightning modules: loss, optimiser, schedule. The network inside is a plain MONAI class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from monai.losses.dice import DiceCELoss, DiceLoss
from monai.networks import nets
from torch import Tensor
from torch.nn.functional import (
    adaptive_avg_pool2d,
    binary_cross_entropy_with_logits,
)

from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.infer import networks
from oncopixel_pacs.infer.bundle_config import OWN_NETWORKS
from oncopixel_pacs.infer.networks import LiteClassifier
from training.task import NetworkConfig, Phase

Batch = Mapping[str, Tensor]
_ENCODER = "network.encoder."
_MOSTLY = 0.5


def build_network(config: NetworkConfig) -> torch.nn.Module:
    """Build the network with fresh weights; it answers logits."""
    package = networks if config.target in OWN_NETWORKS else nets
    network: torch.nn.Module = getattr(package, config.target)(**config.arguments)
    return network


class _TrainedNetwork(pl.LightningModule):
    """AdamW under a one-cycle schedule; the loss is the subclass's."""

    def __init__(self, network: torch.nn.Module, phase: Phase) -> None:
        super().__init__()
        self.network = network
        self._phase = phase
        if phase.encoder_rate == 0:
            network.get_submodule("encoder").requires_grad_(False)

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
        """AdamW, one cycle over the steps of the phase; a pretrained encoder learns slower."""
        rate = self._phase.learning_rate
        groups: dict[float, list[torch.nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                slower = self._phase.encoder_rate if name.startswith(_ENCODER) else 1.0
                groups.setdefault(rate * slower, []).append(parameter)
        optimiser = torch.optim.AdamW(
            [{"params": group, "lr": highest} for highest, group in groups.items()],
            weight_decay=self._phase.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, list(groups), total_steps=self._phase.steps, pct_start=0.15
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Segmenter(_TrainedNetwork):
    """Cross-entropy per pixel, and Dice twice: over the batch and per image with a lesion.

    Over the batch, a false region in an image without lesion costs as much Dice as one beside a
    lesion; per image it would cost none, but small lesions count as much as large ones. Sums over
    a batch need more digits than bfloat16 has.
    """

    def __init__(self, network: torch.nn.Module, phase: Phase) -> None:
        super().__init__(network, phase)
        self._over_batch = DiceCELoss(sigmoid=True, batch=True, lambda_ce=4.0)
        self._per_image = DiceLoss(sigmoid=True)

    def loss(self, batch: Batch) -> Tensor:
        """Loss of images and masks, both ``(n, 1, height, width)``."""
        logits, label = self(batch["image"]).float(), batch["label"]
        diseased = label.flatten(1).amax(dim=1) > 0
        with torch.autocast(self.device.type, enabled=False):
            loss: Tensor = self._over_batch(logits, label)
            if diseased.any():
                loss = loss + self._per_image(logits[diseased], label[diseased])
        return loss


class Classifier(_TrainedNetwork):
    """Binary cross-entropy with softened labels, and a map of where the malignancy is.

    A network that answers per place (`LiteClassifier.places`) also learns from the outlines, where
    they are known: an image alone would hardly tell it which of some thousand places matters.
    """

    def loss(self, batch: Batch) -> Tensor:
        """Loss of images ``(n, 1, height, width)``, labels ``(n,)`` and malignant masks."""
        target = batch["malignant"].float() * 0.9 + 0.05
        if not isinstance(self.network, LiteClassifier):
            return binary_cross_entropy_with_logits(self(batch["image"])[:, 0].float(), target)
        logits, weights = self.network.places(batch["image"])
        whole = (logits * weights).flatten(1).sum(dim=1).float()
        return binary_cross_entropy_with_logits(whole, target) + self._where_loss(logits, batch)

    @staticmethod
    def _where_loss(logits: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy per place of the images whose malignant places are known.

        Places inside an outline and all others weigh the same in sum, image by image.
        """
        wanted = adaptive_avg_pool2d(batch["label"].float(), (logits.shape[2], logits.shape[3]))
        inside = (wanted > _MOSTLY).float()
        count = inside.sum(dim=(2, 3), keepdim=True)
        share = torch.where(inside > 0, 1 / count.clamp(min=1), 1 / (inside[0].numel() - count))
        loss = binary_cross_entropy_with_logits(
            logits.float(), inside * 0.9 + 0.05, weight=share / 2, reduction="none"
        )
        located = batch["located"].float()
        return (loss.sum(dim=(1, 2, 3)) * located).sum() / located.sum().clamp(min=1)


def module_for(task: ModelTask, network: torch.nn.Module, phase: Phase) -> pl.LightningModule:
    """Wrap a network for one phase of training."""
    kind = Segmenter if task is ModelTask.SEGMENT else Classifier
    return kind(network, phase)
