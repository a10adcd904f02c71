"""Mammography networks on the encoder of EfficientNet-Lite0: few operations, good on a CPU.

Tan and Le, "EfficientNet", ICML 2019; the Lite variants have no squeeze-and-excitation and ReLU6
throughout (TensorFlow TPU project, 2020). Names of layers and the padding of strided convolutions
are those of the published weights, so that these load key by key.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

_BN_EPS = 1e-3
_STEM = 32
# (in, out, kernel, stride, expansion) of blocks 0 to 14 of EfficientNet-Lite0.
_BLOCKS: Sequence[tuple[int, int, int, int, int]] = (
    (32, 16, 3, 1, 1),
    (16, 24, 3, 2, 6),
    (24, 24, 3, 1, 6),
    (24, 40, 5, 2, 6),
    (40, 40, 5, 1, 6),
    (40, 80, 3, 2, 6),
    (80, 80, 3, 1, 6),
    (80, 80, 3, 1, 6),
    (80, 112, 5, 1, 6),
    (112, 112, 5, 1, 6),
    (112, 112, 5, 1, 6),
    (112, 192, 5, 2, 6),
    (192, 192, 5, 1, 6),
    (192, 192, 5, 1, 6),
    (192, 192, 5, 1, 6),
)
_GROUP = 8


class _SamePadded(nn.Conv2d):
    """Convolution with TensorFlow's padding: of an odd sum, the larger half goes to the end."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1):
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self._pad = max(kernel - stride, 0)

    def forward(self, image: Tensor) -> Tensor:
        """Convolve; height and width must be multiples of the stride."""
        before, after = self._pad // 2, self._pad - self._pad // 2
        answer: Tensor = super().forward(pad(image, (before, after, before, after)))
        return answer


class _InvertedResidual(nn.Module):
    """Expand, filter each channel, project; added to its input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = inputs * expansion
        self._expands = expansion != 1
        if self._expands:
            self._expand_conv = nn.Conv2d(inputs, wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(wide, eps=_BN_EPS)
        self._depthwise_conv = _SamePadded(wide, wide, kernel, stride, groups=wide)
        self._bn1 = nn.BatchNorm2d(wide, eps=_BN_EPS)
        self._project_conv = nn.Conv2d(wide, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, eps=_BN_EPS)
        self._act = nn.ReLU6()
        self._adds = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        """From ``(n, inputs, height, width)`` to ``(n, outputs, height/stride, width/stride)``."""
        inner: Tensor = features
        if self._expands:
            inner = self._act(self._bn0(self._expand_conv(features)))
        inner = self._act(self._bn1(self._depthwise_conv(inner)))
        inner = self._bn2(self._project_conv(inner))
        return features + inner if self._adds else inner


class LiteEncoder(nn.Module):
    """The first blocks of EfficientNet-Lite0 for images of one channel.

    Parameters
    ----------
    depth
        Number of blocks, 12 to 15; the deepest features have stride 32.

    Notes
    -----
    The statistics of its batch normalisation are those of the published weights and stay fixed in
    training: a batch of a few mammograms would give poorer ones.
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        if not 12 <= depth <= len(_BLOCKS):
            raise ValueError(f"depth is {depth}; it must be 12 to {len(_BLOCKS)}.")
        self._conv_stem = _SamePadded(1, _STEM, 3, 2)
        self._bn0 = nn.BatchNorm2d(_STEM, eps=_BN_EPS)
        self._act = nn.ReLU6()
        self._blocks = nn.ModuleList(_InvertedResidual(*block) for block in _BLOCKS[:depth])

    channels = (24, 40, 112, 192)
    """Of the features at strides 4, 8, 16 and 32."""

    def train(self, mode: bool = True) -> LiteEncoder:
        """Set the mode; batch normalisation always keeps its statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, image: Tensor) -> list[Tensor]:
        """Features at strides 4, 8, 16 and 32 of images ``(n, 1, height, width)`` in [0, 1]."""
        features = self._act(self._bn0(self._conv_stem(image * 2.0 - 1.0)))
        ends = {2, 4, 10, len(self._blocks) - 1}
        kept = []
        for number, block in enumerate(self._blocks):
            features = block(features)
            if number in ends:
                kept.append(features)
        return kept


def _convolved(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.GroupNorm(outputs // _GROUP, outputs),
        nn.ReLU(),
    )


class LiteDecoder(nn.Module):
    """From the deepest features up to stride 4, adding the encoder's on the way."""

    def __init__(self, channels: Sequence[int], features: Sequence[int]) -> None:
        super().__init__()
        if len(features) != 4 or any(count % _GROUP for count in features):
            raise ValueError("features must be four multiples of 8.")
        self.deepest = _convolved(channels[3], features[3])
        self.up = nn.ModuleList(
            _convolved(features[level + 1] + channels[level], features[level])
            for level in (2, 1, 0)
        )

    def forward(self, kept: Sequence[Tensor]) -> Tensor:
        """Features at stride 4."""
        features: Tensor = self.deepest(kept[3])
        for step, skipped in zip(self.up, reversed(kept[:3]), strict=True):
            larger = interpolate(features, size=skipped.shape[2:], mode="nearest")
            features = step(torch.cat([larger, skipped], dim=1))
        return features


class LiteUNet(nn.Module):
    """Segmenter: EfficientNet-Lite0 encoder, light decoder to stride 4, bilinear to full size.

    Parameters
    ----------
    out_channels
        Logits per pixel.
    depth
        Blocks of the encoder.
    features
        Channels of the decoder at strides 4, 8, 16 and 32, multiples of 8.
    both_ways
        Whether the answer is the mean over the image and the image upside down, in evaluation.
    """

    def __init__(
        self,
        out_channels: int = 1,
        depth: int = 13,
        features: Sequence[int] = (32, 48, 64, 96),
        both_ways: bool = False,
    ) -> None:
        super().__init__()
        self._both_ways = both_ways
        self.encoder = LiteEncoder(depth)
        self.decoder = LiteDecoder(self.encoder.channels, features)
        self.head = nn.Conv2d(features[0], out_channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(n, out_channels, height, width)`` of images ``(n, 1, height, width)``.

        Height and width are multiples of 32, values in [0, 1].
        """
        logits = self._logits(image)
        if self._both_ways and not self.training:
            logits = (logits + self._logits(image.flip(2)).flip(2)) / 2
        return logits

    def _logits(self, image: Tensor) -> Tensor:
        coarse = self.head(self.decoder(self.encoder(image)))
        return interpolate(coarse, size=image.shape[2:], mode="bilinear", align_corners=False)
