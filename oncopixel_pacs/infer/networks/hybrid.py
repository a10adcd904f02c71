"""A small hybrid of convolution and attention in the manner of MedViT.

Manzari et al., "MedViT: a robust vision transformer for generalized medical image
classification", Computers in Biology and Medicine 157, 106791 (2023): every stage begins with
convolutional blocks of local features and ends with a transformer block whose keys and values
are pooled, so that attention stays affordable on large maps. This is written anew and smaller;
published weights do not fit it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LocalBlock(nn.Module):
    """Grouped convolution as local mixing, then an inverted bottleneck with a depthwise middle."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=groups, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 1, bias=False),
        )
        wide = 2 * width
        self.feed = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.Conv2d(width, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.Hardswish(),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.Hardswish(),
            nn.Conv2d(wide, width, 1, bias=False),
        )

    def forward(self, value: Tensor) -> Tensor:
        """Map ``(n, width, height, width)`` to the same shape."""
        value = value + self.mix(value)
        result: Tensor = value + self.feed(value)
        return result


class GlobalBlock(nn.Module):
    """Attention of every cell to keys and values that are averages over `pool` x `pool` cells."""

    def __init__(self, width: int, heads: int, pool: int) -> None:
        super().__init__()
        self.pool = pool
        self.before = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.local = LocalBlock(width, heads)

    def forward(self, value: Tensor) -> Tensor:
        """Map ``(n, width, height, width)`` to the same shape."""
        count, width, height, across = value.shape
        cells = self.before(value.flatten(2).transpose(1, 2))
        pooled = cells
        if self.pool > 1 and min(height, across) >= self.pool:
            image = cells.transpose(1, 2).reshape(count, width, height, across)
            pooled = nn.functional.avg_pool2d(image, self.pool).flatten(2).transpose(1, 2)
        seen, _ = self.attention(cells, pooled, pooled, need_weights=False)
        value = value + seen.transpose(1, 2).reshape(count, width, height, across)
        result: Tensor = self.local(value)
        return result


class HybridTransformer(nn.Module):
    """Four stages of local blocks, each closed by one global block.

    Parameters
    ----------
    in_channels
        Channels of the image.
    num_classes
        Logits per image.
    channels
        Width of each stage.
    layers
        Local blocks of each stage.
    num_heads
        Heads of attention of each stage; divide the widths.
    """

    _POOLS = (8, 4, 2, 1)

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        channels: Sequence[int] = (64, 128, 256, 512),
        layers: Sequence[int] = (2, 2, 4, 2),
        num_heads: Sequence[int] = (2, 4, 8, 16),
    ) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        before, stride = in_channels, 4
        for width, count, heads, pool in zip(channels, layers, num_heads, self._POOLS, strict=True):
            stages += [
                nn.Conv2d(before, width, stride, stride=stride, bias=False),
                nn.BatchNorm2d(width),
                *[LocalBlock(width, heads) for _ in range(count)],
                GlobalBlock(width, heads, pool),
            ]
            before, stride = width, 2
        self.features = nn.Sequential(*stages)
        self.norm = nn.BatchNorm2d(before)
        self.fc = nn.Linear(before, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(n, num_classes)`` of images ``(n, in_channels, height, width)``."""
        logits: Tensor = self.fc(torch.mean(self.norm(self.features(image)), dim=(2, 3)))
        return logits
