"""Several views of one breast or woman, weighed by gated attention.

Ilse et al., "Attention-based deep multiple instance learning", ICML 2018.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets.resnet import ResNet
from torch import Tensor, nn


class AttentionMIL(nn.Module):
    """A residual encoder per view; attention decides how much each view counts.

    Parameters
    ----------
    in_channels
        Channels of a view.
    num_classes
        Logits per bag of views.
    channels
        Widths of the encoder's four stages.
    layers
        Blocks of each stage.
    hidden
        Width of the attention.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        channels: Sequence[int] = (32, 64, 128, 256),
        layers: Sequence[int] = (2, 2, 2, 2),
        hidden: int = 64,
    ) -> None:
        super().__init__()
        self.encoder = ResNet(
            "basic",
            list(layers),
            list(channels),
            spatial_dims=2,
            n_input_channels=in_channels,
            conv1_t_stride=2,
            feed_forward=False,
        )
        width = channels[-1]
        self.tanh = nn.Linear(width, hidden)
        self.gate = nn.Linear(width, hidden)
        self.score = nn.Linear(hidden, 1)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, views: Tensor) -> Tensor:
        """Logits ``(n, num_classes)`` of bags ``(n, views, in_channels, height, width)``.

        A view that is all zero is missing and counts nothing; a bag of four dimensions is one
        view per bag.
        """
        bags = views[:, None] if views.ndim == 4 else views
        count, number = bags.shape[:2]
        features = self.encoder(bags.flatten(0, 1)).reshape(count, number, -1)
        weight = self.score(torch.tanh(self.tanh(features)) * torch.sigmoid(self.gate(features)))
        missing = bags.flatten(2).abs().amax(dim=2, keepdim=True) == 0
        missing = missing & ~missing.all(dim=1, keepdim=True)
        weight = weight.masked_fill(missing, float("-inf")).softmax(dim=1)
        logits: Tensor = self.fc((weight * features).sum(dim=1))
        return logits
