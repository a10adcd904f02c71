"""MONAI's ViT as a plain classifier: logits and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.nets.vit import ViT
from torch import Tensor, nn


class VisionTransformer(ViT):
    """ViT (Dosovitskiy et al., ICLR 2021) whose answer is one tensor of logits.

    MONAI's class answers a pair and, by default, squeezes the logits through a tanh; a server
    that expects logits needs neither.

    Parameters
    ----------
    in_channels
        Channels of the image.
    num_classes
        Logits per image.
    img_size
        ``(height, width)``; fixed by the position embedding.
    patch_size
        ``(height, width)`` of a patch.
    hidden_size, mlp_dim, num_layers, num_heads
        The defaults are ViT-Base.
    dropout_rate
        Of every block.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        img_size: Sequence[int] = (224, 224),
        patch_size: Sequence[int] = (16, 16),
        hidden_size: int = 768,
        mlp_dim: int = 3072,
        num_layers: int = 12,
        num_heads: int = 12,
        dropout_rate: float = 0.0,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            img_size=tuple(img_size),
            patch_size=tuple(patch_size),
            hidden_size=hidden_size,
            mlp_dim=mlp_dim,
            num_layers=num_layers,
            num_heads=num_heads,
            proj_type="conv",
            classification=True,
            num_classes=num_classes,
            dropout_rate=dropout_rate,
            spatial_dims=2,
            post_activation="none",
            qkv_bias=True,
        )
        self.image_shape = tuple(img_size)
        self.patch_shape = tuple(patch_size)
        # As in the published checkpoints; PyTorch's own default is 1e-5.
        for layer in self.modules():
            if isinstance(layer, nn.LayerNorm):
                layer.eps = 1e-12

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(n, num_classes)`` of images ``(n, in_channels, *img_size)``."""
        logits: Tensor = super().forward(image)[0]  # type: ignore[no-untyped-call]
        return logits
