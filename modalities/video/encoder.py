"""Four frames in, 17 tokens out: the pictures' frozen encoder for each frame, pooled, with what changes between them.

The paper pools each frame's tokens to half their height and width and puts the frames one after another (Appendix
C.1). So do these: the clip at a glance, then four places of each frame in order. An action shows in what changes,
which four pooled frames do not tell (docs/log.md), so each token also holds what came to its place, and what went,
since the frame before. It knows neither files (see reading.py) nor the backbone.

Shapes: N = frames, P = places of a picture's grid, T = tokens, F = channels of the pictures' encoder.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from modalities.base import Encoder
from modalities.encoders.vision import halved
from modalities.image.encoder import ImageEncoder
from modalities.image.encoder import load as load_pictures

PREPROCESSING = 1  # raise it whenever the frames that `read` chooses or what is made of them change
SEEN = 3  # what is there, what came, what went


class VideoEncoder(Encoder):
    """RGB frames (H, W, 3) uint8, four a video -> 17 tokens (T, 3 * F) each."""

    def __init__(self, pictures: ImageEncoder) -> None:
        super().__init__()
        self.pictures = pictures
        self.width = SEEN * pictures.width
        self.identity = f"{pictures.identity}-frames-change{PREPROCESSING}"

    @torch.no_grad()
    def forward(self, media: Sequence[Sequence[np.ndarray]]) -> list[Tensor]:
        frames = self.pictures([frame for video in media for frame in video])
        split = torch.stack(frames)[:, 1:].split([len(video) for video in media])  # (N, P, F) each
        return [_tokens(grids) for grids in split]


def _tokens(grids: Tensor) -> Tensor:
    """The grids (N, P, F) of a video's frames -> its tokens (1 + N * P / 4, 3 * F)."""
    change = torch.diff(grids, dim=0, prepend=grids[:1])  # (N, P, F); nothing came before the first
    seen = torch.cat((grids, change.relu(), (-change).relu()), -1)  # (N, P, 3 * F)
    places = torch.cat([halved(frame) for frame in seen])  # (N * P / 4, 3 * F)
    return torch.cat((places.mean(0, keepdim=True), places))


def load(store: Path) -> VideoEncoder:
    """The encoder with the pictures' weights, fetched and converted when they are missing."""
    return VideoEncoder(load_pictures(store))
