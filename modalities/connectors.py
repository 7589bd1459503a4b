"""Connectors: from an encoder's features to the backbone's embedding space. They know no modality.

Shapes: B = batch, T = tokens, F = encoder width, D = backbone width.
"""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class Calibrated(Protocol):
    """A connector that adapts to its features' statistics and to the loudness of words before it is trained."""

    def calibrate(self, features: Tensor, scale: float) -> None:
        """Standardise to the features (N, F) of the training media; speak as loud as words do (`scale`)."""


class MLP(nn.Module):
    """LLaVA's two-layer connector, with features standardised and normalised before it and a norm after it.

    A small backbone needs that: unscaled features and tokens far louder than words teach it to ignore the
    media. Uncalibrated, the standardisation is the identity and the norm's scale is one.

    `dropout` acts on the features in training. Without it the connector learns the training files by heart, the
    backbone learns to trust it, and both are lost before a new art style (docs/log.md).
    """

    mean: Tensor
    std: Tensor
    scale: Tensor

    def __init__(self, width_in: int, width_out: int, hidden: int | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        hidden = hidden or width_out
        self.register_buffer("mean", torch.zeros(width_in))  # (F,)
        self.register_buffer("std", torch.ones(width_in))  # (F,)
        self.register_buffer("scale", torch.ones(()))
        self.drop = nn.Dropout(dropout)
        self.inner = nn.Linear(width_in, hidden)
        self.outer = nn.Linear(hidden, width_out)
        self.norm = nn.LayerNorm(width_out)

    def calibrate(self, features: Tensor, scale: float) -> None:
        """Standardise to the features (N, F) of the training media; speak as loud as words do (`scale`)."""
        self.mean.copy_(features.mean(0))
        self.std.copy_(features.std(0).clamp_min(1e-3))
        self.scale.fill_(scale)

    def forward(self, features: Tensor) -> Tensor:
        x = nn.functional.layer_norm((features - self.mean) / self.std, self.mean.shape)  # (B, T, F)
        x = self.drop(nn.functional.gelu(self.inner(self.drop(x))))  # (B, T, hidden)
        x = self.outer(x)  # (B, T, D)
        normed: Tensor = self.norm(x) * self.scale
        return normed
