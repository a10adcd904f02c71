"""Classifier on the encoder of an EfficientNet-Lite: how suspicious is the worst place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from oncopixel_pacs.infer.networks.lite_unet import LiteDecoder, LiteEncoder


class LiteClassifier(nn.Module):
    """The features of `LiteUNet`, a map of suspicion, and its softly highest places.

    Every place answers with a logit and a weight; the weights compete over the image (attention).
    A lesion counts the same in a small and in a large breast. ``head``, which gives the weights,
    is the head of `LiteUNet`: started from a segmenter, the network looks where lesions are.

    Parameters
    ----------
    num_classes
        Logits per image.
    depth
        Blocks of the encoder.
    features
        Channels of the decoder at strides 4, 8, 16 and 32, multiples of 8.
    both_ways
        Whether the answer is the mean over the image and the image upside down, in evaluation.
    variant
        Which EfficientNet-Lite the encoder is, see `LiteEncoder`.

    Notes
    -----
    Ilse et al., "Attention-based Deep Multiple Instance Learning", ICML 2018, with the pooling of
    logits instead of features.
    """

    def __init__(
        self,
        num_classes: int = 1,
        depth: int = 13,
        features: Sequence[int] = (32, 48, 64, 96),
        both_ways: bool = False,
        variant: int = 0,
    ) -> None:
        super().__init__()
        self._both_ways = both_ways
        self.encoder = LiteEncoder(depth, variant)
        self.decoder = LiteDecoder(self.encoder.channels, features)
        self.dropout = nn.Dropout2d(0.2)
        self.suspicion = nn.Conv2d(features[0], num_classes, 1)
        self.head = nn.Conv2d(features[0], 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(n, num_classes)`` of images ``(n, 1, height, width)``, multiples of 32."""
        logits = self._logits(image)
        if self._both_ways and not self.training:
            logits = (logits + self._logits(image.flip(2))) / 2
        return logits

    def _logits(self, image: Tensor) -> Tensor:
        logits, weights = self.places(image)
        return (logits * weights).flatten(2).sum(dim=2)

    def places(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logit and weight of every place; the weights of an image add up to 1.

        Returns
        -------
        logits, weights
            ``(n, num_classes, height / 8, width / 8)`` and ``(n, 1, height / 8, width / 8)``.
        """
        features = self.decoder(self.encoder(image))
        pooled = self.dropout(nn.functional.max_pool2d(features, 2))
        score = self.head(pooled)
        weights = torch.softmax(score.flatten(1), dim=1).view_as(score)
        return self.suspicion(pooled), weights
