"""One encoder, two answers: where a lesion is, and what the image is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets.basic_unet import BasicUNet
from torch import Tensor, nn


class MultiTaskUNet(BasicUNet):
    """MONAI's BasicUNet with a classification head on its deepest features.

    Parameters
    ----------
    in_channels, out_channels
        Channels of the image and of the segmentation.
    num_classes
        Logits of the classification.
    features
        Six widths, as BasicUNet has them.
    norm
        Normalisation of every block.
    answers
        ``both`` for training; ``segment`` or ``classify`` for a bundle that answers one of them
        with the same weights.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_classes: int,
        features: Sequence[int] = (32, 32, 64, 128, 256, 32),
        norm: str = "instance",
        answers: str = "both",
    ) -> None:
        super().__init__(
            spatial_dims=2,
            in_channels=in_channels,
            out_channels=out_channels,
            features=tuple(features),
            norm=(norm, {"affine": True}),
        )
        if answers not in ("both", "segment", "classify"):
            raise ValueError(f"answers is {answers!r}; use both, segment or classify.")
        self.answers = answers
        self.class_head = nn.Linear(2 * features[4], num_classes)

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Answer for images ``(n, in_channels, height, width)``.

        Returns
        -------
        tensor or pair
            Logits ``(n, out_channels, height, width)``, logits ``(n, num_classes)``, or both.
        """
        levels = [self.conv_0(image)]
        for down in (self.down_1, self.down_2, self.down_3, self.down_4):
            levels.append(down(levels[-1]))
        deepest = levels[-1]
        # The average tells of the tissue, the maximum of the most suspicious spot.
        pooled = torch.cat([deepest.mean(dim=(2, 3)), deepest.amax(dim=(2, 3))], dim=1)
        classes: Tensor = self.class_head(pooled)
        if self.answers == "classify":
            return classes
        value = deepest
        ups = (self.upcat_4, self.upcat_3, self.upcat_2, self.upcat_1)
        for up, skip in zip(ups, reversed(levels[:-1]), strict=True):
            value = up(value, skip)
        segments: Tensor = self.final_conv(value)
        return segments if self.answers == "segment" else (segments, classes)
