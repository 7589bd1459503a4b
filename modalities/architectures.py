"""What a connector is in other architectures (paper, Appendix A.3), and LLaVA's plain one.

The four steps of MERA train "the connector", whatever a modality says that it is: a projector, the last layers of an
encoder that has none (encoders/last_layers.py), one module that all modalities share, or the input embedding of a
model without encoders (with encoders/pixels.py). This file knows no modality.

Shapes: B = batch, T = tokens, F = features' width, D = backbone width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class Pretrained(Protocol):
    """A connector that starts from published weights."""

    def pretrained(self, store: Path) -> None:
        """Take them, once, before anything is trained. Raises AssetError."""


class Projector(nn.Module):
    """LLaVA's connector: two linear layers with a GELU between them, under the names of transformers' LLaVA."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width_in, width_out)
        self.linear_2 = nn.Linear(width_out, width_out)

    def forward(self, features: Tensor) -> Tensor:  # (B, T, F)
        tokens: Tensor = self.linear_2(nn.functional.gelu(self.linear_1(features)))  # (B, T, D)
        return tokens


@dataclass(frozen=True)
class Shared:
    """One connector for all modalities that name it: `connector=Shared("uni", Projector)`.

    A model holds a single module for it; the embedder finds it by this record being the same.
    """

    name: str
    make: Callable[[int, int], nn.Module]

    def __call__(self, width_in: int, width_out: int) -> nn.Module:
        return self.make(width_in, width_out)


class InputEmbedding(nn.Module):
    """The input embedding of a model without encoders: raw patches (B, T, F) -> tokens (B, T, D)."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.embed = nn.Linear(width_in, width_out)

    def forward(self, patches: Tensor) -> Tensor:
        tokens: Tensor = self.embed(patches)
        return tokens
