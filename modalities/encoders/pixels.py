"""No encoder at all (paper, Appendix A.3): the input of a model that embeds raw pixels. It knows no files.

Shapes: T = patches, F = numbers in a patch, H, W = height and width, P = a patch's side.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modalities.base import Encoder


class RawPatches(Encoder):
    """A picture (H, W, 3) uint8, squared and cut into patches as Fuyu does -> (T, F)."""

    def __init__(self, side: int = 224, patch: int = 16) -> None:
        super().__init__()
        self.side, self.patch = side, patch
        self.width = 3 * patch * patch
        self.identity = f"pixels-{side}-{patch}-v1"

    def forward(self, media: Sequence[Any]) -> list[Tensor]:
        return [self._cut(picture) for picture in media]

    def _cut(self, picture: Any) -> Tensor:
        square = Image.fromarray(picture).resize((self.side, self.side), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.asarray(square, np.float32)) / 127.5 - 1  # (side, side, 3)
        patches = pixels.unfold(0, self.patch, self.patch).unfold(1, self.patch, self.patch)  # (n, n, 3, P, P)
        return patches.flatten(0, 1).flatten(1)  # (T, F)
