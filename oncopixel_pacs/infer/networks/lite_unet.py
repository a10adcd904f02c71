"""Mammography networks on the encoder of an EfficientNet-Lite: few operations, good on a CPU.

Tan and Le, "EfficientNet", ICML 2019; the Lite variants have no squeeze-and-excitation and ReLU6
throughout (TensorFlow TPU project, 2020). Names of layers and the padding of strided convolutions
are those of the published weights, so that these load key by key.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

_BN_EPS = 1e-3
_STEM = 32
# (blocks, out, kernel, stride, expansion) of the stages of EfficientNet-Lite0. The last one, of 320
# channels, is never used.
_STAGES: Sequence[tuple[int, int, int, int, int]] = (
    (1, 16, 3, 1, 1),
    (2, 24, 3, 2, 6),
    (2, 40, 5, 2, 6),
    (3, 80, 3, 2, 6),
    (3, 112, 5, 1, 6),
    (4, 192, 5, 2, 6),
)
# Factors of channels and of blocks of EfficientNet-Lite0, Lite1 and Lite2.
_VARIANTS: Sequence[tuple[float, float]] = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2))
_LAST_OF_A_STRIDE = (1, 2, 4)
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


def _blocks(variant: int) -> tuple[list[tuple[int, int, int, int, int]], list[int]]:
    """Shapes of the blocks ``(in, out, kernel, stride, expansion)``; blocks up to each stage."""
    wider, deeper = _VARIANTS[variant]
    shapes: list[tuple[int, int, int, int, int]] = []
    ends = []
    inputs = _STEM
    for number, (count, channels, kernel, stride, expansion) in enumerate(_STAGES):
        outputs = int(channels * wider + _GROUP / 2) // _GROUP * _GROUP
        for again in range(math.ceil(count * deeper) if number else count):
            shapes.append((inputs, outputs, kernel, 1 if again else stride, expansion))
            inputs = outputs
        ends.append(len(shapes))
    return shapes, ends


class LiteEncoder(nn.Module):
    """The first blocks of an EfficientNet-Lite for images of one channel.

    Parameters
    ----------
    depth
        Number of blocks; the deepest features have stride 32. Lite0: 12 to 15, the others: 16 to
        20.
    variant
        Which EfficientNet-Lite: 0, 1 or 2. Later ones have more blocks, the last one more channels.

    Attributes
    ----------
    channels
        Of the features at strides 4, 8, 16 and 32.

    Notes
    -----
    The statistics of its batch normalisation are those of the published weights and stay fixed in
    training: a batch of a few mammograms would give poorer ones.
    """

    def __init__(self, depth: int, variant: int = 0) -> None:
        super().__init__()
        if not 0 <= variant < len(_VARIANTS):
            raise ValueError(f"variant is {variant}; it must be 0 to {len(_VARIANTS) - 1}.")
        shapes, ends = _blocks(variant)
        if not ends[-2] < depth <= ends[-1]:
            raise ValueError(f"depth is {depth}; it must be {ends[-2] + 1} to {ends[-1]}.")
        self._conv_stem = _SamePadded(1, _STEM, 3, 2)
        self._bn0 = nn.BatchNorm2d(_STEM, eps=_BN_EPS)
        self._act = nn.ReLU6()
        self._blocks = nn.ModuleList(_InvertedResidual(*shape) for shape in shapes[:depth])
        self._kept = (*(ends[stage] - 1 for stage in _LAST_OF_A_STRIDE), depth - 1)
        self.channels = tuple(shapes[number][1] for number in self._kept)

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
        kept = []
        for number, block in enumerate(self._blocks):
            features = block(features)
            if number in self._kept:
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
    """Segmenter: EfficientNet-Lite encoder, light decoder to stride 4, bilinear to full size.

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
    variant
        Which EfficientNet-Lite the encoder is, see `LiteEncoder`.
    """

    def __init__(
        self,
        out_channels: int = 1,
        depth: int = 13,
        features: Sequence[int] = (32, 48, 64, 96),
        both_ways: bool = False,
        variant: int = 0,
    ) -> None:
        super().__init__()
        self._both_ways = both_ways
        self.encoder = LiteEncoder(depth, variant)
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
        coarse = self.head(self.decoder(self.encoder(image)).contiguous())
        return interpolate(coarse, size=image.shape[2:], mode="bilinear", align_corners=False)
