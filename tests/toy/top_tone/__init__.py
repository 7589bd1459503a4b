"""top-tone: an encoder without a connector; its last layer, as it was published, is what is trained in its place."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from tests.toy import tone


class LastLayer(nn.Module):
    """The spectrum's encoder ends in this layer, which brings it to the backbone's width."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width_in, width_out)

    def pretrained(self, store: Path) -> None:
        """The published layer: here a fixed draw."""
        draw = torch.Generator().manual_seed(11)
        with torch.no_grad():
            self.layer.weight.copy_(torch.randn(self.layer.weight.shape, generator=draw) * 0.1)
            self.layer.bias.zero_()

    def forward(self, features: Tensor) -> Tensor:
        tokens: Tensor = self.layer(features)
        return tokens


MODALITY = replace(tone.MODALITY, connector=LastLayer)
