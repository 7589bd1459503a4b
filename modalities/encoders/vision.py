"""Any vision transformer of transformers (CLIP, SigLIP, DINOv2, …): pictures in, patch tokens of one layer out.

As LLaVA does, features are taken from the penultimate layer, and what comes before the patches (the class token,
registers) is dropped. It knows no files.

Shapes: B = batch, T = patches, F = width, H, W = height and width of a picture, P = patches a side, N = frames.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from modalities.assets import AssetError
from modalities.base import Encoder
from modalities.encoders.towers import tower
from modalities.weights import best_device

PENULTIMATE = -2
PREPROCESSING = 1  # raise it whenever what the network sees changes
CHUNK = 8  # pictures in the network at once


class VisionEncoder(Encoder):
    """RGB pictures (H, W, 3) uint8 -> patch tokens (T, F) each."""

    def __init__(self, network: Any, processor: Any, digest: str, layer: int = PENULTIMATE) -> None:
        super().__init__()
        self.network = network
        self.processor = processor
        self.layer = layer
        self.width = int(network.config.hidden_size)
        settings = hashlib.sha256(str(sorted(processor.to_dict().items(), key=str)).encode()).hexdigest()
        kind = network.config.model_type.replace("_", "-")
        self.identity = f"{kind}-{digest[:12]}-layer{layer}-{settings[:6]}-v{PREPROCESSING}"

    @torch.no_grad()
    def forward(self, media: Sequence[Any]) -> list[Tensor]:
        tokens: list[Tensor] = []
        for start in range(0, len(media), CHUNK):
            pixels = self.processor(images=list(media[start : start + CHUNK]), return_tensors="pt")["pixel_values"]
            states = self.network(pixels.to(self.network.device), output_hidden_states=True).hidden_states
            patch = self.network.config.patch_size
            patches = (pixels.shape[-2] // patch) * (pixels.shape[-1] // patch)
            tokens.extend(states[self.layer][:, -patches:])  # (T, F) each
        return tokens


class FrameEncoder(Encoder):
    """Videos as their frames, N pictures each -> the frames' tokens halved in height and width, one after another."""

    def __init__(self, pictures: VisionEncoder) -> None:
        super().__init__()
        self.pictures = pictures
        self.width = pictures.width
        self.identity = f"{pictures.identity}-halved"

    @torch.no_grad()
    def forward(self, media: Sequence[Any]) -> list[Tensor]:
        return [torch.cat([halved(one) for one in self.pictures(frames)]) for frames in media]


def halved(tokens: Tensor) -> Tensor:
    """A square grid of patch tokens (T, F), pooled bilinearly to half its sides (paper, Appendix C.1)."""
    side = round(len(tokens) ** 0.5)
    assert side * side == len(tokens), "The patches of a square picture form a square."
    grid = tokens.T.unflatten(1, (side, side))[None]  # (1, F, P, P)
    return functional.interpolate(grid, size=side // 2, mode="bilinear").flatten(2)[0].T  # (T / 4, F)


def load(store: Path, source: str, revision: str | None = None, layer: int = PENULTIMATE) -> VisionEncoder:
    """A vision tower from a folder (in store/assets, or a path) or a hub id. Raises AssetError."""
    from transformers import AutoImageProcessor

    network, folder, digest = tower(store, source, revision)
    if not (folder / "preprocessor_config.json").is_file():
        raise AssetError(f"{Path(source).name} has no preprocessor_config.json; fetch its folder whole.")
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True)
    return VisionEncoder(network.to(best_device()), processor, digest, layer)
