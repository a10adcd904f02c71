"""A classifier of patches that becomes a classifier of whole images.

Shen et al., "Deep learning to improve breast cancer detection on screening mammography",
Scientific Reports 9, 12495 (2019): a network learns patches, is then run over the whole image,
and further blocks on top of its map of features answer for the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets.resnet import ResNet
from torch import Tensor, nn

_DEEPEST = ("conv1", "bn1", "act", "maxpool", "layer1", "layer2", "layer3", "layer4")


class PatchToImage(nn.Module):
    """Patch encoder, a convolutional block on its map, and the maximum over the image.

    On a patch the map is a few cells and the maximum is the patch's own answer; the same weights
    then slide over an image of any size.

    Parameters
    ----------
    in_channels
        Channels of the image.
    num_classes
        Logits per image.
    channels
        Widths of the encoder's four stages.
    layers
        Blocks of each stage.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        channels: Sequence[int] = (32, 64, 128, 256),
        layers: Sequence[int] = (2, 2, 2, 2),
    ) -> None:
        super().__init__()
        encoder = ResNet(
            "basic",
            list(layers),
            list(channels),
            spatial_dims=2,
            n_input_channels=in_channels,
            conv1_t_stride=2,
            feed_forward=False,
        )
        self.encoder = nn.Sequential(*[encoder.get_submodule(name) for name in _DEEPEST])
        width = channels[-1]
        self.top = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.fc = nn.Linear(2 * width, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(n, num_classes)`` of images ``(n, in_channels, height, width)``."""
        cells = self.top(self.encoder(image))
        pooled = torch.cat([cells.amax(dim=(2, 3)), cells.mean(dim=(2, 3))], dim=1)
        logits: Tensor = self.fc(pooled)
        return logits
