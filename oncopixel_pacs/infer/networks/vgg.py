"""VGG with sixteen layers and batch normalisation (Simonyan and Zisserman, ICLR 2015)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

_CONVOLUTIONS = (2, 2, 3, 3, 3)


class VGG16BN(nn.Module):
    """Thirteen convolutions in five groups, then three fully connected layers.

    The last map is averaged to one cell before the fully connected layers, so that any input of
    at least 32 x 32 fits and small sets are not learned by heart.

    Parameters
    ----------
    in_channels
        Channels of the image.
    num_classes
        Logits per image.
    channels
        Channels of the five groups.
    hidden
        Width of the two hidden fully connected layers.
    dropout_prob
        Dropout before the last two layers.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        channels: Sequence[int] = (64, 128, 256, 512, 512),
        hidden: int = 512,
        dropout_prob: float = 0.5,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for count, width in zip(_CONVOLUTIONS, channels, strict=True):
            for _ in range(count):
                layers += [
                    nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
                in_channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(in_channels, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout_prob),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout_prob),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(n, num_classes)`` of images ``(n, in_channels, height, width)``."""
        cells = self.features(image).mean(dim=(2, 3))
        logits: Tensor = self.classifier(cells)
        return logits
