"""The Lightning module of every recipe: loss, optimiser, schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional

from training.data_module import UNKNOWN
from training.datasets.example import IGNORED
from training.recipe import Recipe, Stage

Batch = Mapping[str, Tensor]


class Learner(pl.LightningModule):
    """AdamW under one cycle; dropout and the like follow from seed and step.

    Parameters
    ----------
    network
        Answers logits; of a multitask recipe, the pair of segmentation and classes.
    recipe, stage
        What is learned and for how long.
    """

    def __init__(self, network: torch.nn.Module, recipe: Recipe, stage: Stage) -> None:
        super().__init__()
        self.network = network
        self._recipe, self._stage = recipe, stage
        self._layout = torch.contiguous_format

    def on_fit_start(self) -> None:
        """Lay images and weights out channels last, on a GPU.

        On a CPU it gains nothing, and PyTorch 2.13 writes beyond its buffers in the backward
        pass of convolutions of one channel laid out so.
        """
        wanted = self._recipe.training.channels_last and self._recipe.data.bag == 1
        if wanted and self.device.type == "cuda":
            self._layout = torch.channels_last
            self.network.to(memory_format=self._layout)  # type: ignore[call-overload]

    def forward(self, image: Tensor) -> Any:
        """Logits for images ``(n, channels, height, width)``."""
        if image.ndim == 4:
            image = image.contiguous(memory_format=self._layout)
        return self.network(image)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one training batch."""
        # What is random inside the network follows from step and device, so a resumed run repeats
        # it, and no two devices drop the same.
        step = self._recipe.seed * 1_000_003 + self.global_step
        torch.manual_seed(step * self.trainer.world_size + self.global_rank)
        loss = self.loss(batch)
        self.log("train_loss", loss, prog_bar=True, batch_size=len(batch["image"]))
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        """Loss of one validation batch."""
        self.log(
            "val_loss",
            self.loss(batch),
            prog_bar=True,
            batch_size=len(batch["image"]),
            sync_dist=True,
        )

    def loss(self, batch: Batch) -> Tensor:
        """Loss of one batch; unknown labels and pixels count nothing."""
        answer = self(batch["image"])
        with torch.autocast(self.device.type, enabled=False):
            if self._recipe.kind == "classify":
                return self._class_loss(answer.float(), batch["label"])
            if self._recipe.kind == "segment":
                return segmentation_loss(answer.float(), batch["mask"])
            where, what = answer
            return segmentation_loss(where.float(), batch["mask"]) + self._class_loss(
                what.float(), batch["label"]
            )

    def _class_loss(self, logits: Tensor, label: Tensor) -> Tensor:
        smoothing = self._recipe.training.label_smoothing
        known = label != UNKNOWN
        if not known.any():
            return logits.sum() * 0.0
        if logits.shape[1] > 1:
            return functional.cross_entropy(
                logits[known], label[known].long(), label_smoothing=smoothing
            )
        target = label[known] * (1.0 - 2.0 * smoothing) + smoothing
        return functional.binary_cross_entropy_with_logits(logits[known, 0], target)

    def configure_optimizers(self) -> Any:
        """AdamW, one cycle over the steps of the stage."""
        optimiser = torch.optim.AdamW(
            self.parameters(), lr=self._stage.learning_rate, weight_decay=self._stage.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser,
            self._stage.learning_rate,
            total_steps=max(self._stage.steps * self._stage.epochs, 2),
            pct_start=0.2,
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def segmentation_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy and Dice over the whole batch, without the ignored pixels.

    Parameters
    ----------
    logits
        ``(n, classes, height, width)``; one channel is a lesion against the rest.
    mask
        ``(n, height, width)`` of class numbers, `IGNORED` where nobody looked.
    """
    known = mask != IGNORED
    if not known.any():
        return logits.sum() * 0.0
    target = mask.masked_fill(~known, 0)
    if logits.shape[1] == 1:
        entropy = functional.binary_cross_entropy_with_logits(
            logits[:, 0][known], (target == 1)[known].float()
        )
        probability, wanted = logits.sigmoid(), (target == 1)[:, None].float()
    else:
        entropy = functional.cross_entropy(logits, mask, ignore_index=IGNORED)
        probability = logits.softmax(dim=1)
        wanted = functional.one_hot(target, logits.shape[1]).permute(0, 3, 1, 2).float()
    weight = known[:, None].float()
    # Over the batch: a false region in an image without lesion costs as much as one beside one.
    both = (probability * wanted * weight).sum(dim=(0, 2, 3))
    total = ((probability + wanted) * weight).sum(dim=(0, 2, 3))
    dice = (2.0 * both + 1.0) / (total + 1.0)
    return entropy + (1.0 - dice).mean()
