"""Several trainings of one segmenter that answer together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from oncopixel_pacs.infer.networks.lite_unet import LiteUNet

_MAX_MEMBERS = 16


class LiteUNetEnsemble(nn.Module):
    """The mean of the logits of several `LiteUNet`, each with its own weights.

    Parameters
    ----------
    members
        How many there are, 1 to 16.
    asked
        How many of them answer, the first ones; all when absent. Fewer are faster and less sure.
    out_channels, depth, features, both_ways, variant
        Of each `LiteUNet`.

    Notes
    -----
    Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation using Deep
    Ensembles", NeurIPS 2017.
    """

    def __init__(
        self,
        members: int = 2,
        asked: int | None = None,
        out_channels: int = 1,
        depth: int = 13,
        features: Sequence[int] = (32, 48, 64, 96),
        both_ways: bool = False,
        variant: int = 0,
    ) -> None:
        super().__init__()
        if not 1 <= members <= _MAX_MEMBERS:
            raise ValueError(f"members is {members}; it must be 1 to {_MAX_MEMBERS}.")
        if asked is not None and not 1 <= asked <= members:
            raise ValueError(f"asked is {asked}; it must be 1 to {members}, the members.")
        self._asked = members if asked is None else asked
        self.members = nn.ModuleList(
            LiteUNet(out_channels, depth, features, both_ways, variant) for _ in range(members)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(n, out_channels, height, width)`` of images ``(n, 1, height, width)``.

        Height and width are multiples of 32, values in [0, 1].
        """
        return torch.stack([member(image) for member in self.members[: self._asked]]).mean(dim=0)
